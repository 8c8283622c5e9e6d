// SPDX-License-Identifier: Apache-2.0
//
// The buffers that one issuer has named: a table in shared memory, by slot. The issuer writes it;
// everybody else maps it read-only (the kernel sees to that: F_SEAL_FUTURE_WRITE).
//
// A slot's serial is that of its live buffer, or 0. Readers check it before and after reading the
// place, so that a buffer freed meanwhile is `stale handle`, never another's place.
//
// Threads: BufferTable: one at a time (HostPool's lock). BufferTableView: safe.
// Fork: mapped MADV_DONTFORK.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "shm/segment.h"

namespace echelon {

/// Live buffers of one issuer, at most.
inline constexpr std::uint32_t kBuffersMax = 1u << 18;
static_assert(kBuffersMax - 1 <= BufferId::kSlotMax);

struct BufferData {
  std::atomic<std::uint64_t> serial;  // 0: no buffer
  std::atomic<std::uint32_t> segment;
  std::uint32_t reserved;
  std::atomic<std::uint64_t> offset;
  std::atomic<std::uint64_t> bytes;
};
static_assert(sizeof(BufferData) == 32);
static_assert(offsetof(BufferData, serial) == 0 && offsetof(BufferData, segment) == 8);
static_assert(offsetof(BufferData, offset) == 16 && offsetof(BufferData, bytes) == 24);

/// BufferPlace::segment of a buffer that lies in none: a chip's memory, named by this issuer.
inline constexpr std::uint32_t kSegmentElsewhere = ~std::uint32_t{0};

/// Where a buffer lies in its issuer's segments.
struct BufferPlace {
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

inline constexpr std::size_t kBufferTableBytes = kBuffersMax * sizeof(BufferData);

class BufferTable {
 public:
  static Result<BufferTable> create();

  /// Names a buffer. Errors: kExhausted (kBuffersMax live ones).
  Result<BufferId> add(const BufferPlace& place);
  /// The name becomes stale. Errors: kStaleHandle.
  Result<BufferPlace> remove(BufferId id);
  Result<BufferPlace> find(BufferId id) const;
  std::uint32_t live_count() const { return live_; }
  int fd() const { return segment_.fd(); }

 private:
  BufferData* entries() const { return reinterpret_cast<BufferData*>(segment_.data()); }

  Segment segment_;                     // sparse: pages appear as slots are used
  std::vector<std::uint64_t> serials_;  // the last serial of each slot used so far
  std::vector<std::uint32_t> free_;
  std::uint32_t live_ = 0;
};

class BufferTableView {
 public:
  /// Maps another issuer's table. Errors: kBadFrame, kSystem.
  static Result<BufferTableView> open(UniqueFd fd);
  /// Errors: kStaleHandle. The place is a peer's word: check it against the segment.
  Result<BufferPlace> find(BufferId id) const;
  int fd() const { return segment_.fd(); }

 private:
  Segment segment_;
};

}  // namespace echelon
