// SPDX-License-Identifier: Apache-2.0
#include "remote/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/codec.h"
#include "base/error_codec.h"

namespace echelon {
namespace {

constexpr std::array<std::byte, kLaneFrameAlign> kZeros{};
constexpr std::uint16_t kLaneFlags = kFlagError | kFlagMore;

std::size_t padding_bytes(std::size_t body_bytes) {
  return (kLaneFrameAlign - body_bytes % kLaneFrameAlign) % kLaneFrameAlign;
}

}  // namespace

Status bad_message(std::string_view what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       fmt::format("a message of a lane is refused: {}", what));
}

// --- frames
// ---------------------------------------------------------------------------------------

LaneFrameHead encode_head(const LaneFrame& frame) {
  LaneFrameHead head;
  ByteWriter writer(head);
  writer.put(static_cast<std::uint32_t>(frame.body.size()));
  writer.put(frame.kind);
  writer.put(frame.flags);
  writer.put(frame.task);
  writer.put(frame.slot);
  writer.put(std::uint32_t{0});
  writer.put(frame.remaining_ns);
  return head;
}

std::span<const std::byte> padding_of(std::size_t body_bytes) {
  return std::span(kZeros).first(padding_bytes(body_bytes));
}

LaneSend send_frame(Lane& lane, const LaneFrame& frame) {
  const LaneFrameHead head = encode_head(frame);
  const std::array<std::span<const std::byte>, 3> segments = {head, frame.body,
                                                              padding_of(frame.body.size())};
  return lane.try_send(segments);
}

std::uint64_t remaining_of(MonotonicNs deadline_ns, MonotonicNs now) {
  if (deadline_ns == 0) return 0;
  return deadline_ns > now ? deadline_ns - now : 1;
}

MonotonicNs deadline_of(std::uint64_t remaining_ns, MonotonicNs now) {
  if (remaining_ns == 0) return 0;
  return remaining_ns < ~MonotonicNs{0} - now ? now + remaining_ns : ~MonotonicNs{0};
}

bool LaneFrameReader::fail(std::string what) {
  status_ = bad_message(what);
  rest_ = {};
  return false;
}

bool LaneFrameReader::next(LaneFrame& frame) {
  if (rest_.empty()) return false;
  ByteReader reader(rest_);
  const auto bytes = reader.get<std::uint32_t>();
  frame.kind = reader.get<FrameKind>();
  frame.flags = reader.get<std::uint16_t>();
  frame.task = reader.get<std::uint64_t>();
  frame.slot = reader.get<std::uint32_t>();
  const auto zero = reader.get<std::uint32_t>();
  frame.remaining_ns = reader.get<std::uint64_t>();
  if (!reader.ok()) {
    return fail(
        fmt::format("{} bytes where a frame's header has {}", rest_.size(), kLaneFrameHeadBytes));
  }
  if (zero != 0) return fail("reserved bytes of a frame are not zero");
  if ((frame.flags & ~kLaneFlags) != 0) {
    return fail(
        fmt::format("a frame with flags {:#x}, of which {:#x} are known", frame.flags, kLaneFlags));
  }
  frame.body = reader.bytes(bytes);
  reader.bytes(padding_bytes(bytes));
  if (!reader.ok()) {
    return fail(fmt::format("a frame's body of {} bytes, of which {} came", bytes,
                            rest_.size() - kLaneFrameHeadBytes));
  }
  rest_ = reader.rest();
  return true;
}

Result<bool> BodyAssembly::add(LaneFrame& frame) {
  const bool more = (frame.flags & kFlagMore) != 0;
  if (!open_ && !more) return true;
  if (!open_) {
    open_ = true;
    first_ = frame;
    body_.clear();
  } else if (frame.kind != first_.kind || frame.task != first_.task || frame.slot != first_.slot) {
    return bad_message(fmt::format("a frame of kind {} within the body of another",
                                   static_cast<unsigned>(frame.kind)));
  }
  if (body_.size() + frame.body.size() > kLaneBodyBytesMax) {
    return bad_message(fmt::format("a body of more than {} bytes", kLaneBodyBytesMax));
  }
  body_.insert(body_.end(), frame.body.begin(), frame.body.end());
  if (more) return false;
  open_ = false;
  frame.remaining_ns = first_.remaining_ns;
  frame.body = body_;
  return true;
}

void BodyAssembly::take(const LaneFrame& frame, std::vector<std::byte>& into) {
  if (!frame.body.empty() && frame.body.data() == body_.data()) {
    into = std::exchange(body_, {});
  } else {
    into.assign(frame.body.begin(), frame.body.end());
  }
}

