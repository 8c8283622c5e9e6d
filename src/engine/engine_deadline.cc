// SPDX-License-Identifier: Apache-2.0
//
// Ends that come from above: deadlines and cancellation.
#include <algorithm>

#include <fmt/format.h>

#include "engine/engine_state.h"

namespace echelon {

std::uint64_t Engine::State::time_in_phase(const Task& task) const {
  const MonotonicNs began = phase_began_ns(task, scheduler);
  return now > began ? now - began : 0;
}

bool Engine::State::recall(std::uint32_t index) {
  Task& task = tasks[index];
  if (task.state != TaskState::kDispatched) return false;
  if (!scheduler[task.child].endpoint->try_recall(tasks.id(index))) {
    tasks.move(task, TaskState::kRunning);
    return false;
  }
  const std::uint32_t child = task.child;
  scheduler.remove_in_flight(index);
  scheduler.unblock(child);
  ++counters.recalled;
  return true;
}

void Engine::State::terminate(std::uint32_t index, const Status& why) {
  if (scheduler[index].health != Health::kLive) return;
  scheduler.retire(index, Health::kEnding, why);
  groups.forget_child(index);
  scheduler[index].endpoint->terminate(why);
}

// --- deadlines ----------------------------------------------------------------------------------
void Engine::State::expire_run(std::uint32_t index) {
  Run& run = runs[index];
  run.expired = true;
  runs.record_error(run, run_deadline_error(run, tasks, scheduler, path, now));
  for (std::uint32_t i = run.first_task; i != kNoIndex; i = tasks[i].run_next) expire_task(i);
}

void Engine::State::expire_task(std::uint32_t index) {
  Task& task = tasks[index];
  if (has_ended(task.state) || task.has(kExpired)) return;
  const std::uint64_t waited = now > task.since_ns ? now - task.since_ns : 0;
  if (!task.has(kInFlight) || recall(index)) {
    end_task(index, TaskState::kFailed, deadline_error(task, Phase::kQueued, waited, path));
    return;
  }
  task.flags |= kExpired;
  const Child& child = scheduler[task.child];
  if (child.traits.kind == ChildKind::kWorker) {
    child.endpoint->request_stack();  // no cancel: it has the deadline itself
    timers.set({index, false}, now + limits.worker_grace_ns);
  } else {
    child.endpoint->request_cancel(tasks.id(index));
    timers.set({index, false}, now + limits.leaf_grace_ns);
  }
}

/// Of a task that runs, or ran on, beyond its deadline.
SharedError Engine::State::late_error(const Task& task) const {
  const Child& child = scheduler[task.child];
  ErrorInfo info = *deadline_error(task, Phase::kRunning, time_in_phase(task), child.path);
  child.endpoint->add_whereabouts(info);
  return std::make_shared<const ErrorInfo>(std::move(info));
}

/// It was asked, and is still at it. Whoever waits for it need not; its process has a little
/// longer, as it may only be slow.
void Engine::State::give_up_on(std::uint32_t index) {
  Task& task = tasks[index];
  if (has_ended(task.state)) return kill_overdue(index);
  task.flags |= kHeld;
  ++task.pending;  // until it stops or the child is gone: it may write as long as it lives (ENG-3)
  end_task(index, TaskState::kFailed, late_error(task));
  if (limits.kill_grace_ns == 0)
    kill_overdue(index);
  else
    timers.set({index, false}, now + limits.kill_grace_ns);
}

void Engine::State::kill_overdue(std::uint32_t index) {
  const Task& task = tasks[index];
  const std::uint32_t child = task.child;
  ErrorInfo why;
  why.code = Code::kDeadlineExceeded;
  why.reason = Reason::kDeadline;
  why.cause = Cause::kDeadline;
  why.path = scheduler[child].path;
  why.message = fmt::format("{} was ended, because {} did not stop when its deadline had passed",
                            scheduler[child].path, task_text(task));
  terminate(child, Status(std::move(why)));
}

void Engine::tick(MonotonicNs now) {
  State& s = *state_;
  s.advance(now);
  while (s.timers.next_ns() != 0 && s.timers.next_ns() <= s.now) {
    const TimerHeap::Key key = s.timers.pop();
    if (key.is_run)
      s.expire_run(key.index);
    else if (s.tasks[key.index].has(kExpired))
      s.give_up_on(key.index);
    else
      s.expire_task(key.index);
  }
  s.close_input();
}

MonotonicNs Engine::next_timer_ns() const {
  return state_->timers.next_ns();
}

// --- cancellation -------------------------------------------------------------------------------
void Engine::State::cancel_unbegun(std::uint32_t index, const SharedError& why) {
  const Task& task = tasks[index];
  if (has_ended(task.state) || (task.has(kInFlight) && !recall(index))) return;
  end_task(index, TaskState::kCancelled, why);
}

void Engine::State::cancel_begun(std::uint32_t index) {
  Task& task = tasks[index];
  if (has_ended(task.state)) return;
  task.flags |= kCancelAsked;
  scheduler[task.child].endpoint->request_cancel(tasks.id(index));
}

void Engine::cancel_run(RunId id, const Status& why, MonotonicNs now) {
  State& s = *state_;
  s.advance(now);
  const std::uint32_t index = s.runs.find(id);
  if (index == kNoIndex || s.runs[index].ended || s.runs[index].cancelled) return;
  Run& run = s.runs[index];
  run.cancelled = true;
  ErrorInfo info = why.ok() ? ErrorInfo{} : why.info();
  info.code = Code::kCancelled;
  info.reason = Reason::kCancelled;
  info.cause = Cause::kCancelled;
  if (info.path.empty()) info.path = s.path;
  if (info.message.empty()) info.message = "the run was cancelled";
  const auto error = std::make_shared<const ErrorInfo>(std::move(info));
  s.runs.record_error(run, error);
  // One that begins to end lets its child begin the next: what can be taken back is by then.
  for (std::uint32_t i = run.first_task; i != kNoIndex; i = s.tasks[i].run_next)
    s.cancel_unbegun(i, error);
  for (std::uint32_t i = run.first_task; i != kNoIndex; i = s.tasks[i].run_next) s.cancel_begun(i);
  s.close_input();
}

}  // namespace echelon
