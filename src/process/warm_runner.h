// SPDX-License-Identifier: Apache-2.0
//
// WarmRunner: the one process that a spawner keeps ready to become its next child where a child's
// language takes long to load. It is exec'd ahead of time, loads, and waits at a socket for what a
// forked child is born with; then it is that child, with the same pid, and another one is made in
// its place (docs/design/0015-python-sessions.md).
//
//   none -> loading or waiting -> taken      a request may come while it still loads: it reads it
//     ^         |                            once it has
//     +---------+  it ended: made again after a pause that doubles while none is ever taken
//
// Processes: the spawner. Threads: its only one. Blocking: never.
// Fork: start() forks and execs; what is exec'd dies with the spawner (PR_SET_PDEATHSIG).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/env.h"
#include "base/fd.h"
#include "base/status.h"
#include "process/spawn_protocol.h"

namespace echelon {

class WarmRunner {
 public:
  /// `command`: program and arguments. Empty: there is none, and take() says so.
  explicit WarmRunner(std::vector<std::string> command) : command_(std::move(command)) {}

  /// Makes one where none is and the time has come. Errors are tried again later.
  void step(MonotonicNs now);
  /// When step() has something to do; 0: nothing.
  MonotonicNs next_timer_ns() const;

  /// A child's process, and the reading ends of what it prints.
  struct Taken {
    pid_t pid = 0;
    UniqueFd out, err;
  };
  /// The one that waits, or else a new one, becomes the child of `request`; `fds` are as for a
  /// forked one. Errors: kBadArgument (there is no command), kSystem.
  Result<Taken> take(const SpawnRequest& request, const std::vector<UniqueFd>& fds,
                     MonotonicNs now);

  /// The process that is kept; 0: none is.
  pid_t pid() const { return pid_; }
  /// It has ended, untaken, and was reaped. Returns the last of what it said, for people.
  std::string ended(MonotonicNs now);
  /// The tree ends: none is made any more; the one that is kept reads the end of its socket.
  void retire();

 private:
  Status start();

  std::vector<std::string> command_;
  pid_t pid_ = 0;
  UniqueFd socket_, out_, err_;
  MonotonicNs start_at_ns_ = 1;  // 0: never; at once, that is
  int ended_untaken_ = 0;
};

}  // namespace echelon
