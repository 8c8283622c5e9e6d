// SPDX-License-Identifier: Apache-2.0
//
// What endpoints report: completions, and the two steps of a death.
#include <fmt/format.h>

#include "engine/engine_state.h"

namespace echelon {

// --- completions --------------------------------------------------------------------------------
void Engine::on_completion(ChildIndex child_index, const Completion& completion) {
  State& s = *state_;
  ++s.events;
  Child& child = s.scheduler[child_index.value];
  const std::uint32_t index = s.tasks.find(completion.task);
  if (index == kNoIndex || !s.tasks[index].has(kInFlight) ||
      s.tasks[index].child != child_index.value || child.health >= Health::kDown) {
    child.misbehaved = true;
    return;
  }
  s.accesses.prefetch(s.tasks[index].first_access);  // looked at when all have been reported
  s.complete(index, completion);
}

void Engine::State::complete(std::uint32_t index, const Completion& completion) {
  Task& task = tasks[index];
  const std::uint32_t child_index = task.child;
  const bool failed = !completion.status.ok();
  if (failed && !has_ended(task.state)) complete_failed(index, completion);
  scheduler.remove_in_flight(index);
  scheduler.unblock(child_index);
  scheduler[child_index].last_completion_ns = now;
  if (task.has(kHeld)) {
    // Its deadline ended it already; now it has stopped by itself.
    timers.cancel({index, false});
    task.flags &= static_cast<std::uint16_t>(~kHeld);
    drop_pending(index);
  } else if (!failed && !completion.result.empty() && !tasks.set_result(task, completion.result)) {
    const Status full = Status::error(
        Code::kResourceExhausted, Reason::kExhausted,
        fmt::format("{} bytes returned by {} do not fit: the results kept are limited to {} bytes",
                    completion.result.size(), task_text(task), limits.result_bytes_max));
    end_task(index, TaskState::kFailed,
             completed_error(full, task, scheduler[child_index], time_in_phase(task)));
  } else if (!failed) {
    end_task(index, TaskState::kDone, nullptr);
  }
}

/// While it is still in flight: the time in its phase counts from its start.
void Engine::State::complete_failed(std::uint32_t index, const Completion& completion) {
  Task& task = tasks[index];
  const Child& child = scheduler[task.child];
  SharedError error = completed_error(completion.status, task, child, time_in_phase(task));
  // What a stopped callable says is of no interest; what a Worker says of its own tree is.
  if (task.has(kExpired) && error->reason != Reason::kDeadline) error = late_error(task);
  const bool cancelled = task.has(kCancelAsked) && !task.has(kExpired);
  end_task(index, cancelled ? TaskState::kCancelled : TaskState::kFailed, std::move(error));
}

// --- placement that fails -----------------------------------------------------------------------
bool Engine::State::placeable(const Task& task) const {
  if (task.has(kFixed)) return scheduler[task.child].health <= Health::kEnding;
  if (scheduler.live_count(task.kind) != 0) return true;
  // Those that are being ended are reported down soon, and then this is asked again.
  for (std::uint32_t i = 0; i < scheduler.count(); ++i)
    if (scheduler[i].health == Health::kEnding && can_run(scheduler[i].traits.kind, task.kind))
      return true;
  return false;
}

SharedError Engine::State::unplaceable_error(const Task& task) const {
  return task.has(kFixed) ? fixed_child_error(task, task.child, scheduler, path)
                          : no_child_error(task, scheduler, path);
}

/// After a death: what can run nowhere now.
void Engine::State::fail_unplaceable(std::uint32_t child) {
  const auto fail = [this](std::uint32_t index) {
    end_task(index, TaskState::kFailed, unplaceable_error(tasks[index]));
  };
  while (!scheduler[child].own.empty()) fail(scheduler[child].own.head);
  for (std::size_t kind = 0; kind < kTaskKindCount; ++kind) {
    const TaskList& queue = scheduler.shared(static_cast<TaskKind>(kind));
    while (!queue.empty() && !placeable(tasks[queue.head])) fail(queue.head);
  }
  for (std::uint32_t index = groups.head(); index != kNoIndex;) {
    const Group& group = groups[index];
    const std::uint32_t next = group.next;
    if (!groups.feasible(group)) fail(group.members.front());
    index = next;
  }
}

// --- down ---------------------------------------------------------------------------------------
void Engine::on_down(ChildIndex child, const Status& why) {
  ++state_->events;
  state_->child_down(child.value, why);
}

void Engine::State::child_down(std::uint32_t index, const Status& why) {
  Child& child = scheduler[index];
  if (child.health >= Health::kDown) return;
  scheduler.retire(index, Health::kDown, why);
  groups.forget_child(index);
  for (std::uint32_t i = child.at_child.head; i != kNoIndex;) {
    const Task& task = tasks[i];
    const std::uint32_t next = task.next;
    if (has_ended(task.state)) {
      timers.cancel({i, false});  // its deadline ended it: held until the child is gone
    } else if (task.state == TaskState::kDispatched &&
               child.endpoint->progress(tasks.id(i)) == Progress::kQueued) {
      put_back(i);
    } else {
      lose_task(i);
    }
    i = next;
  }
  scheduler.forget_in_flight(index);
  fail_unplaceable(index);
}

/// It never began: as if it had not been sent.
void Engine::State::put_back(std::uint32_t index) {
  Task& task = tasks[index];
  scheduler.remove_in_flight(index);
  ++counters.recalled;
  if (task.group != kNoIndex) {
    // The others run: it becomes a group of its own, for it still needs an idle child.
    groups.drop_member(task.group);
    groups.add_member(groups.make(), index);
  }
  make_ready(index);
}

void Engine::State::lose_task(std::uint32_t index) {
  Task& task = tasks[index];
  if (task.state == TaskState::kDispatched) tasks.move(task, TaskState::kRunning);
  task.flags |= kHeld;
  ++task.pending;
  const Child& child = scheduler[task.child];
  end_task(index, TaskState::kFailed, child_lost_error(task, child, time_in_phase(task)));
}

// --- gone ---------------------------------------------------------------------------------------
void Engine::on_gone(ChildIndex child) {
  ++state_->events;
  state_->child_gone(child.value);
}

void Engine::State::child_gone(std::uint32_t index) {
  Child& child = scheduler[index];
  if (child.health == Health::kGone) return;
  if (child.health != Health::kDown)
    child_down(index, Status::error(Code::kUnavailable, Reason::kChildDied,
                                    fmt::format("{} has ended", child.path)));
  child.health = Health::kGone;
  while (!child.at_child.empty()) {
    const std::uint32_t held = child.at_child.head;
    scheduler.remove_held(held);
    tasks[held].flags &= static_cast<std::uint16_t>(~kHeld);
    drop_pending(held);
  }
}

}  // namespace echelon
