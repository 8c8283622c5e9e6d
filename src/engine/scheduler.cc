// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <utility>

#include "base/check.h"

namespace echelon {

namespace {

/// How many of a sibling's tasks are looked at, newest first, for one to take.
constexpr int kStealLooks = 4;

constexpr std::size_t at(TaskKind kind) {
  return static_cast<std::size_t>(kind);
}

}  // namespace

// --- children -----------------------------------------------------------------------------------
std::uint32_t Scheduler::add_child(ChildTraits traits, Endpoint& endpoint, std::string path) {
  const std::uint32_t index = count();
  Child& child = children_.emplace_back();
  child.traits = std::move(traits);
  child.endpoint = &endpoint;
  child.path = std::move(path);
  by_kind_[static_cast<std::size_t>(child.traits.kind)].push_back(index);
  all_.push_back(index);
  ++live_[static_cast<std::size_t>(child.traits.kind)];
  full_ = {};
  return index;
}

const std::vector<std::uint32_t>& Scheduler::candidates(TaskKind kind) const {
  switch (kind) {
    case TaskKind::kSub:
      return by_kind_[static_cast<std::size_t>(ChildKind::kSub)];
    case TaskKind::kOrch:
      return by_kind_[static_cast<std::size_t>(ChildKind::kWorker)];
    case TaskKind::kChip:
      return by_kind_[static_cast<std::size_t>(ChildKind::kChip)];
    case TaskKind::kCopy:
      return all_;
  }
  return all_;
}

std::uint32_t Scheduler::live_count(TaskKind kind) const {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < kChildKindCount; ++i)
    if (can_run(static_cast<ChildKind>(i), kind)) sum += live_[i];
  return sum;
}

void Scheduler::retire(std::uint32_t index, Health health, const Status& why) {
  Child& child = children_[index];
  if (child.health == Health::kLive) --live_[static_cast<std::size_t>(child.traits.kind)];
  child.health = health;
  child.why = why;
}

void Scheduler::unblock(std::uint32_t child) {
  children_[child].blocked = false;
  full_ = {};
}

void Scheduler::lift_reservation(std::uint32_t child) {
  children_[child].reserved_from = std::numeric_limits<std::uint64_t>::max();
  full_ = {};
}

// --- queues -------------------------------------------------------------------------------------
void Scheduler::enqueue(std::uint32_t index) {
  Task& task = tasks_[index];
  if (task.has(kFixed)) {
    Child& child = children_[task.child];
    child.own.push_back(tasks_, index);
    ++child.own_count;
    ++own_ready_;
  } else {
    shared_[at(task.kind)].push_back(tasks_, index);
  }
}

void Scheduler::dequeue(std::uint32_t index) {
  Task& task = tasks_[index];
  if (task.has(kFixed)) {
    Child& child = children_[task.child];
    child.own.remove(tasks_, index);
    --child.own_count;
    --own_ready_;
  } else {
    shared_[at(task.kind)].remove(tasks_, index);
  }
}

// --- dispatch -----------------------------------------------------------------------------------
bool Scheduler::send(std::uint32_t index, std::uint32_t child_index, MonotonicNs now) {
  Task& task = tasks_[index];
  Child& child = children_[child_index];
  const Dispatch dispatch{tasks_.id(index),
                          task.kind,
                          CallableSlot{task.slot},
                          task.deadline_ns,
                          {task.body, task.body_bytes}};
  if (child.endpoint->try_dispatch(dispatch) != DispatchResult::kSent) {
    child.blocked = true;
    return false;
  }
  tasks_.move(task, TaskState::kDispatched);
  task.child = child_index;
  task.since_ns = now;
  task.flags |= kInFlight;
  child.at_child.push_back(tasks_, index);
  ++child.in_flight;
  ++in_flight_;
  return true;
}

void Scheduler::remove_in_flight(std::uint32_t index) {
  Task& task = tasks_[index];
  Child& child = children_[task.child];
  child.at_child.remove(tasks_, index);
  task.flags &= static_cast<std::uint16_t>(~kInFlight);
  --child.in_flight;
  --in_flight_;
}

void Scheduler::forget_in_flight(std::uint32_t child) {
  in_flight_ -= children_[child].in_flight;
  children_[child].in_flight = 0;
}

void Scheduler::remove_held(std::uint32_t index) {
  Task& task = tasks_[index];
  children_[task.child].at_child.remove(tasks_, index);
  task.flags &= static_cast<std::uint16_t>(~kInFlight);
}

std::uint32_t Scheduler::pick(TaskKind kind, std::uint64_t ready_number) {
  const auto& list = candidates(kind);
  const auto size = static_cast<std::uint32_t>(list.size());
  std::uint32_t best = kNoIndex;
  std::uint32_t best_place = 0;
  std::uint32_t best_load = 0;
  std::uint32_t place = turn_[at(kind)];
  for (std::uint32_t n = 0; n < size; ++n, ++place) {
    if (place >= size) place = 0;
    const Child& child = children_[list[place]];
    if (!usable(child, ready_number) || older_own(child, ready_number)) continue;
    const std::uint32_t load = child.in_flight + child.own_count;
    if (best != kNoIndex && load >= best_load) continue;
    best = list[place];
    best_place = place;
    best_load = load;
    if (load == 0) break;
  }
  if (best != kNoIndex) turn_[at(kind)] = best_place + 1;
  return best;
}

