// SPDX-License-Identifier: Apache-2.0
//
// Engine::State: what an input does to the tables. Every input changes states and notes which tasks
// have ended; then close_input() follows their edges until nothing moves, dispatches, and reports
// the runs that ended. Nothing recurses.
//
// What must stay true:
//   ENG-1  A task starts only after every task has ended whose accesses conflict with its own.
//   ENG-2  A task whose data were to come from a task that did not end in Done never starts.
//   ENG-3  Successors are let go only when a task's own predecessors have ended too, however early
//   it
//          ended itself, and when nothing can write any more that ran it.
//   ENG-4  Of a ready group and a ready single that want the same child, the older goes first.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "engine/access_map.h"
#include "engine/engine.h"
#include "engine/engine_errors.h"
#include "engine/group_queue.h"
#include "engine/run_table.h"
#include "engine/scheduler.h"
#include "engine/task_table.h"
#include "engine/timer_heap.h"

namespace echelon {

/// What was lacking when a call answered kExhausted.
enum class Lacking : std::uint8_t { kNothing, kTasks, kScopes, kForEver };

struct Engine::State {
  State(std::string path_in, EngineLimits limits_in, EngineListener& listener_in)
      : path(std::move(path_in)),
        limits(limits_in),
        listener(listener_in),
        tasks(limits_in),
        accesses(limits_in.accesses_max),
        runs(limits_in),
        scopes(limits_in),
        scheduler(tasks),
        groups(tasks, scheduler, limits_in.tasks_max) {}

  // --- engine_submit.cc -------------------------------------------------------------------------
  Status check_run(RunId id, std::uint32_t scope) const;
  Status check_spec(const TaskSpec& spec) const;
  Status check_place(const TaskSpec& spec, std::uint32_t& child) const;
  Status check_room(std::span<const TaskSpec> specs);
  std::uint32_t build(const TaskSpec& spec, std::uint32_t child);
  bool link(std::uint32_t index, const TaskSpec& spec, SharedError& poison);
  bool link_before(std::uint32_t before, std::uint32_t index, bool data, SharedError& poison);
  bool link_after(std::uint32_t index, const TaskSpec& spec, SharedError& poison);
  void count_in(std::uint32_t index, const TaskSpec& spec);
  void enter_accesses(std::uint32_t index, const TaskSpec& spec, const AccessMap::Place* place);
  void abandon_places();
  void publish(std::uint32_t index, const SharedError& poison);
  void abandon(std::uint32_t index);
  Status out_of_edges();
  Status check_group(std::span<const TaskSpec> specs);

  // --- engine_end.cc ----------------------------------------------------------------------------
  /// The one way to an end. `error`: null for Done; of Skipped, the failure that it depends on.
  void end_task(std::uint32_t index, TaskState end, SharedError error);
  void make_ready(std::uint32_t index);
  void settle();
  void follow(std::uint32_t index);
  void propagate(std::uint32_t index);
  void release(std::uint32_t index);
  void drop_pending(std::uint32_t index);
  void drop_accesses(Task& task, bool keep_writers);
  void forget_task(std::uint32_t index);
  void end_run(std::uint32_t index);
  void close_input();
  void pump();
  void break_group(const GroupQueue::Broken& broken);

  // --- engine_deadline.cc -----------------------------------------------------------------------
  void expire_run(std::uint32_t index);
  void expire_task(std::uint32_t index);
  void give_up_on(std::uint32_t index);
  SharedError late_error(const Task& task) const;
  void kill_overdue(std::uint32_t index);
  void cancel_unbegun(std::uint32_t index, const SharedError& why);
  void cancel_begun(std::uint32_t index);
  /// Takes a dispatched task back; false: it is taken, and Running from now on.
  bool recall(std::uint32_t index);
  void terminate(std::uint32_t child, const Status& why);
  std::uint64_t time_in_phase(const Task& task) const;

  // --- engine_children.cc -----------------------------------------------------------------------
  void complete(std::uint32_t index, const Completion& completion);
  void complete_failed(std::uint32_t index, const Completion& completion);
  void child_down(std::uint32_t child, const Status& why);
  void child_gone(std::uint32_t child);
  void lose_task(std::uint32_t index);
  void put_back(std::uint32_t index);
  void fail_unplaceable(std::uint32_t child);
  bool placeable(const Task& task) const;
  SharedError unplaceable_error(const Task& task) const;

  void advance(MonotonicNs to) { now = to > now ? to : now; }

  const std::string path;
  const EngineLimits limits;
  EngineListener& listener;
  MonotonicNs now = 0;
  TaskTable tasks;
  AccessMap accesses;
  RunTable runs;
  ScopeTable scopes;
  Scheduler scheduler;
  GroupQueue groups;
  TimerHeap timers;
  EngineCounters counters;
  Lacking lacking = Lacking::kNothing;
  std::uint32_t unended = 0;             // tasks not ended
  std::uint32_t unreleased = 0;          // tasks ended that have not let their successors go
  std::vector<std::uint32_t> ended;      // tasks to follow, oldest first
  std::size_t ended_done = 0;            // of these, followed already
  std::vector<std::uint32_t> run_ends;   // runs to report
  std::vector<std::uint32_t> linked;     // scratch of submit_group
  std::vector<AccessMap::Place> places;  // scratch of submits: where link() found each tensor
  std::size_t events = 0;                // of the poll that goes on
};

}  // namespace echelon
