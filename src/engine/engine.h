// SPDX-License-Identifier: Apache-2.0
//
// Engine: the task graph of one Worker, as a deterministic state machine
// (docs/design/0004-engine.md).
//
// Inputs come in the order in which the driver applies them: submit, what endpoints report, cancel,
// tick. Outputs are calls of Endpoint and EngineListener. It never blocks, reads a clock, iterates
// by hash or address, nor allocates in the steady state: tables grow to their limits and are
// reused.
//
// Threads: none of its own; the caller holds the Worker's drive lock.
//
// Task states. One function (Engine::move) makes every transition and checks this table:
//
//   Building   -> Waiting | Ready | Skipped | Cancelled      (leaves it at one point: submit's end)
//   Waiting    -> Ready | Skipped | Cancelled | Failed
//   Ready      -> Dispatched | Skipped | Cancelled | Failed
//   Dispatched -> Running | Done | Failed | Cancelled | Ready  (Ready: recalled, or queued at a
//   child that died) Running    -> Done | Failed | Cancelled Done, Failed, Skipped, Cancelled: ends
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"
#include "shm/tensor_desc.h"

namespace echelon {

enum class TaskState : std::uint8_t {
  kBuilding,
  kWaiting,
  kReady,
  kDispatched,
  kRunning,
  kDone,
  kFailed,
  kSkipped,
  kCancelled,
};
std::string_view to_string(TaskState state);

struct EngineLimits {
  std::uint32_t tasks_max = 1u << 16;  // live (not ended, or retained) tasks
  std::uint32_t runs_max = 1024;
  std::uint32_t scopes_max = 4096;
  std::uint32_t accesses_per_task_max = 64;
  std::uint64_t body_bytes_max = 64u << 20;    // bytes of all live task bodies
  std::uint64_t result_bytes_max = 64u << 20;  // bytes of all retained results
  std::uint32_t accesses_max = 1u << 18;       // records of live tasks' tensors
  std::uint32_t edges_max = 1u << 20;          // dependencies between live tasks
  std::uint32_t errors_per_run_max = 32;       // kept of a run beside its first; more are counted
  /// From a deadline to the end of a task that does not stop: of a sub or a chip, and of a Worker,
  /// which has the deadline itself.
  std::uint64_t leaf_grace_ns = 5'000'000;
  std::uint64_t worker_grace_ns = 20'000'000;
  std::uint64_t kill_grace_ns = 0;  // from there to the end of its process
};

/// One tensor of a task, for ordering and for keeping its memory.
struct TaskAccess {
  TensorDesc desc;
  Tag tag = Tag::kInput;
  /// Opaque; given back by EngineListener::on_release when the engine needs the buffer no more. 0:
  /// none.
  std::uint64_t pin = 0;
  /// The one child that reaches this tensor (a chip's memory); nullopt: all of them do.
  std::optional<ChildIndex> only_at;
};

struct TaskSpec {
  RunId run;
  std::uint32_t scope = 0;  // from open_scope(); 0: the run itself
  TaskKind kind = TaskKind::kSub;
  CallableSlot slot;
  std::string_view
      callable;  // name for errors; must outlive the engine, or its on_callable_release
  std::optional<ChildIndex> worker;  // explicit placement
  std::span<const TaskAccess> accesses;
  std::span<const TaskId> after;    // explicit edges; ended tasks are allowed
  std::span<const std::byte> body;  // copied
  MonotonicNs deadline_ns = 0;      // absolute; the run's is inherited where sooner
};

/// The engine's two upward calls, made while the drive lock is held: keep them short.
class EngineListener {
 public:
  /// The run has ended: every task of it has. `status` is its first error, the rest in `others`
  /// (after the last of them, one entry each that counts what was left out and what was skipped).
  /// The last thing an input does: may call release_run of this run, nothing else of the engine.
  virtual void on_run_end(RunId run, std::uint64_t token, const Status& status) = 0;
  /// The task that gave `pin` has ended, as have those before it, and nothing that ran it can touch
  /// the buffer any more: for a task of a child that died, it is gone. May come after its run's
  /// end. Must not call the engine.
  virtual void on_release(std::uint64_t pin) = 0;
  /// The same, said of the callable of a task with a late slot (base/ids.h): nothing runs it for
  /// that task any more. Must not call the engine.
  virtual void on_callable_release(CallableSlot slot) { static_cast<void>(slot); }

