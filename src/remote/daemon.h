// SPDX-License-Identifier: Apache-2.0
//
// Daemon: a parent of sessions, without an engine (docs/design/0013-remote.md). It forks its
// spawner when it is made, before a transport is loaded, and holds each session as a LocalEndpoint:
// start-up phases, liveness word, last words, exit report and the watch over a process that does
// not answer are those of any local child. It is on no task's path.
//
//   Opening -> Starting -> Ready -> Ending -> Gone
//      a session counts against the limits until it is gone: reaped, with all that was below it
//
// Processes: the operator's. Threads: DaemonHooks' calls from any; one keeper thread, on which
//   tickets are told. Blocking: close(), bounded; start() forks.
// Fork: start() on the main thread, before any other thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "process/child_boot.h"
#include "remote/session_rules.h"
#include "remote/transport.h"

namespace echelon {

struct DaemonOptions {
  /// For errors and READY; empty: the machine's.
  std::string host;
  SessionRules rules;
  /// What a session's process runs, in a fork of the spawner. It opens its ChildConnection, takes
  /// the manifest (remote/session_boot.h), announces where its lanes listen, and says ready.
  std::function<int(ChildBoot)> session_main;
  /// Program and arguments of a process that becomes a session whose runtime is Python: waits at
  /// kRunnerSocketFd (enter_runner_child()), then does what session_main does. Empty: there is
  /// none, and `rules` says so.
  std::vector<std::string> runner;
  /// The wire form that session_main reads: a transport's encode_manifest(), which may be loaded
  /// after start().
  std::function<std::vector<std::byte>(const SessionManifest&)> encode_manifest;
  /// The spawner is lost: no session can be opened any more. On the keeper's thread.
  std::function<void(const Status& why)> on_lost;
  /// Where sessions' output and the log go. The log's lines: docs/operations.md.
  int stdout_fd = 1;
  int stderr_fd = 2;
  bool log = false;
};

class Daemon final : public DaemonHooks {
 public:
  /// Errors: kBadArgument, kSystem.
  static Result<std::unique_ptr<Daemon>> start(DaemonOptions options);
  /// close()s.
  ~Daemon();

  // --- DaemonHooks: any thread
  Status open_session(std::uint64_t call, SessionManifest manifest,
                      std::shared_ptr<SessionTicket> ticket) override;
  void close_session(std::uint64_t call, std::string_view why) override;
  bool serving() const override;
  Status admit_call() override;
  std::uint64_t manifest_bytes_max() const override;
  void warn(std::string_view line) override;

  /// Sessions that are not gone.
  std::size_t session_count() const;
  /// Of the process that makes them.
  pid_t spawner_pid() const;
  /// A line of the log, with the time before it. Any thread.
  void log(std::string_view line);

  /// Asks every session to end, kills those that do not, waits until all are gone. `why` is what
  /// their parents hear. At most 5 s.
  void close(const Status& why);

 private:
  struct State;
  explicit Daemon(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace echelon
