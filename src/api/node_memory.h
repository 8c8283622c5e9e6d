// SPDX-License-Identifier: Apache-2.0
//
// NodeMemory: the buffers that a Worker makes - in its own shared memory, in its chips' - and which
// tensors its tasks may be given.
//
// Threads: safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "api/borrowed_memory.h"
#include "api/tensor_state.h"
#include "process/worker_pools.h"
#include "shm/pool.h"

namespace echelon {
class RemoteEndpoint;
}

namespace echelon::detail {

class Node;

/// A Worker's own pool, which lives as long as any tensor of it.
struct OwnPool {
  OwnPool(std::unique_ptr<HostPool> given, std::string path)
      : pool(std::move(given)), owner(std::move(path)) {}
  const std::unique_ptr<HostPool> pool;
  const std::string owner;  // the Worker's path, for people
  /// Of buffers that nobody but tasks in flight holds: free once those have ended.
  std::atomic<std::uint64_t> leaving_bytes{0};
};

/// Errors: kSystem. `bytes_max` 0: half of the machine's memory.
Result<std::shared_ptr<OwnPool>> make_own_pool(std::uint64_t bytes_max, std::string owner);

/// A tensor of `pool`. Throws InvalidArgument, ResourceExhausted. With `zeroed` its bytes are zero,
/// otherwise undefined.
Tensor allocate_host_tensor(const std::shared_ptr<OwnPool>& pool, const Shape& shape, DType dtype,
                            bool zeroed);

class NodeMemory {
 public:
  /// `pools` must outlive it.
  NodeMemory(std::shared_ptr<OwnPool> own, WorkerPools& pools);

  /// Before the first task: buffers that a remote child's session has named are this Worker's, too.
  void add_remote(const RemoteEndpoint& endpoint) { remotes_.push_back(&endpoint); }
  /// Before the first task. Chips are told of what they may forget through `node`.
  void add_chip(ChildIndex child, Uid uid, std::string path, std::weak_ptr<Node> node);

  Tensor allocate(const Shape& shape, DType dtype);
  /// Throws InvalidArgument where `child` is no chip of this Worker.
  Tensor allocate_on_chip(ChildIndex child, const Shape& shape, DType dtype);

  /// Memory of the program's for a copy to or from a remote Worker (borrowed_memory.h).
  Tensor borrow(std::span<std::byte> bytes, Access access, std::shared_ptr<const void> keeps) {
    return borrowed_->lend(bytes, access, std::move(keeps));
  }
  /// Where a tensor of this host is, for such a copy. Errors: as PoolDirectory::open.
  Result<std::byte*> open_local(const TensorDesc& desc, Access want);

  /// Whether a task of this Worker may be given the buffer as tensor argument `argument`. Errors:
  /// kStaleHandle, kForeignHandle.
  Status check_usable_here(const Buffer& buffer, std::size_t argument) const;

  std::uint64_t leaving_bytes() const {
    return own_->leaving_bytes.load(std::memory_order_relaxed);
  }
  WorkerPools& pools() { return pools_; }
  OwnPool& own() { return *own_; }

 private:
  struct Chip {
    ChildIndex child;
    Uid uid;
    std::string path;
    std::weak_ptr<Node> node;
  };

  const std::shared_ptr<OwnPool> own_;
  WorkerPools& pools_;
  const std::shared_ptr<BorrowedMemory> borrowed_;
  std::vector<Chip> chips_;
  std::vector<const RemoteEndpoint*> remotes_;
};

}  // namespace echelon::detail
