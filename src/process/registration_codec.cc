// SPDX-License-Identifier: Apache-2.0
#include "process/registration_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/codec.h"

namespace echelon {
namespace {

constexpr std::size_t kRegisterHeadBytes = 8 + 4 * 8 + sizeof(Digest);
constexpr std::size_t kUnregisterBytes = 16;
constexpr std::size_t kAnswerHeadBytes = 16;
constexpr std::size_t kAnswerEntryBytes = 16;
constexpr std::size_t kPathBytesMax = 512;
constexpr std::uint8_t kFlagBelow = 1;

Status bad(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       "a frame of registration is refused: " + std::move(what));
}

bool known(RegisteredKind kind, embedding::Form form) {
  using embedding::Form;
  switch (kind) {
    case RegisteredKind::kSub:
    case RegisteredKind::kOrch:
      return form == Form::kName || form == Form::kImportPath || form == Form::kPickle;
    case RegisteredKind::kChip:
      return form == Form::kImage;
    case RegisteredKind::kLibrary:
      return form == Form::kLibrary;
  }
  return false;
}

Status check_slot(const FrameHeader& header, std::uint64_t serial) {
  if (!is_late(CallableSlot{header.slot})) return bad("its slot is not one of a running tree's");
  if (serial == 0) return bad("it has no serial");
  return {};
}

std::string_view cut(std::string_view text, std::size_t bytes_max) {
  return text.substr(0, bytes_max);
}

/// Whole lines, the last ones.
std::string_view last_lines(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  const std::string_view end = text.substr(text.size() - bytes_max);
  const std::size_t newline = end.find('\n');
  return newline == std::string_view::npos ? std::string_view() : end.substr(newline + 1);
}

}  // namespace

std::string_view to_string(RegisteredKind kind) {
  switch (kind) {
    case RegisteredKind::kSub:
      return "sub";
    case RegisteredKind::kOrch:
      return "orch";
    case RegisteredKind::kChip:
      return "chip";
    case RegisteredKind::kLibrary:
      return "library";
  }
  return "unknown";
}

std::string doing_text(const RegisterRequest& request) {
  const bool language =
      request.form == embedding::Form::kPickle || request.form == embedding::Form::kImportPath;
  return fmt::format("{} {} {}", language ? "waiting for its interpreter to make" : "loading",
                     to_string(request.kind), request.name);
}

std::string silence_text(const std::string& doing) {
  return doing.empty() ? "it did not answer in time"
                       : fmt::format("it did not answer in time: it is {}", doing);
}

void SubtreeAnswer::add(ChildAnswer answer) {
  ok = ok && answer.outcome == AnswerOutcome::kReady;
  children.push_back(std::move(answer));
}

void SubtreeAnswer::add(SubtreeAnswer other) {
  ok = ok && other.ok;
  left_out += other.left_out;
  runners += other.runners;
  std::move(other.children.begin(), other.children.end(), std::back_inserter(children));
}

// --- register
// -------------------------------------------------------------------------------------

std::vector<std::byte> encode_register(const RegisterRequest& request, std::uint64_t push) {
  ECHELON_CHECK(request.route.size() <= kRouteHopsMax, request.route.size());
  ECHELON_CHECK(request.name.size() <= kCallableNameBytesMax, request.name.size());
  const auto payload = request.payload->bytes();
  const std::size_t inline_bytes = push == 0 ? payload.size() : 0;
  std::vector<std::byte> body(kRegisterHeadBytes + request.route.size() * sizeof(std::uint32_t) +
                              request.name.size() + inline_bytes);
  ByteWriter writer(body);
  writer.put(kRegistrationVersion);
  writer.put(request.kind);
  writer.put(request.form);
  writer.put(request.below ? kFlagBelow : std::uint8_t{0});
  writer.put(static_cast<std::uint8_t>(request.route.size()));
  writer.put(static_cast<std::uint16_t>(request.name.size()));
  writer.put(request.serial);
  writer.put(request.owner);
  writer.put(static_cast<std::uint64_t>(payload.size()));
  writer.put(push);
  writer.put_bytes(request.digest);
  for (const std::uint32_t hop : request.route) writer.put(hop);
  writer.put_text(request.name);
  if (push == 0) writer.put_bytes(payload);
  ECHELON_CHECK(writer.ok() && writer.remaining() == 0, writer.size());
  return body;
}

Result<RegisterFrame> decode_register(const FrameHeader& header, std::span<const std::byte> body) {
  ByteReader reader(body);
  RegisterFrame frame;
  RegisterRequest& request = frame.request;
  const auto version = reader.get<std::uint16_t>();
  request.kind = reader.get<RegisteredKind>();
  request.form = reader.get<embedding::Form>();
  const auto flags = reader.get<std::uint8_t>();
  const auto hops = reader.get<std::uint8_t>();
  const auto name_bytes = reader.get<std::uint16_t>();
  request.serial = reader.get<std::uint64_t>();
  request.owner = reader.get<std::uint64_t>();
  frame.payload_bytes = reader.get<std::uint64_t>();
  frame.push = reader.get<std::uint64_t>();
  const auto digest = reader.bytes(request.digest.size());
  if (!reader.ok()) return bad("it is too short");
  if (version != kRegistrationVersion) return bad("it is of another version");
  if (!known(request.kind, request.form)) return bad("there is no such kind in such a form");
  if (flags > kFlagBelow) return bad("unknown flags");
  if (hops > kRouteHopsMax || (hops != 0 && flags != 0)) return bad("its route is impossible");
  if (name_bytes > kCallableNameBytesMax) return bad("its name is too long");
  ECHELON_RETURN_IF_ERROR(check_slot(header, request.serial));
  std::copy(digest.begin(), digest.end(), request.digest.begin());
  for (unsigned i = 0; i < hops; ++i) request.route.push_back(reader.get<std::uint32_t>());
  request.name = reader.text(name_bytes);
  if (!reader.ok()) return bad("it is too short");
  request.below = flags == kFlagBelow;
  request.slot = CallableSlot{header.slot};
  request.deadline_ns = header.deadline;
  frame.inline_bytes = reader.rest();
  const std::size_t here = frame.push == 0 ? frame.payload_bytes : 0;
  if (frame.inline_bytes.size() != here || here > kInlinePayloadMax ||
      frame.payload_bytes > kPayloadBytesMax) {
    return bad("its payload is not of the size that it says");
  }
  return frame;
}