 protected:
  ~EngineListener() = default;
};

struct ChildTraits {
  std::string name;  // last part of its path: "sub0"
  ChildKind kind = ChildKind::kSub;
  std::uint32_t window = 16;  // most unfinished dispatches
};

struct RunSpec {
  MonotonicNs deadline_ns = 0;  // absolute, 0 none
  std::uint64_t token = 0;      // handed to on_run_end
};

/// What is known of a task by its id.
struct TaskView {
  TaskState state = TaskState::kDone;
  Status status;                      // of Failed, Skipped, Cancelled
  std::span<const std::byte> result;  // of Done; valid until the run is released
};

struct EngineCounters {
  std::uint64_t submitted = 0, done = 0, failed = 0, skipped = 0, cancelled = 0, recalled = 0,
                edges = 0, runs = 0;
  std::uint32_t tasks_live = 0, runs_live = 0;
};

class Engine final : public EndpointEvents {
 public:
  Engine(std::string path, EngineLimits limits, EngineListener& listener);
  ~Engine();

  // --- children ---------------------------------------------------------------------------------
  /// `endpoint` must outlive the engine. Children keep their index for ever.
  ChildIndex add_child(ChildTraits traits, Endpoint& endpoint);

  // --- inputs. `now` never decreases. -----------------------------------------------------------
  /// Errors: kExhausted (too many runs).
  Result<RunId> begin_run(const RunSpec& spec, MonotonicNs now);

  /// Errors: kExhausted (see can_wait_for_room()), kNoEligibleChild, kWrongState (the run has been
  /// sealed or ended), kDeadline, kCancelled (the run is cancelled). Nothing is kept on error, and
  /// pins are the caller's again.
  Result<TaskId> submit(const TaskSpec& spec, MonotonicNs now);

  /// Gang: one task for each spec, each on a child of its own, launched together or not at all.
  /// All specs are of one run. Errors as submit; kNoEligibleChild where the group is larger than
  /// the eligible live children. Ids are written to `ids` (same size as specs).
  Status submit_group(std::span<const TaskSpec> specs, std::span<TaskId> ids, MonotonicNs now);

  /// After kExhausted: true while something in flight can free what was lacking.
  bool can_wait_for_room() const;

  /// No more submits: the run ends as soon as its tasks have. `status`: the orchestration
  /// function's own error, if it failed, as the run's first error.
  void seal_run(RunId run, Status status, MonotonicNs now);

  /// Cancels what has not ended: queued tasks at once, running ones are asked.
  void cancel_run(RunId run, const Status& why, MonotonicNs now);

  /// Forgets an ended run: its retained tasks and results. REQUIRES: on_run_end was called.
  void release_run(RunId run);

  Result<std::uint32_t> open_scope(RunId run, std::uint32_t parent, std::string_view name);
  /// Forgets the scope when its last task has ended.
  void close_scope(std::uint32_t scope);
  /// Tasks of this scope (and scopes below it) not yet ended.
  std::uint32_t scope_live(std::uint32_t scope) const;

  /// Deadlines, and kills that became due. Call when now >= next_timer_ns().
  void tick(MonotonicNs now);
  /// 0: none.
  MonotonicNs next_timer_ns() const;

  /// Polls every endpoint once and dispatches what became ready. Returns the number of events.
  std::size_t poll(MonotonicNs now);

  // --- EndpointEvents, called back from Endpoint::poll ------------------------------------------
  void on_completion(ChildIndex child, const Completion& completion) override;
  void on_down(ChildIndex child, const Status& why) override;
  void on_gone(ChildIndex child) override;

  // --- questions --------------------------------------------------------------------------------
  /// A task that ended well without a result is forgotten at once and answers kDone.
  TaskView task(TaskId id) const;
  /// Where it is or has run; nullopt: nowhere yet, or it is forgotten.
  std::optional<ChildIndex> child_of(TaskId task) const;
  /// "'scale', running at host0/sub1", for people; empty for one that is forgotten.
  std::string describe(TaskId id) const;
  bool run_ended(RunId run) const;
  /// Whether the run takes tasks. Errors: kCancelled, kDeadline, kWrongState.
  Status check_run(RunId run) const;
  bool idle() const;                 // nothing in flight at any child
  std::size_t memory_bytes() const;  // of all tables, as they have grown
  EngineCounters counters() const;
  bool child_live(ChildIndex child) const;
  std::size_t child_count() const;
  std::uint32_t in_flight(ChildIndex child) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace echelon
