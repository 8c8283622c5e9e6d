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
#include "process/spawner.h"
#include "process/tree_child.h"
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
  /// Once it is ready it has to answer also while it has no task from here.
  bool watch_idle = false;
};

struct EndpointCounters {
  std::uint64_t dispatched = 0, completed = 0, recalled = 0, wakeups = 0, spills = 0, pings = 0;
};

class LocalEndpoint final : public TreeChild {
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
  DispatchResult try_release_buffer(BufferId buffer) override;
  bool has_news() const override;

  // --- what the keeper learns: any thread ------------------------------------------------------
  void note_spawned(pid_t pid);
  void note_spawn_failed(const Status& why);
  /// The liveness word says so. The next poll() drains the ring, then reports on_down.
  void note_owner_died();
  /// The spawner has reaped it. The next poll() reports on_gone (after on_down).
  void note_exited(const ExitReport& report);
  /// Pings while tasks are in flight, ends a child that answers none.
  MonotonicNs tick(MonotonicNs now) override;
  LivenessWatch& liveness();
  /// The spawner is lost: nobody will say that this child is reaped. Down with that cause; gone
  /// once its liveness word says that it has died.
  void note_spawner_lost(const Status& why);

  // --- requests: any thread --------------------------------------------------------------------
  void request_shutdown(const Status& why) override;
  bool request_stats(std::uint64_t token) override;
  std::optional<StatsReply> take_stats_reply() override;
  DispatchResult request_register(std::uint64_t token, const RegisterRequest& request,
                                  WakeBatch* wakes) override;
  DispatchResult request_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial,
                                    WakeBatch* wakes) override;
  void read_answers() override;
  std::vector<RegistrationReply> take_registration_replies() override;
  bool request_stack() override;
  void add_whereabouts(ErrorInfo& info) override;
  /// The executor's stack as last reported; empty: none.
  std::string last_stack() const;

  // --- start-up: any thread ----------------------------------------------------------------------
  StartProgress start_progress() const override;
  /// What it said of itself before it was ready; there by the time that start_progress() says
  /// kReady. Empty: nothing.
  std::vector<std::byte> take_announcement();

  const LocalEndpointOptions& options() const;
  const std::string& path() const override { return options().path; }
  pid_t pid() const override;
  std::string phase() const override;
  bool down() const override;
  bool ending() const override;
  Status down_status() const override;
  bool gone() const override;
  ChildKind kind() const override { return options().kind; }
  void add_counters(NodeInfo& info) const override;
  std::uint32_t in_flight() const;
  EndpointCounters counters() const;  // the driver's
  ChannelParent& channel();
  TreeEdge& edge();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace echelon