std::uint32_t Scheduler::pick_for_group(TaskKind kind) const {
  std::uint32_t best = kNoIndex;
  for (const std::uint32_t index : candidates(kind)) {
    const Child& child = children_[index];
    if (child.health != Health::kLive || child.reserved()) continue;
    if (best == kNoIndex || child.in_flight < children_[best].in_flight) best = index;
  }
  return best;
}

bool Scheduler::older_shared(const Child& child, std::uint64_t ready_number) const {
  for (std::size_t kind = 0; kind < kTaskKindCount; ++kind) {
    const std::uint32_t head = shared_[kind].head;
    if (head != kNoIndex && can_run(child.traits.kind, static_cast<TaskKind>(kind)) &&
        tasks_[head].ready_number < ready_number)
      return true;
  }
  return false;
}

bool Scheduler::older_own(const Child& child, std::uint64_t ready_number) const {
  return !child.own.empty() && tasks_[child.own.head].ready_number < ready_number;
}

bool Scheduler::pump_own(MonotonicNs now) {
  bool sent = false;
  for (std::uint32_t index = 0; index < count(); ++index) {
    Child& child = children_[index];
    while (!child.own.empty()) {
      const std::uint32_t head = child.own.head;
      const std::uint64_t number = tasks_[head].ready_number;
      if (!usable(child, number) || older_shared(child, number)) break;
      dequeue(head);
      if (!send(head, index, now)) {
        child.own.push_front(tasks_, head);
        ++child.own_count;
        ++own_ready_;
        break;
      }
      sent = true;
    }
  }
  if (sent) full_ = {};  // a child may have waited for its own, older task to go first
  return sent;
}

bool Scheduler::pump_shared(MonotonicNs now) {
  bool sent = false;
  for (std::size_t kind = 0; kind < kTaskKindCount; ++kind) {
    TaskList& queue = shared_[kind];
    while (!queue.empty() && !full_[kind]) {
      const std::uint32_t head = queue.head;
      const std::uint32_t child = pick(static_cast<TaskKind>(kind), tasks_[head].ready_number);
      if (child == kNoIndex) {
        full_[kind] = true;
        break;
      }
      queue.remove(tasks_, head);
      if (send(head, child, now))
        sent = true;
      else
        queue.push_front(tasks_, head);
    }
  }
  return sent;
}

void Scheduler::pump(MonotonicNs now) {
  for (;;) {
    const bool shared = pump_shared(now);
    if (own_ready_ == 0) return;
    // Once more where one kind of queue made way for the other.
    const bool own = pump_own(now);
    if (!shared && !own) return;
  }
}

// --- stealing -----------------------------------------------------------------------------------
std::uint32_t Scheduler::busiest(std::size_t kind) const {
  std::uint32_t best = kNoIndex;
  for (const std::uint32_t index : by_kind_[kind]) {
    const Child& child = children_[index];
    if (child.health != Health::kLive || child.in_flight < 2) continue;
    if (best == kNoIndex || child.in_flight > children_[best].in_flight) best = index;
  }
  return best;
}

bool Scheduler::steal_from(std::uint32_t victim, std::uint32_t thief, MonotonicNs now) {
  Child& from = children_[victim];
  std::uint32_t index = from.at_child.tail;
  for (int looks = 0; looks < kStealLooks && index != from.at_child.head; ++looks) {
    Task& task = tasks_[index];
    const bool movable = task.state == TaskState::kDispatched && !task.has(kFixed) &&
                         task.group == kNoIndex &&
                         can_run(children_[thief].traits.kind, task.kind) &&
                         task.ready_number < children_[thief].reserved_from;
    const TaskId id = tasks_.id(index);
    if (movable && from.endpoint->progress(id) == Progress::kQueued &&
        from.endpoint->try_recall(id)) {
      remove_in_flight(index);
      tasks_.move(task, TaskState::kReady);
      unblock(victim);
      if (!send(index, thief, now)) shared_[at(task.kind)].push_front(tasks_, index);
      return true;
    }
    index = task.prev;
  }
  return false;
}

std::uint32_t Scheduler::steal(MonotonicNs now) {
  if (in_flight_ < 2) return 0;
  std::uint32_t moved = 0;
  for (std::size_t kind = 0; kind < kChildKindCount; ++kind) {
    if (by_kind_[kind].size() < 2) continue;
    std::uint32_t victim = busiest(kind);
    for (const std::uint32_t thief : by_kind_[kind]) {
      if (victim == kNoIndex) break;
      const Child& child = children_[thief];
      if (child.in_flight != 0 || child.own_count != 0 || !usable(child, 0)) continue;
      if (!steal_from(victim, thief, now)) break;
      ++moved;
      victim = busiest(kind);
    }
  }
  return moved;
}

}  // namespace echelon