void BodyAssembly::clear() {
  if (open_ || body_.capacity() <= kPieceBytes) return;
  body_ = {};
}

std::array<std::byte, 8> encode_hello(const Hello& hello) {
  std::array<std::byte, 8> body;
  ByteWriter writer(body);
  writer.put(hello.major);
  writer.put(hello.minor);
  return body;
}

Result<Hello> decode_hello(std::span<const std::byte> body, const Hello& own) {
  ByteReader reader(body);
  Hello hello;
  hello.major = reader.get<std::uint32_t>();
  hello.minor = reader.get<std::uint32_t>();
  // A later minor version may say more.
  if (!reader.ok()) return bad_message("a greeting that is too short");
  if (hello.major == own.major) return hello;
  return Status::error(
      Code::kFailedPrecondition, Reason::kBadArgument,
      fmt::format("the peer speaks version {}.{} of the protocol and this side {}.{}; use the same "
                  "release of Echelon on both hosts",
                  hello.major, hello.minor, own.major, own.minor));
}

// --- data
// -----------------------------------------------------------------------------------------

std::string_view to_string(DataKind kind) {
  switch (kind) {
    case DataKind::kAllocate:
      return "allocate";
    case DataKind::kAllocated:
      return "allocated";
    case DataKind::kFree:
      return "free";
    case DataKind::kFreed:
      return "freed";
    case DataKind::kWrite:
      return "write";
    case DataKind::kWritten:
      return "written";
    case DataKind::kRead:
      return "read";
    case DataKind::kReadData:
      return "read data";
    case DataKind::kPayload:
      return "payload";
    case DataKind::kPayloadHeld:
      return "payload held";
    case DataKind::kStop:
      return "stop";
    case DataKind::kExpect:
      return "expect a peer";
    case DataKind::kExpected:
      return "a peer is expected";
    case DataKind::kConnect:
      return "connect to a peer";
    case DataKind::kConnected:
      return "connected to a peer";
    case DataKind::kGrant:
      return "grant to a peer";
    case DataKind::kGranted:
      return "granted to a peer";
    case DataKind::kRevoke:
      return "revoke from a peer";
    case DataKind::kRevoked:
      return "revoked from a peer";
    case DataKind::kPush:
      return "push to a peer";
    case DataKind::kPushed:
      return "pushed to a peer";
  }
  return "unknown";
}

bool is_answer(DataKind kind) {
  switch (kind) {
    case DataKind::kAllocated:
    case DataKind::kFreed:
    case DataKind::kWritten:
    case DataKind::kReadData:
    case DataKind::kPayloadHeld:
    case DataKind::kExpected:
    case DataKind::kConnected:
    case DataKind::kGranted:
    case DataKind::kRevoked:
    case DataKind::kPushed:
      return true;
    default:
      return false;
  }
}

