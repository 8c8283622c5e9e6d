// SPDX-License-Identifier: Apache-2.0
//
// WorkerPools: the host pools that one process can reach - its own, and what came down the edge
// from its parent or up from its children - as its edges need them. One object a process of the
// tree.
//
// Threads: safe. Blocking: never. Fork: no.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "process/tree_edge.h"
#include "shm/pool.h"
#include "shm/pool_directory.h"

namespace echelon {

class WorkerPools final : public PoolSource {
 public:
  WorkerPools() = default;

  /// A Worker's own pool, which must outlive this. Before the first edge is used.
  void set_own(HostPool* own) { own_ = own; }
  /// The edge to the parent, asked where a pool is not known. Before the first child is given work.
  void set_upper(TreeEdge* upper) { upper_ = upper; }

  /// The address of element (0, 0, ...), wherever its pool is from. Errors: as PoolDirectory::open.
  Result<std::byte*> open(const TensorDesc& desc, Access want);

  std::uint64_t epoch() const override;
  std::optional<PoolDescriptors> descriptors(Uid issuer) override;
  Status adopt(ReceivedPush push, SpillInbox& spills) override;

  PoolDirectory& directory() { return directory_; }

 private:
  HostPool* own_ = nullptr;
  TreeEdge* upper_ = nullptr;
  PoolDirectory directory_;
  std::atomic<std::uint64_t> adopted_{0};
};

}  // namespace echelon
