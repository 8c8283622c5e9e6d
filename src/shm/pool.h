// SPDX-License-Identifier: Apache-2.0
//
// HostPool: the shared host memory of one issuer (a Worker): a buffer table and data segments. It
// grows by another segment; pieces are recycled while they are warm (fresh shared pages cost 10
// times what warm ones do), and merged when no piece of the right size is left.
//
// Memory of a buffer is NOT cleared: it may hold what an earlier buffer held.
//
// Threads: safe. Ownership: descriptors and mappings end with the pool; the memory with its last
// borrower. Blocking: no (a short lock; system calls when it grows).
// Fork: all of it is MADV_DONTFORK; the copy in a forked child is unusable and must not be
// destroyed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "shm/buffer_table.h"
#include "shm/segment.h"
#include "shm/tensor_desc.h"

namespace echelon {

inline constexpr std::size_t kBufferAlign = 64;
inline constexpr std::uint32_t kPoolSegmentsMax = 4096;

struct HostPoolOptions {
  /// Live bytes, at most.
  std::uint64_t bytes_max = std::uint64_t{1} << 40;
  std::uint64_t segment_bytes_min = std::uint64_t{64} << 20;
  /// For messages: whose pool it is.
  std::string owner;
};

/// What is needed to hand a pool to another process. Descriptors are valid while the pool lives.
struct PoolDescriptors {
  Uid issuer;
  int table_fd = -1;
  struct Part {
    int fd = -1;
    std::uint64_t bytes = 0;
  };
  std::vector<Part> segments;
};

class HostPool {
 public:
  /// Errors: kSystem.
  static Result<std::unique_ptr<HostPool>> create(Uid issuer, HostPoolOptions options);
  HostPool(const HostPool&) = delete;
  HostPool& operator=(const HostPool&) = delete;

  /// A buffer of `bytes` (0 allowed), aligned to kBufferAlign. Errors: kExhausted, saying what
  /// holds the pool; kSystem.
  Result<BufferId> allocate(std::uint64_t bytes);

  /// A name for `bytes` bytes that lie elsewhere (a chip's memory): it takes nothing of this pool.
  /// Errors: kExhausted (names).
  Result<BufferId> name_elsewhere(std::uint64_t bytes);

  /// Its name becomes stale at once and its memory may be given out again at once: free only what
  /// nobody writes to any more. Errors: kStaleHandle.
  Status free(BufferId id);

  /// Errors: kStaleHandle; kForeignHandle for memory that lies elsewhere. Valid until free().
  Result<std::span<std::byte>> bytes_of(BufferId id) const;

  /// Checks a view of a buffer of this pool and gives the address of its first element. Errors:
  /// as PoolDirectory::open.
  Result<std::byte*> open(const TensorDesc& desc, Access want) const;

  Uid issuer() const { return issuer_; }
  PoolDescriptors descriptors() const;
  std::uint32_t segment_count() const;

  struct Usage {
    std::uint32_t buffers = 0;
    std::uint64_t live_bytes = 0;    // of live buffers, rounded as allocated
    std::uint64_t mapped_bytes = 0;  // of all segments
  };
  Usage usage() const;

 private:
  struct Piece {
    std::uint32_t segment = 0;
    std::uint64_t offset = 0;
  };
  struct Extent {
    std::uint64_t bytes = 0;
    std::uint32_t segment = 0;
    std::uint64_t offset = 0;
    friend auto operator<=>(const Extent&, const Extent&) = default;
  };

  HostPool(Uid issuer, HostPoolOptions options, BufferTable table);
  Result<Piece> take_piece_locked(std::uint64_t bytes);
  bool carve_locked(std::uint64_t bytes, Piece& piece);
  void merge_recycled_locked();
  void add_extent_locked(Extent extent);
  Status grow_locked(std::uint64_t bytes);
  Status exhausted_locked(std::uint64_t bytes) const;

  const Uid issuer_;
  const HostPoolOptions options_;
  mutable std::mutex mutex_;  // guards all below
  BufferTable table_;
  std::deque<Segment> segments_;
  std::map<std::uint64_t, std::vector<Piece>> recycled_;  // by size class
  std::uint64_t recycled_bytes_ = 0;
  std::set<Extent> free_by_size_;
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint64_t> free_by_place_;
  std::uint64_t live_bytes_ = 0;
  std::uint64_t mapped_bytes_ = 0;
};

/// The bytes a buffer of `bytes` takes: at most a quarter more, a multiple of kBufferAlign.
std::uint64_t size_class(std::uint64_t bytes);

/// Checks a view against its buffer's size and the access wanted (not the name). Errors:
/// kWrongAccess, kBadArgument (out of the buffer, or elements not aligned).
Status check_view(const TensorDesc& desc, Access want, std::uint64_t buffer_bytes);

}  // namespace echelon