namespace {

void put_tensor(ByteWriter& writer, const TensorDesc& tensor, Tag tag) {
  encode(tensor, tag, writer.claim(tensor.wire_bytes()));
}

void put_shape(ByteWriter& writer, const DataMessage& message) {
  writer.put(message.dtype);
  writer.put(static_cast<std::uint8_t>(message.zeroed ? 1 : 0));
  writer.put(message.rank);
  writer.put_zeros(5);
  for (std::size_t d = 0; d < message.rank; ++d) writer.put(message.extent[d]);
}

void put_fields(ByteWriter& writer, const DataMessage& message) {
  switch (message.kind) {
    case DataKind::kAllocate:
      return put_shape(writer, message);
    case DataKind::kAllocated:
      return put_tensor(writer, message.tensor, Tag::kNoDep);
    case DataKind::kFree:
      return writer.put(message.buffer.value);
    case DataKind::kWrite:
      writer.put(message.offset);
      return put_tensor(writer, message.tensor, Tag::kOutput);
    case DataKind::kRead:
      writer.put(message.offset);
      writer.put(message.length);
      return put_tensor(writer, message.tensor, Tag::kInput);
    case DataKind::kReadData:
      return writer.put(message.offset);
    case DataKind::kPayload:
    case DataKind::kConnect:
    case DataKind::kRevoke:
      writer.put(message.offset);
      return writer.put(message.length);
    case DataKind::kExpect:
      return writer.put(message.offset);
    case DataKind::kGrant:
      writer.put(message.offset);
      writer.put(message.length);
      return put_tensor(writer, message.tensor, Tag::kOutput);
    case DataKind::kPush:
      writer.put(message.offset);
      return put_tensor(writer, message.tensor, Tag::kInput);
    case DataKind::kFreed:
    case DataKind::kWritten:
    case DataKind::kPayloadHeld:
    case DataKind::kStop:
    case DataKind::kExpected:
    case DataKind::kConnected:
    case DataKind::kGranted:
    case DataKind::kRevoked:
    case DataKind::kPushed:
      return;
  }
}

Status read_shape(std::span<const std::byte>& in, DataMessage& message) {
  ByteReader reader(in);
  message.dtype = reader.get<DType>();
  const auto zeroed = reader.get<std::uint8_t>();
  message.rank = reader.get<std::uint8_t>();
  reader.bytes(5);
  if (!reader.ok()) return bad_message("an allocation that is too short");
  if (size_of(message.dtype) == 0) {
    return bad_message(
        fmt::format("an allocation of dtype {}", static_cast<unsigned>(message.dtype)));
  }
  if (zeroed > 1) return bad_message("an allocation neither zeroed nor not");
  if (message.rank > kTensorRankMax) {
    return bad_message(
        fmt::format("an allocation of rank {}; {} is the most", message.rank, kTensorRankMax));
  }
  for (std::size_t d = 0; d < message.rank; ++d) message.extent[d] = reader.get<std::int64_t>();
  if (!reader.ok()) return bad_message("an allocation that is too short");
  message.zeroed = zeroed == 1;
  in = reader.rest();
  return {};
}

Status read_tensor(std::span<const std::byte>& in, DataMessage& message) {
  Tag tag{};
  return decode(in, message.tensor, tag);
}

/// `count` numbers.
Status read_numbers(std::span<const std::byte>& in, std::span<std::uint64_t* const> into) {
  ByteReader reader(in);
  for (std::uint64_t* number : into) *number = reader.get<std::uint64_t>();
  if (!reader.ok()) return bad_message("it is cut short");
  in = reader.rest();
  return {};
}

Status check_range(const DataMessage& message, std::uint64_t bytes, std::uint64_t total) {
  if (message.offset <= total && bytes <= total - message.offset) return {};
  return bad_message(fmt::format("a {} of {} bytes from byte {} of {}", to_string(message.kind),
                                 bytes, message.offset, total));
}

/// Takes the rest as the piece's bytes, of which `more` come in other parts.
Status read_piece(std::span<const std::byte>& in, std::size_t more, DataMessage& message,
                  std::uint64_t total) {
  const std::size_t bytes = in.size() + more;
  if (bytes > kPieceBytes) {
    return bad_message(fmt::format("a piece of {} bytes; {} are the most", bytes, kPieceBytes));
  }
  message.bytes = std::exchange(in, {});
  return check_range(message, bytes, total);
}

/// Takes the rest, at least `least` bytes and at most `most`.
Status read_rest(std::span<const std::byte>& in, DataMessage& message, std::size_t least,
                 std::size_t most) {
  if (in.size() < least || in.size() > most) {
    return bad_message(fmt::format("{} bytes with \"{}\"; {} to {} are possible", in.size(),
                                   to_string(message.kind), least, most));
  }
  message.bytes = std::exchange(in, {});
  return {};
}

Status read_of_peers(std::span<const std::byte>& in, DataMessage& message) {
  ECHELON_RETURN_IF_ERROR(read_numbers(in, std::array{&message.offset}));
  switch (message.kind) {
    case DataKind::kExpect:
      return read_rest(in, message, 1, kPeerTokenBytesMax);
    case DataKind::kConnect:
      ECHELON_RETURN_IF_ERROR(read_numbers(in, std::array{&message.length}));
      ECHELON_RETURN_IF_ERROR(read_rest(in, message, 2, kPeerAddressBytesMax + kPeerTokenBytesMax));
      if (message.length != 0 && message.length < message.bytes.size()) return {};
      return bad_message("a peer without an address or a token");
    case DataKind::kGrant:
      ECHELON_RETURN_IF_ERROR(read_numbers(in, std::array{&message.length}));
      return read_tensor(in, message);
    case DataKind::kRevoke:
      return read_numbers(in, std::array{&message.length});
    default:
      ECHELON_RETURN_IF_ERROR(read_tensor(in, message));
      return read_rest(in, message, kTensorWireBytesMin, kTensorWireBytesMax);
  }
}

Status read_fields(std::span<const std::byte>& in, std::size_t more, DataMessage& message) {
  switch (message.kind) {
    case DataKind::kAllocate:
      return read_shape(in, message);
    case DataKind::kAllocated:
      return read_tensor(in, message);
    case DataKind::kFree:
      return read_numbers(in, std::array{&message.buffer.value});
    case DataKind::kWrite:
      ECHELON_RETURN_IF_ERROR(read_numbers(in, std::array{&message.offset}));
      ECHELON_RETURN_IF_ERROR(read_tensor(in, message));
      return read_piece(in, more, message, message.tensor.payload_bytes());
    case DataKind::kRead:
      ECHELON_RETURN_IF_ERROR(read_numbers(in, std::array{&message.offset, &message.length}));
      ECHELON_RETURN_IF_ERROR(read_tensor(in, message));
      return check_range(message, message.length, message.tensor.payload_bytes());
    case DataKind::kReadData:
      ECHELON_RETURN_IF_ERROR(read_numbers(in, std::array{&message.offset}));
      return read_piece(in, more, message, ~std::uint64_t{0});
    case DataKind::kPayload:
      ECHELON_RETURN_IF_ERROR(read_numbers(in, std::array{&message.offset, &message.length}));
      return read_piece(in, more, message, message.length);
    case DataKind::kExpect:
    case DataKind::kConnect:
    case DataKind::kGrant:
    case DataKind::kRevoke:
    case DataKind::kPush:
      return read_of_peers(in, message);
    case DataKind::kFreed:
    case DataKind::kWritten:
    case DataKind::kPayloadHeld:
    case DataKind::kExpected:
    case DataKind::kConnected:
    case DataKind::kGranted:
    case DataKind::kRevoked:
    case DataKind::kPushed:
    case DataKind::kStop:
      return {};
  }
  return bad_message(fmt::format("kind {} on the data lane", static_cast<unsigned>(message.kind)));
}

}  // namespace

