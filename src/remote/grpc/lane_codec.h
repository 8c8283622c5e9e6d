// SPDX-License-Identifier: Apache-2.0
//
// LaneBatch of proto/echelon/v1/lane.proto, to and from its bytes without a copy of the messages
// in between.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "remote/lane.h"

namespace echelon {

inline constexpr std::size_t kBatchMessagesMax = 1024;
inline constexpr std::size_t kBatchBytesMax = kLaneMessageBytesMax + (std::size_t{64} << 10);

enum class BatchField : std::uint32_t { kMessages = 1, kClosed = 2 };

/// Tag and length of a field.
struct FieldHeader {
  std::array<std::byte, 6> bytes{};
  std::size_t size = 0;
};
/// REQUIRES: payload_bytes below 2^32.
FieldHeader field_header(BatchField field, std::size_t payload_bytes);

/// Where the message begins in a batch of `batch_bytes` that is one message and nothing else;
/// nullopt: it is more or less than that, or `begin`, its first bytes, are too few to see it.
std::optional<std::size_t> lone_message_at(std::span<const std::byte> begin,
                                           std::size_t batch_bytes);

/// Views of the bytes that were decoded.
struct DecodedBatch {
  std::vector<std::span<const std::byte>> messages;
  std::optional<std::span<const std::byte>> closed;
};
/// Skips fields that are not known. Errors: kBadFrame.
Status decode_batch(std::span<const std::byte> bytes, DecodedBatch& out);

}  // namespace echelon
