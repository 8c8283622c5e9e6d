// SPDX-License-Identifier: Apache-2.0
//
// TensorDesc: a view of a buffer, by name. No field holds an address (D3), so the same bytes mean
// the same tensor in every process of the tree and on the wire.
//
// Wire form (little-endian): u64 issuer, u64 buffer, u64 home, u64 offset, u8 dtype, u8 access,
// u8 rank, u8 tag, u32 zero = 40 bytes, then rank x (i64 extent, i64 stride in bytes).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <echelon/dtype.h>

#include "base/ids.h"
#include "base/status.h"

namespace echelon {

inline constexpr std::size_t kTensorRankMax = 8;
inline constexpr std::size_t kTensorWireBytesMin = 40;
inline constexpr std::size_t kTensorWireBytesMax = kTensorWireBytesMin + 16 * kTensorRankMax;

/// What a handle allows. A lower level may tag a borrowed handle only as this allows.
enum class Access : std::uint8_t { kNone = 0, kRead = 1, kWrite = 2, kReadWrite = 3 };
constexpr bool allows(Access have, Access want) {
  return (static_cast<std::uint8_t>(have) & static_cast<std::uint8_t>(want)) ==
         static_cast<std::uint8_t>(want);
}

/// How a task uses a tensor. kOutput: old bytes are never read nor sent. kOutputExisting: written
/// in part, so the old bytes stay meaningful and are ordered like INOUT without being read.
/// kNoDep: takes no part in ordering.
enum class Tag : std::uint8_t {
  kInput = 1,
  kOutput = 2,
  kInout = 3,
  kOutputExisting = 4,
  kNoDep = 5
};

/// The access that a tag needs (kNoDep: read).
constexpr Access access_for(Tag tag) {
  switch (tag) {
    case Tag::kOutput:
    case Tag::kOutputExisting:
      return Access::kWrite;
    case Tag::kInout:
      return Access::kReadWrite;
    default:
      return Access::kRead;
  }
}

struct TensorDesc {
  Uid issuer;  // whose buffer table names it
  BufferId buffer;
  Uid home;                  // the Worker pool (== issuer) or the chip whose memory holds it
  std::uint64_t offset = 0;  // bytes from the start of the buffer to element (0, 0, ...)
  DType dtype = DType::kNone;
  Access access = Access::kNone;
  std::uint8_t rank = 0;                              // 0..kTensorRankMax; rank 0 is one element
  std::array<std::int64_t, kTensorRankMax> extent{};  // elements, >= 0
  std::array<std::int64_t, kTensorRankMax> stride{};  // bytes, >= 0

  /// Number of elements: the product of the extents.
  std::uint64_t element_count() const;
  /// Bytes of the elements, without gaps between them.
  std::uint64_t payload_bytes() const { return element_count() * size_of(dtype); }
  /// Bytes from the first element to the end of the last; 0 for an empty tensor.
  std::uint64_t span_bytes() const;
  /// Row-major without gaps.
  bool contiguous() const;
  std::size_t wire_bytes() const { return kTensorWireBytesMin + 16 * std::size_t{rank}; }
};

/// A row-major tensor over a whole buffer.
TensorDesc make_contiguous(Uid issuer, BufferId buffer, Uid home, DType dtype,
                           std::span<const std::int64_t> shape, Access access);

/// True unless the two provably share no byte. By byte range first; then, where both can be read
/// as boxes of one row-major layout, per dimension. Undecidable geometry answers true.
/// REQUIRES: same issuer and buffer.
bool may_overlap(const TensorDesc& a, const TensorDesc& b);

/// True if every byte of `inner` is provably a byte of `outer`. Undecidable answers false.
/// REQUIRES: same issuer and buffer.
bool covers(const TensorDesc& outer, const TensorDesc& inner);

/// Writes the wire form. REQUIRES: out.size() >= desc.wire_bytes(). Returns the bytes written.
std::size_t encode(const TensorDesc& desc, Tag tag, std::span<std::byte> out);

/// Reads and validates one wire form (rank, dtype, access, tag, extents, overflow of sizes); does
/// not know whether the buffer exists. Advances `in`. Errors: kBadFrame with what was wrong.
Status decode(std::span<const std::byte>& in, TensorDesc& desc, Tag& tag);

}  // namespace echelon
