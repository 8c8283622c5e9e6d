// SPDX-License-Identifier: Apache-2.0
//
// RemoteEndpoint: a session on another host behind the engine's Endpoint, over the parent's side of
// its three lanes (docs/design/0013-remote.md). Bytes from the session are a peer's bytes: a bad
// one poisons this child with a reason, fails its tasks, ends the session, and nothing else.
//
//   Starting -> Up        attach()
//   Starting, Up -> Losing    a lane is down, health is silent, or the daemon says that it ended:
//                             what is on its way is waited for, at most `last_words_wait`
//   Losing -> Down -> Gone    at once after terminate() or a bad message. Its lanes are closed, so
//                             nothing of it can write here any more: Down and Gone come together.
//
// At most `sent_max` tasks are at the session; the rest of the window waits here and can be
// recalled. A sent task counts as taken. A copy between a tensor of the session and one of this
// host runs here, as a transfer over the data lane.
//
// Threads: Endpoint's calls by the driver alone; all else from any thread. Blocking: never.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/dtype.h>

#include "base/env.h"
#include "process/tree_child.h"
#include "remote/lane.h"
#include "remote/manifest.h"
#include "remote/wire.h"
#include "shm/tensor_desc.h"

namespace echelon {

class RemoteEndpoint;

struct RemoteEndpointOptions {
  ChildIndex index;
  std::string path;             // the session's, in the tree
  std::uint32_t window = 32;    // unfinished tasks at most
  std::uint32_t sent_max = 16;  // of these, at the session
  std::chrono::nanoseconds ping_every = std::chrono::milliseconds(600);
  /// From the last sign of life to Down, at most.
  std::chrono::nanoseconds silent_max = std::chrono::seconds(2);
  std::chrono::nanoseconds last_words_wait = std::chrono::milliseconds(200);
  /// Told to the session with each ping.
  std::chrono::nanoseconds lease = std::chrono::seconds(10);
  /// Exceptions that a language has serialised are handed on. Reading them may run code of the
  /// session's choice, so that without it their type, message and traceback are all that is kept.
  bool trust_results = false;
  /// Where a tensor of this host lies (WorkerPools::open). The driver's thread.
  std::function<Result<std::byte*>(const TensorDesc&, Access)> open_local;
  /// The session whose pool that is, among its siblings; nullptr: none. Copies from this one's
  /// memory to that one's are this one's. The driver's thread.
  std::function<RemoteEndpoint*(Uid pool)> peer;
  /// poll() has something to report: rings the node's doorbell. Any thread; must not block.
  std::function<void()> wake;
  /// tick() has something to do, and poll() may: wakes the keeper, too. Any thread; must not block.
  std::function<void()> wake_keeper;
  /// The session is given up: asks its daemon to end it, whatever it does (SessionCall::end). Once;
  /// must not block.
  std::function<void(const Status& why)> end_session;
};

struct RemoteLanes {
  std::unique_ptr<Lane> task;
  std::unique_ptr<Lane> data;
  std::unique_ptr<Lane> health;
};

struct RemoteCounters {
  std::uint64_t dispatched = 0, completed = 0, failed = 0, recalled = 0;
  std::uint64_t batches = 0;  // messages on the task lane
  std::uint64_t pings = 0;
  std::uint64_t bytes_out = 0, bytes_in = 0;  // of transfers: to the session, from it
};

class RemoteEndpoint final : public TreeChild {
 public:
  /// `env` must outlive it.
  RemoteEndpoint(RemoteEndpointOptions options, Env& env);
  ~RemoteEndpoint() override;

  // --- start-up and end, as the daemon tells them: any thread -----------------------------------
  /// What its start is at (SessionEvents::on_phase).
  void note_phase(std::string_view phase);
  /// For connecting a lane that will be attached.
  LaneOptions lane_options(LaneRole role);
  /// The session is READY and its lanes are connected. Once. Of one that has ended meanwhile the
  /// lanes are let go.
  void attach(const SessionReady& ready, RemoteLanes lanes);
  /// It could not start, or it ended, or nothing is heard of its daemon (SessionEvents::on_ended;
  /// a lane that could not be connected).
  void note_ended(const Status& why);

  // --- Endpoint: the driver ---------------------------------------------------------------------
  DispatchResult try_dispatch(const Dispatch& task) override;
  bool try_recall(TaskId task) override;
  Progress progress(TaskId task) const override;
  void request_cancel(TaskId task) override;  // asks for the executor's stack as well
  bool request_stack() override;
  void add_whereabouts(ErrorInfo& info) override;
  std::size_t poll(EndpointEvents& events) override;
  void terminate(const Status& why) override;
  /// REQUIRES: no task that was dispatched and has not completed holds it; the engine sees to it.
  DispatchResult try_release_buffer(BufferId buffer) override;
  bool has_news() const override;
  /// Pings, reads control answers. To be called when the time it returned has come.
  MonotonicNs tick(MonotonicNs now) override;

  // --- tensors of the session: any thread
  // ---------------------------------------------------------
  struct Allocation {
    std::uint64_t token = 0;
    Result<TensorDesc> tensor;
  };
  /// A row-major tensor in the session's pool. The answer comes to take_allocations() after a
  /// poll(), which counts it as an event. kNoRoom: try again.
  DispatchResult request_allocate(std::uint64_t token, std::span<const std::int64_t> shape,
                                  DType dtype, bool zeroed);
  /// When the session is down, those without an answer have come with its error.
  std::vector<Allocation> take_allocations();
  /// Issuer of the session's buffers; 0 before attach().
  Uid pool() const;

  // --- TreeChild: any thread
  // ----------------------------------------------------------------------
  void request_shutdown(const Status& why) override;
  bool request_stats(std::uint64_t token) override;
  std::optional<StatsReply> take_stats_reply() override;
  DispatchResult request_register(std::uint64_t token, const RegisterRequest& request,
                                  WakeBatch* wakes) override;
  DispatchResult request_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial,
                                    WakeBatch* wakes) override;
  std::vector<RegistrationReply> take_registration_replies() override;
  StartProgress start_progress() const override;
  ChildKind kind() const override { return ChildKind::kWorker; }
  const std::string& path() const override;
  pid_t pid() const override;  // on its own host
  std::string phase() const override;
  bool down() const override;
  bool ending() const override;
  Status down_status() const override;
  bool gone() const override;
  void add_counters(NodeInfo& info) const override;

  /// Name of the session's machine; empty before attach().
  std::string host() const;
  RemoteCounters counters() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace echelon
