// SPDX-License-Identifier: Apache-2.0
//
// LocalEndpoint: a child process behind the engine's Endpoint, over the parent's side of its
// channel (docs/design/0005-endpoint.md). Bytes from the child are a peer's bytes: a bad one
// poisons this channel with a reason, fails its tasks, ends the child, and nothing else.
//
//   Starting -> Up -> Down -> Gone        Down: nothing more is read. Gone: reaped.
//
// Threads: Endpoint's calls by the driver alone; note_*(), tick(), the requests and the start-up
//   questions from any thread. Blocking: never.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/fd.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"
#include "process/liveness.h"
#include "process/registration_codec.h"
#include "process/spawner.h"
#include "process/tree_edge.h"
#include "shm/channel.h"

namespace echelon {

struct LocalEndpointOptions {
  ChildIndex index;
  ChildKind kind = ChildKind::kSub;
  std::string path;  // the child's
  std::string host;  // name of the machine, for errors
  std::uint32_t window = 16;
  std::chrono::nanoseconds unresponsive_after = std::chrono::seconds(10);
};

/// How far a child's start has come.
enum class StartState : std::uint8_t { kBooting, kStarting, kReady, kFailed };
struct StartProgress {
  StartState state = StartState::kBooting;
  std::string phase;  // what the child says it is doing: "opening device"
  Status error;       // with kFailed: its own message, path and pid
};

struct EndpointCounters {
  std::uint64_t dispatched = 0, completed = 0, recalled = 0, wakeups = 0, spills = 0, pings = 0;
};

class LocalEndpoint final : public Endpoint {
 public:
  /// `process` and `env` must outlive it, and so must the edge's pools.
  LocalEndpoint(LocalEndpointOptions options, ChannelParent channel, std::unique_ptr<TreeEdge> edge,
                ChildProcess& process, Env& env);
  ~LocalEndpoint() override;

  // --- Endpoint: the driver ------------------------------------------------------------------
  DispatchResult try_dispatch(const Dispatch& task) override;
  bool try_recall(TaskId task) override;
  Progress progress(TaskId task) const override;
  void request_cancel(TaskId task) override;  // asks for the executor's stack as well
  std::size_t poll(EndpointEvents& events) override;
  void terminate(const Status& why) override;
  /// In order with the tasks: the child may forget this buffer. kNoRoom: try again after poll().
  DispatchResult try_release_buffer(BufferId buffer);
  /// True if poll() would report something: a look at one line.
  bool has_news() const;

  // --- what the keeper learns: any thread ------------------------------------------------------
  void note_spawned(pid_t pid);
  void note_spawn_failed(const Status& why);
  /// The liveness word says so. The next poll() drains the ring, then reports on_down.
  void note_owner_died();
  /// The spawner has reaped it. The next poll() reports on_gone (after on_down).
  void note_exited(const ExitReport& report);
  /// Reads control answers, pings while tasks are in flight, ends a child that answers none.
  /// Returns when to call again at the latest; 0: no need.
  MonotonicNs tick(MonotonicNs now);
  LivenessWatch& liveness();
  /// The spawner is lost: nobody will say that this child is reaped. Down with that cause; gone
  /// once its liveness word says that it has died.
  void note_spawner_lost(const Status& why);

  // --- requests: any thread --------------------------------------------------------------------
  /// `why`: what its tasks say, should it have to be killed for it; ok: how it died.
  void request_shutdown(const Status& why);
  /// False: no room, or down. The reply comes to take_stats_reply() after a tick().
  bool request_stats(std::uint64_t token);
  struct StatsReply {
    std::uint64_t token = 0;
    std::vector<std::byte> bytes;
  };
  std::optional<StatsReply> take_stats_reply();
  /// A callable for this child, or for what is below it; one caller at a time. kNoRoom: the child
  /// has to read first; then the same again. Its answer comes to take_registration_replies() after
  /// a tick(). With `wakes` the child may sleep until that batch is woken.
  DispatchResult request_register(std::uint64_t token, const RegisterRequest& request,
                                  WakeBatch* wakes = nullptr);
  DispatchResult request_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial,
                                    WakeBatch* wakes = nullptr);
  struct RegistrationReply {
    std::uint64_t token = 0;
    bool unregister = false;
    SubtreeAnswer answer;
  };
  /// For who does not wait for the next tick(). Any thread.
  void read_answers();
  std::vector<RegistrationReply> take_registration_replies();
  bool request_stack() override;
  void add_whereabouts(ErrorInfo& info) override;
  /// The executor's stack as last reported; empty: none.
  std::string last_stack() const;

  // --- start-up: any thread ----------------------------------------------------------------------
  StartProgress start_progress() const;

  const LocalEndpointOptions& options() const;
  pid_t pid() const;
  /// What it says it is doing.
  std::string phase() const;
  bool down() const;
  /// Down, or about to be: it will answer nothing more.
  bool ending() const;
  /// Why it is down. REQUIRES: down().
  Status down_status() const;
  bool gone() const;
  std::uint32_t in_flight() const;
  EndpointCounters counters() const;  // the driver's
  ChannelParent& channel();
  TreeEdge& edge();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// "child host0/chip1 not ready after 30 s: phase opening device", for each child not ready.
Status not_ready_error(std::span<LocalEndpoint* const> children, std::chrono::nanoseconds waited);

}  // namespace echelon
