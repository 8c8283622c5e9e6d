// SPDX-License-Identifier: Apache-2.0
//
// PoolDirectory: the pools of other processes that this one can reach, by issuer. Descriptors
// arrive over tree edges (pool_push.h) and are kept, so that they can be handed on to the next
// level.
//
// Threads: safe; the fetch callback is called without the lock. Ownership: mappings live as long as
// the directory, or until forget(). Fork: mapped MADV_DONTFORK.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/status.h"
#include "shm/buffer_table.h"
#include "shm/pool.h"
#include "shm/tensor_desc.h"

namespace echelon {

/// Issuers, at most, in one process.
inline constexpr std::size_t kPoolsMax = 4096;

/// Takes in what has been pushed and not yet read. False: nothing more is there.
using FetchMore = std::function<bool()>;

class PoolDirectory {
 public:
  /// Takes in a pushed table or segment. Segments of one pool arrive in order. The same again is
  /// ignored. Errors: kBadFrame (out of order, of another size, not sealed), kExhausted, kSystem.
  Status adopt_table(Uid issuer, UniqueFd fd);
  Status adopt_segment(Uid issuer, std::uint32_t index, std::uint64_t bytes, UniqueFd fd);

  /// The address of element (0, 0, ...). Errors: kForeignHandle (a pool unknown here, or memory
  /// that is not a host's), kStaleHandle, kWrongAccess, kBadArgument (out of its buffer).
  /// `fetch_more` is called while the pool, or the segment, is not known yet. Valid while the
  /// buffer's owner keeps it.
  Result<std::byte*> open(const TensorDesc& desc, Access want, const FetchMore& fetch_more);

  /// Cuts off what still points into this tensor's segment: it sees private memory from now on, and
  /// open() gives other addresses. Nothing for a pool unknown here. REQUIRES: no view of the
  /// segment is rightly in use. Errors: kSystem.
  Status cut_off(const TensorDesc& desc);

  /// For handing on; nothing for a pool unknown here.
  std::optional<PoolDescriptors> descriptors(Uid issuer) const;

  /// Unmaps a pool. REQUIRES: no view of it is in use.
  void forget(Uid issuer);
  std::size_t pool_count() const;

 private:
  struct Pool {
    std::optional<BufferTableView> table;
    std::vector<Segment> segments;
  };
  enum class Lookup : std::uint8_t { kFound, kUnknownPool, kUnknownSegment };
  /// One attempt; `status` is set for errors that more descriptors would not mend.
  Lookup find_locked(const TensorDesc& desc, Access want, std::byte*& address,
                     Status& status) const;

  mutable std::mutex mutex_;
  std::map<Uid, Pool> pools_;
};

}  // namespace echelon
