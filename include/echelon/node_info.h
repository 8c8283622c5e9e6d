// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace echelon {

/// What one process of the tree is and has done since it was started.
struct NodeInfo {
  std::string name;                  // "host1"
  std::string path;                  // "pod0/host1"
  std::string kind;                  // "worker", "sub", "chip"
  int level = 0;                     // 2..6; 1 for sub-workers
  std::string state;                 // "ready", "down: killed by signal 9 (SIGKILL)", "not started"
  std::string host;                  // name of its machine, where that is not the root's
  std::int64_t pid = 0;              // 0 where there is no process
  std::uint64_t tasks = 0;           // callables run here
  std::uint64_t tasks_failed = 0;    // of these, how many threw or were refused
  std::chrono::nanoseconds busy{0};  // time inside callables
  std::chrono::nanoseconds up{0};    // since it was started
  std::uint64_t bytes_in = 0;        // of tensors given to it to read
  std::uint64_t bytes_out = 0;       // of tensors given to it to write
  /// Found by the keeper's once-a-second look; 0 unless there is a bug.
  std::uint64_t lost_wakeups = 0;
  std::vector<NodeInfo> children;  // in the order in which they were given: subs, chips, Workers
};

}  // namespace echelon
