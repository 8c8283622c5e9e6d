// SPDX-License-Identifier: Apache-2.0
//
// SpawnerLoop: the spawner's whole life - one thread in one poll(2) over the Worker's socket, a
// pidfd of the Worker's process, SIGCHLD and its children's output. It forks sub-workers and
// next-level Workers, execs chips, reaps them all, kills what their callables left behind, and
// ends, with all of them, when its Worker does (docs/design/0002-processes.md).
//
// Processes: the spawner. Threads: one, always. Blocking: in poll(2) alone.
// Fork: runs in a fork of the Worker's process; never returns into its frames.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "base/env.h"
#include "base/fd.h"
#include "base/ids.h"
#include "base/status.h"
#include "process/liveness.h"
#include "process/output_lines.h"
#include "process/spawn_protocol.h"
#include "process/spawner.h"
#include "process/warm_runner.h"
#include "shm/doorbell.h"
#include "shm/segment.h"

namespace echelon {

/// What the Worker leaves to its spawner at the fork.
struct SpawnerBoot {
  SpawnerOptions options;
  UniqueFd socket;        // the spawner's end
  UniqueFd doorbell;      // the Worker's, or none
  UniqueFd worker_pidfd;  // opened before the fork, so that it can be of nobody else
  pid_t worker_pid = 0;
  bool by_main_thread = false;  // else PR_SET_PDEATHSIG would fire when some thread ends
};

class SpawnerLoop {
 public:
  explicit SpawnerLoop(SpawnerBoot boot);

  /// Signals, subreaper, descriptors. Errors: kSystem; kSpawnerLost where the Worker has ended.
  Status set_up();
  /// Until the tree has ended; returns the spawner's exit code.
  int run();

 private:
  struct Io {
    UniqueFd out, err;
    OutputLines out_lines{kOutputBytesMax}, err_lines{kOutputBytesMax};
    std::string stderr_tail;
  };
  struct Queued {
    std::vector<std::byte> bytes;
    UniqueFd fd;
    std::optional<ChildIndex> announces;
  };

  bool step();
  void wait_for_events(std::vector<pollfd>& fds) const;
  void read_requests();
  void handle(DownMessage message, std::vector<UniqueFd> fds);
  void make(const SpawnRequest& request, std::vector<UniqueFd> fds);
  Status try_make(const SpawnRequest& request, std::vector<UniqueFd> fds);
  Result<pid_t> fork_child(ChildBoot boot, int output, int errors);
  Result<pid_t> exec_child(const ChildBoot& boot, int output, int errors);
  Status make_in_runner(const SpawnRequest& request, const std::vector<UniqueFd>& fds);
  Status announce(ChildIndex index, pid_t pid, UniqueFd out, UniqueFd err);

  void read_output(ChildIndex index, Io& io, OutputStream stream);
  void pass_on(ChildIndex index, OutputStream stream, OutputLines& lines, bool at_end);
  void reap();
  void report_exit(pid_t pid);
  bool reap_runner(pid_t pid);
  void kill_orphans();
  void kill_all();

  void queue(const UpMessage& message, UniqueFd fd = UniqueFd(),
             std::optional<ChildIndex> announces = std::nullopt);
  void flush();
  void worker_ended();

  SpawnerBoot boot_;
  SystemEnv env_;
  SpawnLedger ledger_;
  WarmRunner runner_;
  UniqueFd signals_;
  Segment doorbell_segment_;
  Doorbell doorbell_;
  std::map<ChildIndex, Io> io_;
  std::deque<Queued> queue_;
  bool worker_gone_ = false;
  bool no_children_left_ = false;
};

}  // namespace echelon
