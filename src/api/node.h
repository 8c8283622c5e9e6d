// SPDX-License-Identifier: Apache-2.0
//
// Node: a started Worker in its own process - engine, driver, keeper, spawner, memory and the
// endpoints of its children, wired together. The root's lives in the user's program, a next-level
// Worker's in its own process, where the executor feeds it orchestration tasks.
//
// Threads: as the parts it wires: anything that touches the engine goes through driver().
// Ownership: owns all parts. Fork: start() forks the spawner before the node has a thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/embedding.h>
#include <echelon/node_info.h>
#include <echelon/worker.h>

#include "api/callables.h"
#include "api/late_table.h"
#include "api/node_memory.h"
#include "api/registrar.h"
#include "api/run_context.h"
#include "api/run_state.h"
#include "api/staging_cache.h"
#include "base/env.h"
#include "engine/engine.h"
#include "process/driver.h"
#include "process/keeper.h"
#include "process/local_endpoint.h"
#include "process/output_relay.h"
#include "process/spawner.h"
#include "process/task_server.h"
#include "shm/segment.h"

namespace echelon {
class RemoteEndpoint;
struct RemoteWorkerSpec;
struct SessionManifest;
}  // namespace echelon

namespace echelon::detail {

/// One child as it is to be started.
struct ChildPlan {
  ChildKind kind = ChildKind::kSub;
  std::string name;
  int level = 1;
  ChipSpec chip;                                   // kChip
  std::function<int(ChildBoot)> main;              // kSub, kWorker: run in the forked child
  std::shared_ptr<const RemoteWorkerSpec> remote;  // kWorker on another host: instead of `main`
};

struct NodeOptions {
  int level = 3;
  std::string name;
  std::string path;
  std::vector<ChildPlan> children;
  const CallableTable* callables = nullptr;
  std::shared_ptr<OwnPool> pool;
  std::chrono::nanoseconds start_deadline = std::chrono::seconds(30);
  std::chrono::nanoseconds unresponsive_after = std::chrono::seconds(10);
  std::shared_ptr<const embedding::Language> language;
  /// What the pools and callables belong to: lives as long as the node does.
  std::vector<std::shared_ptr<const void>> keeps;
};

class Node final : public std::enable_shared_from_this<Node>,
                   public DriveTarget,
                   private EngineListener,
                   private SpawnerEvents,
                   public KeeperDuties {
 public:
  /// `pools` must outlive it: the process's, which a child's connection to its parent owns.
  Node(NodeOptions options, WorkerPools& pools);
  ~Node();

  // --- life ------------------------------------------------------------------------------------
  /// Starts all children; returns when every one is ready, or with the first failure's own words,
  /// and then nothing is left. `progress` hears what is being waited for; `check_wait` is asked now
  /// and then, and what it throws leaves this, with nothing left either. Both may be empty.
  /// REQUIRES: owned by a shared_ptr; the calling thread may fork.
  Status start(const std::function<void(std::string_view)>& progress,
               const std::function<void()>& check_wait = {});
  /// Fails what is in flight, ends all children (asks, then kills), and waits for that: at most 5
  /// s.
  void close();
  bool closed() const { return closing_.load(std::memory_order_relaxed); }
  /// Before start(): told, on the keeper's thread, when the spawner has died.
  void when_lost(std::function<void(const Status&)> hook) { lost_hook_ = std::move(hook); }
  /// Before start(): more for the keeper, a next-level Worker's control ring.
  void add_duties(KeeperDuties* duties) { more_duties_ = duties; }

  // --- runs --------------------------------------------------------------------------------------
  std::shared_ptr<RunContext> acquire_context();
  void recycle(std::shared_ptr<RunContext> context);
  /// A run that close() knows to end. Under `drive`.
  void add_run(RunState& state) { runs_.push_back(&state); }
  void cancel_run(RunState& state, const Status& why);
  /// True once the run has ended; false at the deadline (absolute, 0: none).
  bool wait_run(RunState& state, MonotonicNs deadline_ns);
  /// Ends every run with this error, now and for later ones. Any thread.
  Status refusal() const;

  // --- parts -------------------------------------------------------------------------------------
  Driver& driver() { return *driver_; }
  Engine& engine() { return engine_; }
  Env& env() { return env_; }
  NodeMemory& memory() { return memory_; }
  const CallableTable& callables() const { return *options_.callables; }
  /// Those that came while it runs.
  LateTable& late() { return late_; }
  Registrar& registrar() { return registrar_; }
  const std::string& path() const { return options_.path; }
  /// nullptr: C++ alone.
  const embedding::Language* language() const { return options_.language.get(); }
  int level() const { return options_.level; }
  /// Child number `i` of a kind, in the order given. Throws InvalidArgument where there is none.
  WorkerId child(ChildKind kind, std::size_t i) const;
  std::size_t child_count(ChildKind kind) const;
  /// A buffer of a chip's or a remote Worker's memory is no longer used: told to the child in order
  /// with its tasks.
  void release_buffer_at(ChildIndex child, BufferId id);

  // --- children on other hosts (node_remote.cc)
  bool has_remotes() const { return has_remotes_; }
  /// nullptr: it is not remote.
  RemoteEndpoint* remote(ChildIndex child) const;
  /// Whether copies between the memories of these two go from host to host.
  bool copies_directly(ChildIndex from, ChildIndex to) const;
  /// Whether a language may unpickle what comes from there.
  bool trusts(ChildIndex child) const;
  /// A live child of this machine that may run `kind`; nullopt: there is none.
  std::optional<ChildIndex> least_loaded_local(TaskKind kind);
  /// Holds a token for an allocation; what is answered to none is given back.
  class Allocating {
   public:
    explicit Allocating(Node& node) : node_(node), token_(node.begin_allocation()) {}
    ~Allocating() { node_.end_allocation(token_); }
    Allocating(const Allocating&) = delete;
    Allocating& operator=(const Allocating&) = delete;
    std::uint64_t token() const { return token_; }

   private:
    Node& node_;
    const std::uint64_t token_;
  };
  /// Has the keeper look, whatever it sleeps for. Any thread.
  void nudge() { doorbell_.wake_keeper(); }
  /// Copies of local tensors at remote children.
  StagingCache& staging() { return staging_; }
  /// What becomes of local tensors at that child, where the task does not say.
  Stage stage_of(ChildIndex child) const;
  /// A live Worker child, the least loaded: local, or remote where local tensors are copied to it.
  /// None of `taken`.
  std::optional<ChildIndex> least_loaded_stageable(Stage asked,
                                                   std::span<const ChildIndex> taken = {});
  /// The answer that `child` has given, once.
  std::optional<Result<TensorDesc>> take_allocation(ChildIndex child, std::uint64_t token);

  /// This node and everything below, as far as it answers within `budget`.
  NodeInfo info(std::chrono::nanoseconds budget);
  /// Where info() finds what this process itself has run; nullptr (the root): nothing.
  void set_own_counters(const TaskServerCounters* counters) { own_counters_ = counters; }

  // --- DriveTarget -------------------------------------------------------------------------------
  std::size_t poll(MonotonicNs now) override;
  bool has_news() const override;
  bool in_flight() const override { return !engine_.idle(); }
  MonotonicNs next_timer_ns() const override { return engine_.next_timer_ns(); }

 private:
  struct Child;

  // node_start.cc
  Status spawn_children();
  Status make_child(std::size_t index);
  Status spawn_child(Child& child);
  Status push_images(Child& child);
  Result<std::vector<std::string>> chip_start(const ChipSpec& chip) const;
  Status await_ready(const std::function<void(std::string_view)>& progress,
                     const std::function<void()>& check_wait);
  bool all_ready(Status& failure, std::string& waiting_for) const;
  void open_registrar();
  void end_runs(const Status& why);
  void end_children(const Status& why);
  bool all_gone() const;
  // node_remote.cc
  Status make_remote_child(std::size_t index);
  Status open_sessions();
  std::optional<ChildIndex> least_loaded(FunctionRef<bool(ChildIndex)> eligible);
  SessionManifest manifest_of(const Child& child) const;
  RemoteEndpoint* peer_with(Uid pool) const;
  std::uint64_t begin_allocation();
  void end_allocation(std::uint64_t token);
  // node_info.cc
  NodeInfo child_info(const Child& child) const;
  void collect_stats(std::vector<NodeInfo>& children, std::chrono::nanoseconds budget);

  // EngineListener
  void on_run_end(RunId run, std::uint64_t token, const Status& status) override;
  void on_release(std::uint64_t pin) override;
  void on_callable_release(CallableSlot slot) override { late_.release(slot); }
  // SpawnerEvents
  void on_spawned(ChildIndex child, pid_t pid) override;
  void on_exited(ChildIndex child, const ExitReport& report) override;
  void on_output(ChildIndex child, OutputStream stream, std::string_view text) override;
  void on_spawn_failed(ChildIndex child, const Status& why) override;
  void on_lost(const Status& why) override;
  // KeeperDuties
  void arm(std::vector<FutexWaiter>& words) override;
  MonotonicNs attend(MonotonicNs now) override;

  void send_releases();
  std::size_t poll_spawner();

  NodeOptions options_;
  mutable SystemEnv env_;
  NodeMemory memory_;
  LateTable late_;
  Engine engine_;
  Segment doorbell_segment_;
  Doorbell doorbell_;
  std::unique_ptr<Driver> driver_;
  std::unique_ptr<Keeper> keeper_;
  std::unique_ptr<Spawner> spawner_;
  std::vector<std::unique_ptr<Child>> children_;
  Registrar registrar_;
  std::vector<LocalEndpoint*> dead_;  // attend()'s, kept for its memory
  std::mutex spawner_mutex_;          // Spawner::poll, relay_, printed_
  OutputRelay relay_;
  bool printed_ = true;
  KeeperDuties* more_duties_ = nullptr;
  std::function<void(const Status&)> lost_hook_;
  std::atomic<bool> closing_{false};
  MonotonicNs started_ns_ = 0;
  const TaskServerCounters* own_counters_ = nullptr;
  std::vector<RunState*> runs_;  // guarded by drive
  mutable std::mutex lost_mutex_;
  Status lost_;

  std::mutex contexts_mutex_;
  std::vector<std::shared_ptr<RunContext>> contexts_;  // free ones

  struct Release {
    ChildIndex child;
    BufferId id;
  };
  std::mutex releases_mutex_;
  std::vector<Release> releases_;
  std::atomic<bool> releases_pending_{false};

  StagingCache staging_;
  bool has_remotes_ = false;
  MonotonicNs start_until_ns_ = 0;
  std::uint32_t local_turn_ = 0;  // guarded by drive
  std::mutex allocations_mutex_;
  std::uint64_t allocation_token_ = 0;
  std::map<std::uint64_t, std::optional<Result<TensorDesc>>> allocations_;  // by token

  std::mutex stats_mutex_;  // one info() at a time
  std::uint64_t stats_token_ = 0;
};

}  // namespace echelon::detail
