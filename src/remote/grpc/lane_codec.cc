// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/lane_codec.h"

#include <fmt/format.h>

#include <cstdint>

#include "base/codec.h"

namespace echelon {
namespace {

// https://protobuf.dev/programming-guides/encoding
enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
constexpr unsigned kVarintBytesMax = 10;

Status bad_batch(std::string_view what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       fmt::format("what came over the lane is no LaneBatch: {}", what));
}

/// nullopt: cut, or longer than a varint can be.
std::optional<std::uint64_t> get_varint(ByteReader& in) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < kVarintBytesMax; ++i) {
    const auto byte = in.get<std::uint8_t>();
    if (!in.ok()) return std::nullopt;
    value |= std::uint64_t{byte & 0x7Fu} << (7 * i);
    if ((byte & 0x80u) == 0) return value;
  }
  return std::nullopt;
}

void put_varint(FieldHeader& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) {
    out.bytes[out.size++] = static_cast<std::byte>(value | 0x80);
  }
  out.bytes[out.size++] = static_cast<std::byte>(value);
}

Status skip(ByteReader& in, std::uint64_t type) {
  std::size_t bytes = 0;
  if (type == kVarint) {
    if (!get_varint(in)) return bad_batch("a number is cut");
    return {};
  }
  if (type == kFixed64) {
    bytes = 8;
  } else if (type == kFixed32) {
    bytes = 4;
  } else {
    return bad_batch(fmt::format("a field has wire type {}", type));
  }
  in.bytes(bytes);
  return in.ok() ? Status() : bad_batch("a number is cut");
}

Status take_bytes(std::uint64_t field, std::span<const std::byte> payload, DecodedBatch& out) {
  if (field == static_cast<std::uint64_t>(BatchField::kClosed)) {
    out.closed = payload;
    return {};
  }
  if (field != static_cast<std::uint64_t>(BatchField::kMessages)) return {};
  if (payload.size() > kLaneMessageBytesMax) {
    return Status::error(Code::kDataLoss, Reason::kTooLarge,
                         fmt::format("a message of {} bytes came over the lane; the most is {}",
                                     payload.size(), kLaneMessageBytesMax));
  }
  if (out.messages.size() == kBatchMessagesMax) {
    return bad_batch(fmt::format("it holds more than {} messages", kBatchMessagesMax));
  }
  out.messages.push_back(payload);
  return {};
}

}  // namespace

FieldHeader field_header(BatchField field, std::size_t payload_bytes) {
  FieldHeader header;
  put_varint(header, (static_cast<std::uint32_t>(field) << 3) | kBytes);
  put_varint(header, payload_bytes);
  return header;
}

std::optional<std::size_t> lone_message_at(std::span<const std::byte> begin,
                                           std::size_t batch_bytes) {
  ByteReader in(begin);
  const auto tag = get_varint(in);
  const auto size = get_varint(in);
  const std::size_t head = begin.size() - in.remaining();
  const bool message = tag == ((static_cast<std::uint64_t>(BatchField::kMessages) << 3) | kBytes) &&
                       size && *size <= kLaneMessageBytesMax && head + *size == batch_bytes;
  return message ? std::optional(head) : std::nullopt;
}

Status decode_batch(std::span<const std::byte> bytes, DecodedBatch& out) {
  out.messages.clear();
  out.closed.reset();
  ByteReader in(bytes);
  while (in.remaining() != 0) {
    const auto tag = get_varint(in);
    if (!tag || (*tag >> 3) == 0 || (*tag >> 3) >= (1u << 29)) {
      return bad_batch("a field has no valid number");
    }
    if ((*tag & 7) != kBytes) {
      ECHELON_RETURN_IF_ERROR(skip(in, *tag & 7));
      continue;
    }
    const auto size = get_varint(in);
    if (!size || *size > in.remaining()) return bad_batch("a field is cut");
    ECHELON_RETURN_IF_ERROR(take_bytes(*tag >> 3, in.bytes(*size), out));
  }
  return {};
}

}  // namespace echelon