std::size_t encode_data(const DataMessage& message, DataHead& out) {
  ByteWriter writer(out);
  writer.put(message.kind);
  writer.put(message.flags);
  writer.put_zeros(6);
  writer.put(message.request);
  if (!message.failed()) put_fields(writer, message);
  ECHELON_CHECK(writer.ok(), writer.size());
  return writer.size();
}

LaneSend send_data(Lane& lane, const DataMessage& message) {
  DataHead head;
  const std::size_t bytes = encode_data(message, head);
  const std::array<std::span<const std::byte>, 2> segments = {std::span(head).first(bytes),
                                                              message.bytes};
  return lane.try_send(segments);
}

namespace {

Result<DataMessage> decode_data(std::span<const std::byte> in, std::size_t more) {
  ByteReader reader(in);
  DataMessage message;
  message.kind = reader.get<DataKind>();
  message.flags = reader.get<std::uint8_t>();
  const auto zero_short = reader.get<std::uint16_t>();
  const auto zero = reader.get<std::uint32_t>();
  message.request = reader.get<std::uint64_t>();
  if (!reader.ok()) return bad_message(fmt::format("{} bytes on the data lane", in.size()));
  if (zero_short != 0 || zero != 0 || (message.flags & ~(kDataLast | kDataError)) != 0) {
    return bad_message("unknown flags on the data lane");
  }
  std::span<const std::byte> rest = reader.rest();
  if (message.failed()) {
    if (!is_answer(message.kind)) return bad_message("an error that is no answer");
    message.bytes = rest;
    return message;
  }
  ECHELON_RETURN_IF_ERROR(read_fields(rest, more, message));
  if (!rest.empty()) {
    return bad_message(
        fmt::format("{} bytes after a message of kind {}", rest.size(), to_string(message.kind)));
  }
  return message;
}

}  // namespace

Result<DataMessage> decode_data(std::span<const std::byte> in) {
  return decode_data(in, 0);
}

std::optional<Result<DataMessage>> decode_piece(LaneSegments parts) {
  if (parts.empty() || parts.front().size() < kDataHeadBytesMax) return std::nullopt;
  const auto kind = static_cast<DataKind>(parts.front()[0]);
  const auto flags = std::to_integer<unsigned>(parts.front()[1]);
  const bool piece = kind == DataKind::kWrite || kind == DataKind::kReadData;
  if (!piece || (flags & kDataError) != 0) return std::nullopt;
  std::size_t more = 0;
  for (const auto part : parts.subspan(1)) more += part.size();
  return decode_data(parts.front(), more);
}

Status error_in(std::span<const std::byte> bytes, Status& bad) {
  auto info = decode_error(bytes);
  if (info.ok()) return Status(std::move(info).value());
  bad = info.status();
  return bad;
}

}  // namespace echelon
