// SPDX-License-Identifier: Apache-2.0
//
// The way out: ends, what follows from them, and the close of every input.
#include <utility>

#include "base/check.h"
#include "engine/engine_state.h"

namespace echelon {

// --- one task -----------------------------------------------------------------------------------
void Engine::State::end_task(std::uint32_t index, TaskState end, SharedError error) {
  Task& task = tasks[index];
  if (has_ended(task.state)) return;
  if (task.group != kNoIndex)
    groups.leave(task.group);
  else if (task.state == TaskState::kReady)
    scheduler.dequeue(index);
  timers.cancel({index, false});
  tasks.move(task, end);
  Run& run = runs[task.run];
  switch (end) {
    case TaskState::kDone:
      ++counters.done;
      break;
    case TaskState::kSkipped:
      ++counters.skipped;
      ++run.skipped;
      break;
    case TaskState::kCancelled:
      ++counters.cancelled;
      break;
    default:
      ++counters.failed;
      // Of what only waited when the run's time was up, the run's own error tells the number.
      if (run.expired && error->phase == Phase::kQueued)
        ++run.errors_left_out;
      else
        runs.record_error(run, error);
  }
  if (error != nullptr) tasks.set_error(task, std::move(error));
  tasks.free_body(task);
  --unended;
  ++unreleased;
  if (task.scope != kNoIndex) run.scopes -= scopes.count(task.scope, -1);
  if (--run.live == 0 && run.sealed) run_ends.push_back(task.run);
  ended.push_back(index);
}

void Engine::State::make_ready(std::uint32_t index) {
  Task& task = tasks[index];
  tasks.move(task, TaskState::kReady);
  if (task.group != kNoIndex) {
    if (groups.member_ready(task.group) && !groups.feasible(groups[task.group]))
      end_task(index, TaskState::kFailed, unplaceable_error(task));
    return;
  }
  task.ready_number = scheduler.next_ready_number();
  scheduler.enqueue(index);
  if (!placeable(task)) end_task(index, TaskState::kFailed, unplaceable_error(task));
}

// --- what follows -------------------------------------------------------------------------------
void Engine::State::settle() {
  while (ended_done < ended.size()) follow(ended[ended_done++]);
  ended.clear();
  ended_done = 0;
}

void Engine::State::follow(std::uint32_t index) {
  Task& task = tasks[index];
  if (!task.has(kPropagated)) {
    task.flags |= kPropagated;
    if (task.state != TaskState::kDone) propagate(index);
  }
  if (task.pending == 0 && !task.has(kReleased)) release(index);
}

/// Those that need its data, and those of its group, will not start either.
void Engine::State::propagate(std::uint32_t index) {
  const Task& task = tasks[index];
  const SharedError error = tasks.error(task);
  tasks.for_each_edge(task, [&](std::uint32_t successor, bool data) {
    if (data) end_task(successor, TaskState::kSkipped, error);
  });
  if (task.group == kNoIndex || groups[task.group].launched) return;
  Group& group = groups[task.group];
  if (std::exchange(group.dissolved, true)) return;
  for (const std::uint32_t member : group.members) end_task(member, TaskState::kSkipped, error);
}

/// ENG-3: everything before it has ended, and nothing writes any more.
void Engine::State::release(std::uint32_t index) {
  Task& task = tasks[index];
  task.flags |= kReleased;
  --unreleased;
  tasks.for_each_edge(task, [&](std::uint32_t successor, bool) { drop_pending(successor); });
  tasks.free_edges(task);
  const bool orphan = task.run == kNoIndex;
  const bool spoils = !orphan && task.state != TaskState::kDone && !runs[task.run].ended;
  drop_accesses(task, spoils);
  if (const CallableSlot slot{task.slot}; is_late(slot)) {
    // Whoever unregisters it may free the name, too.
    task.callable_bytes = 0;
    listener.on_callable_release(slot);
  }
  const bool retained = task.state != TaskState::kDone || task.detail != kNoIndex;
  if (orphan || !retained) forget_task(index);
}

void Engine::State::drop_pending(std::uint32_t index) {
  Task& task = tasks[index];
  ECHELON_CHECK(task.pending != 0);
  if (--task.pending != 0) return;
  if (task.state == TaskState::kWaiting)
    make_ready(index);
  else if (task.has(kPropagated))
    ended.push_back(index);
}

/// Gives the pins back; what a failed writer spoils stays known where `keep_writers` says so.
void Engine::State::drop_accesses(Task& task, bool keep_writers) {
  std::uint32_t* link = &task.first_access;
  while (*link != kNoIndex) {
    const std::uint32_t a = *link;
    AccessRecord& record = accesses[a];
    if (record.pin != 0) listener.on_release(std::exchange(record.pin, 0));
    if (keep_writers && writes(record.tag) && record.entry != kNoIndex) {
      link = &record.next_of_task;
      continue;
    }
    *link = record.next_of_task;
    accesses.free(a);
  }
}

void Engine::State::forget_task(std::uint32_t index) {
  Task& task = tasks[index];
  if (task.run != kNoIndex) {
    Run& run = runs[task.run];
    (task.run_prev == kNoIndex ? run.first_task : tasks[task.run_prev].run_next) = task.run_next;
    (task.run_next == kNoIndex ? run.last_task : tasks[task.run_next].run_prev) = task.run_prev;
  }
  if (task.group != kNoIndex) groups.drop_member(task.group);
  tasks.free(index);
}

// --- runs ---------------------------------------------------------------------------------------
void Engine::State::end_run(std::uint32_t index) {
  Run& run = runs[index];
  run.ended = true;
  timers.cancel({index, true});
  for (std::uint32_t i = run.first_task; i != kNoIndex; i = tasks[i].run_next)
    if (tasks[i].has(kReleased)) drop_accesses(tasks[i], false);
  listener.on_run_end(runs.id(index), run.token, RunTable::status(run));
}

void Engine::release_run(RunId id) {
  State& s = *state_;
  const std::uint32_t index = s.runs.find(id);
  if (index == kNoIndex) return;
  Run& run = s.runs[index];
  ECHELON_CHECK(run.ended);
  for (std::uint32_t i = run.first_task; i != kNoIndex;) {
    Task& task = s.tasks[i];
    const std::uint32_t next = task.run_next;
    if (task.has(kReleased))
      s.forget_task(i);
    else
      task.run = kNoIndex;  // forgotten when it lets its successors go
    i = next;
  }
  if (run.scopes != 0) s.scopes.forget_run(index);
  s.runs.free(index);
}

// --- the close of an input ----------------------------------------------------------------------
void Engine::State::break_group(const GroupQueue::Broken& broken) {
  const auto members = groups[broken.group].members;  // ends may let the group go
  for (const std::uint32_t member : members) {
    const Task& task = tasks[member];
    if (task.state == TaskState::kReady)
      end_task(member, TaskState::kFailed, unplaceable_error(task));
    else if (task.has(kInFlight))
      scheduler[task.child].endpoint->request_cancel(tasks.id(member));
  }
  settle();
}

void Engine::State::pump() {
  scheduler.pump(now);
  while (groups.head() != kNoIndex) {
    const GroupQueue::Broken broken = groups.pump(now);
    if (broken.group != kNoIndex) break_group(broken);
    scheduler.pump(now);
    if (broken.group == kNoIndex) break;
  }
}

void Engine::State::close_input() {
  settle();
  pump();
  // A listener may release the run that it is told of, nothing else: no run is added meanwhile.
  for (std::size_t i = 0; i < run_ends.size(); ++i) end_run(run_ends[i]);
  run_ends.clear();
}

}  // namespace echelon
