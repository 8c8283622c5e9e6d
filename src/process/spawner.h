// SPDX-License-Identifier: Apache-2.0
//
// Spawner: a Worker's handle on the one process that makes, reaps and outlives none of its children
// (docs/design/0002-processes.md). It is forked once, by start(), before the tree has a thread;
// from then on the Worker asks it over a socket, and no running Worker ever forks.
//
// Processes: this object lives in the Worker; the other end is spawner_loop.h.
// Threads: fork() on the thread that calls start(). poll() by one thread at a time (the keeper, or
//   whoever drives); all else is safe from any thread.
// Blocking: fork() and reap_until(); a request waits up to a second for a spawner that does not
// read. Fork: a copy in a process that the user forked must not be used; its destructor does
// nothing.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/fd.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"
#include "process/child_boot.h"
#include "process/liveness.h"

namespace echelon {

/// Around each fork of the Worker's process and of the spawner's. May be empty.
struct ForkHooks {
  std::function<void()> before;
  std::function<void()> after_in_parent;
  std::function<void()> after_in_child;
};

/// fork(2) with the hooks around it.
pid_t fork_with(const ForkHooks& hooks);

struct SpawnerOptions {
  Uid uid;
  std::string name;  // of the Worker
  std::string path;
  /// Run in a forked child; what they return is its exit code.
  std::function<int(ChildBoot)> sub_main;
  std::function<int(ChildBoot)> worker_main;
  std::string chip_executable;
  /// Program and arguments of what next-level Workers that ask for it are made of (WarmRunner), one
  /// of which is kept ready. Empty: there is none.
  std::vector<std::string> runner;
  /// The Worker's doorbell segment (borrowed): rung for the keeper after each report. -1: none.
  int doorbell_fd = -1;
  ForkHooks fork_hooks;
};

struct ChildSpec {
  ChildIndex index;
  ChildKind kind = ChildKind::kSub;
  Uid uid;  // as its channel was made with
  std::string path;
  std::string name;
  std::vector<std::string> arguments;  // chips: appended to the command line
  /// A Worker that is made of SpawnerOptions::runner, not forked.
  bool in_runner = false;
};

/// Borrowed; the child gets copies. Close the edge's child end after spawn().
struct ChildFds {
  int channel = -1;
  int edge = -1;
  int doorbell = -1;
  /// A memory file that the child reads as it starts; not for chips. -1: none.
  int payload = -1;
};

/// Of what a runner says that ends before it is anybody's child, in on_output().
inline constexpr ChildIndex kRunnerIndex{0xFFFF'FFFF};

enum class OutputStream : std::uint8_t { kStdout = 1, kStderr = 2 };

/// How a child ended, as its spawner reaped it.
struct ExitReport {
  pid_t pid = 0;
  int wait_status = 0;  // as of waitpid(2)
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t max_rss_kib = 0;
  std::string stderr_tail;  // at most 2 KiB
};

/// What poll() reports. Views are valid during the call.
class SpawnerEvents {
 public:
  virtual void on_spawned(ChildIndex child, pid_t pid) = 0;
  /// Reaped, and what it had forked and left behind was killed. Its output came before.
  virtual void on_exited(ChildIndex child, const ExitReport& report) = 0;
  /// Whole lines where the child writes lines (a line over 8 KiB comes in pieces).
  virtual void on_output(ChildIndex child, OutputStream stream, std::string_view text) = 0;
  /// The child could not be made.
  virtual void on_spawn_failed(ChildIndex child, const Status& why) = 0;
  /// The spawner has ended, or speaks nonsense. Once; nothing follows.
  virtual void on_lost(const Status& why) = 0;

 protected:
  ~SpawnerEvents() = default;
};

/// What an endpoint needs of the process behind it.
class ChildProcess {
 public:
  virtual void kill(ChildIndex child) = 0;

 protected:
  ~ChildProcess() = default;
};

class Spawner final : public ChildProcess {
 public:
  /// Flushes stdio and iostreams, forks, and runs the loop in the child, which never returns.
  /// Errors: kSystem.
  static Result<std::unique_ptr<Spawner>> fork(SpawnerOptions options);
  /// Kills the spawner if it is still there (its children die with it), and reaps it.
  ~Spawner();
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;

  /// Asks for a child; on_spawned or on_spawn_failed follows. Errors: kSpawnerLost; kExhausted
  /// where the socket is full; kTooLarge where the arguments exceed kSpawnMessageBytesMax.
  Status spawn(const ChildSpec& spec, const ChildFds& fds);

  /// SIGKILL, through the pidfd; through the spawner where that has not come yet. A child that has
  /// ended already is no error.
  void kill(ChildIndex child) override;

  /// Reports what has come. Returns the number of events. A spawner dies before its children do of
  /// it: read the children's liveness words, then poll, then tell their endpoints, and on_lost is
  /// the cause that counts.
  std::size_t poll(SpawnerEvents& events);

  /// 0: not known (yet).
  pid_t child_pid(ChildIndex child) const;

  /// The keeper sleeps on this beside its children's. Also kOwnerDied after an orderly end.
  LivenessWatch& liveness() { return watch_; }
  /// True once the spawner has died or its socket has broken.
  bool lost() const;
  pid_t pid() const { return pid_; }
  /// Readable when the spawner has ended.
  int pidfd() const { return pidfd_.get(); }

  /// The end of the tree: children that are still there after `kill_after` are killed, all are
  /// reaped and reported (poll), then the spawner ends itself. Tell the children to stop before.
  void begin_shutdown(std::chrono::milliseconds kill_after);
  /// Waits for the spawner's end, polling into `events`, and reaps it; at `deadline_ns` it is
  /// killed (and its children with it). ECHILD is normal: the user may wait for any child.
  /// Blocking: yes.
  Status reap_until(MonotonicNs deadline_ns, SpawnerEvents& events);

 private:
  struct State;
  Spawner(pid_t pid, UniqueFd pidfd, std::unique_ptr<State> state);
  void report_lost(const Status& wrong, SpawnerEvents& events);

  const pid_t pid_;
  UniqueFd pidfd_;
  LivenessWatch watch_;
  std::unique_ptr<State> state_;
};

}  // namespace echelon