// --- unregister
// -----------------------------------------------------------------------------------

std::vector<std::byte> encode_unregister(std::uint64_t serial) {
  std::vector<std::byte> body(kUnregisterBytes);
  ByteWriter writer(body);
  writer.put(kRegistrationVersion);
  writer.put_zeros(6);
  writer.put(serial);
  return body;
}

Result<std::uint64_t> decode_unregister(const FrameHeader& header,
                                        std::span<const std::byte> body) {
  if (body.size() != kUnregisterBytes) return bad("it is of another size");
  ByteReader reader(body);
  if (reader.get<std::uint16_t>() != kRegistrationVersion) return bad("it is of another version");
  reader.bytes(6);
  const auto serial = reader.get<std::uint64_t>();
  ECHELON_RETURN_IF_ERROR(check_slot(header, serial));
  return serial;
}

// --- answers
// --------------------------------------------------------------------------------------

std::vector<std::byte> encode_answer(const SubtreeAnswer& answer, std::size_t bytes_max) {
  std::vector<const ChildAnswer*> order;
  for (const ChildAnswer& child : answer.children) order.push_back(&child);
  std::stable_partition(order.begin(), order.end(), [](const ChildAnswer* child) {
    return child->outcome != AnswerOutcome::kReady;
  });
  std::size_t bytes = kAnswerHeadBytes;
  for (const ChildAnswer* child : order) {
    bytes += kAnswerEntryBytes + cut(child->path, kPathBytesMax).size() +
             cut(child->message, kAnswerMessageBytesMax).size() +
             std::min(child->traceback.size(), kAnswerTracebackBytesMax);
  }
  std::vector<std::byte> body(std::min(bytes, bytes_max));
  ByteWriter writer(std::span<std::byte>(body).subspan(kAnswerHeadBytes));
  std::uint32_t count = 0;
  for (const ChildAnswer* child : order) {
    const std::string_view path = cut(child->path, kPathBytesMax);
    const std::string_view message = cut(child->message, kAnswerMessageBytesMax);
    const std::size_t needed = kAnswerEntryBytes + path.size() + message.size();
    if (writer.remaining() < needed) break;
    const std::string_view traceback = last_lines(
        child->traceback, std::min(kAnswerTracebackBytesMax, writer.remaining() - needed));
    writer.put(child->outcome);
    writer.put(std::uint8_t{0});
    writer.put(static_cast<std::uint16_t>(path.size()));
    writer.put(static_cast<std::uint16_t>(message.size()));
    writer.put(static_cast<std::uint16_t>(traceback.size()));
    writer.put(child->pid);
    writer.put_text(path);
    writer.put_text(message);
    writer.put_text(traceback);
    ++count;
  }
  ByteWriter head(std::span<std::byte>(body).first(kAnswerHeadBytes));
  head.put(kRegistrationVersion);
  head.put(static_cast<std::uint8_t>(answer.ok ? 1 : 0));
  head.put(std::uint8_t{0});
  head.put(answer.left_out + static_cast<std::uint32_t>(order.size()) - count);
  head.put(answer.runners);
  head.put(count);
  body.resize(kAnswerHeadBytes + writer.size());
  return body;
}

Result<SubtreeAnswer> decode_answer(std::span<const std::byte> body) {
  ByteReader reader(body);
  SubtreeAnswer answer;
  const auto version = reader.get<std::uint16_t>();
  const auto ok = reader.get<std::uint8_t>();
  reader.get<std::uint8_t>();
  answer.left_out = reader.get<std::uint32_t>();
  answer.runners = reader.get<std::uint32_t>();
  const auto count = reader.get<std::uint32_t>();
  if (!reader.ok()) return bad("an answer is too short");
  if (version != kRegistrationVersion) return bad("an answer is of another version");
  if (ok > 1) return bad("an answer is neither yes nor no");
  for (std::uint32_t i = 0; i < count; ++i) {
    ChildAnswer child;
    child.outcome = reader.get<AnswerOutcome>();
    reader.get<std::uint8_t>();
    const auto path_bytes = reader.get<std::uint16_t>();
    const auto message_bytes = reader.get<std::uint16_t>();
    const auto traceback_bytes = reader.get<std::uint16_t>();
    child.pid = reader.get<std::int64_t>();
    child.path = reader.text(path_bytes);
    child.message = reader.text(message_bytes);
    child.traceback = reader.text(traceback_bytes);
    if (!reader.ok()) return bad("an answer is too short");
    if (child.outcome > AnswerOutcome::kDied) return bad("an answer of no known outcome");
    if (ok == 1 && child.outcome != AnswerOutcome::kReady)
      return bad("an answer contradicts itself");
    answer.children.push_back(std::move(child));
  }
  if (reader.remaining() != 0) return bad("an answer is too long");
  if (answer.runners > std::uint64_t{answer.left_out} + count) {
    return bad("an answer of more processes than answered");
  }
  answer.ok = ok == 1;
  return answer;
}

}  // namespace echelon
