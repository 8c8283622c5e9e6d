// SPDX-License-Identifier: Apache-2.0
//
// ChildConnection: a child's side of the edge to its parent, made from what it was handed at birth;
// and run_leaf(), the whole life of a sub-worker or chip on top of it.
//
// Processes: the child. Threads: open(), ready() and the destructor on the executor (main) thread.
// Ownership: everything that connects the child upward. Blocking: run_leaf() until told to stop.
// Fork: a Worker forks its own spawner after open(), which inherits nothing of this.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "process/child_boot.h"
#include "process/control_server.h"
#include "process/task_server.h"
#include "process/tree_edge.h"
#include "process/worker_pools.h"
#include "shm/channel.h"
#include "shm/doorbell.h"
#include "shm/segment.h"

namespace echelon {

/// build_id() as a channel carries it.
BuildIdBytes channel_build_id();

class ChildConnection {
 public:
  /// Maps channel and doorbell, installs the last words, takes the liveness word for this thread,
  /// and says "starting". Errors: kBadFrame, kSystem.
  static Result<std::unique_ptr<ChildConnection>> open(ChildBoot boot, Env& env);

  ~ChildConnection();

  ChannelChild& channel() { return *channel_; }
  Doorbell& parent_doorbell() { return doorbell_; }
  TreeEdge& edge() { return *edge_; }
  WorkerPools& pools() { return pools_; }
  Env& env() { return env_; }
  const ChildBoot& boot() const { return boot_; }  // without its descriptors

  /// What it is doing, for whoever waits for its start: "opening device".
  void phase(std::string_view text);
  /// From now on tasks may come.
  void ready();
  /// It could not start, or has to end: `why`, with path and pid, is its last words. Returns the
  /// exit code for its main.
  int fail(const Status& why);

 private:
  ChildConnection(ChildBoot boot, Env& env, ChannelChild channel, Segment doorbell);
  void tell_parent();

  ChildBoot boot_;
  Env& env_;
  // Outlives this object: the kernel looks at the liveness word when this thread ends.
  std::unique_ptr<ChannelChild> channel_;
  Segment doorbell_segment_;
  Doorbell doorbell_;
  WorkerPools pools_;
  std::unique_ptr<TreeEdge> edge_;
};

/// What distinguishes one kind of leaf from another.
struct Leaf {
  /// Gets ready (with phase()) and returns what runs its tasks. Errors end the start and are what
  /// start() reports.
  std::function<Result<std::unique_ptr<TaskHandler>>(ChildConnection&)> make_handler;
  /// Encoded statistics, on the control thread; may be nullptr.
  std::function<std::vector<std::byte>(const TaskServerCounters&)> stats;
  /// More of the executor's stack, above the C frames, on the control thread; may be nullptr.
  std::function<std::string()> stack;
};

/// A leaf's life. Returns its exit code: 0 when it was told to end, 1 after last words.
int run_leaf(ChildBoot boot, const Leaf& leaf);

}  // namespace echelon
