// SPDX-License-Identifier: Apache-2.0
#include "engine/group_queue.h"

#include <array>
#include <utility>

#include "base/check.h"

namespace echelon {

// --- members ------------------------------------------------------------------------------------
std::uint32_t GroupQueue::make() {
  const std::uint32_t index = groups_.allocate();
  ECHELON_CHECK(index != kNoIndex);
  Group& group = groups_[index];
  auto members = std::move(group.members);  // keep their memory
  auto children = std::move(group.children);
  members.clear();
  children.clear();
  group = Group{};
  group.members = std::move(members);
  group.children = std::move(children);
  return index;
}

void GroupQueue::add_member(std::uint32_t group, std::uint32_t task) {
  groups_[group].members.push_back(task);
  ++groups_[group].left;
  tasks_[task].group = group;
}

void GroupQueue::drop_member(std::uint32_t index) {
  if (--groups_[index].left == 0) groups_.free(index);
}

bool GroupQueue::member_ready(std::uint32_t index) {
  Group& group = groups_[index];
  if (++group.ready != group.members.size() || group.dissolved) return false;
  group.ready_number = scheduler_.next_ready_number();
  for (const std::uint32_t member : group.members) tasks_[member].ready_number = group.ready_number;
  group.queued = true;
  group.next = kNoIndex;
  group.prev = tail_;
  if (tail_ == kNoIndex)
    head_ = index;
  else
    groups_[tail_].next = index;
  tail_ = index;
  return true;
}

void GroupQueue::leave(std::uint32_t index) {
  Group& group = groups_[index];
  if (!group.queued) return;
  lift(group);
  group.queued = false;
  if (group.prev == kNoIndex)
    head_ = group.next;
  else
    groups_[group.prev].next = group.next;
  if (group.next == kNoIndex)
    tail_ = group.prev;
  else
    groups_[group.next].prev = group.prev;
  group.next = group.prev = kNoIndex;
}

// --- children -----------------------------------------------------------------------------------
GroupQueue::Want GroupQueue::want_of(std::uint32_t index) const {
  const Task& task = tasks_[index];
  return {task.kind, task.has(kFixed) ? task.child : kNoIndex};
}

bool GroupQueue::feasible(std::span<const Want> wants) const {
  std::array<std::uint32_t, kChildKindCount> used{};
  std::uint32_t anywhere = 0;
  for (std::size_t i = 0; i < wants.size(); ++i) {
    const Want& want = wants[i];
    if (want.child != kNoIndex) {
      if (!scheduler_.live(want.child)) return false;
      for (std::size_t j = 0; j < i; ++j)
        if (wants[j].child == want.child) return false;
      ++used[static_cast<std::size_t>(scheduler_[want.child].traits.kind)];
    } else if (want.kind == TaskKind::kCopy) {
      ++anywhere;
    } else {
      for (std::size_t kind = 0; kind < kChildKindCount; ++kind)
        if (can_run(static_cast<ChildKind>(kind), want.kind)) ++used[kind];
    }
  }
  std::uint32_t rest = 0;
  for (std::size_t kind = 0; kind < kChildKindCount; ++kind) {
    const std::uint32_t live = scheduler_.live_count(static_cast<ChildKind>(kind));
    if (used[kind] > live) return false;
    rest += live - used[kind];
  }
  return anywhere <= rest;
}

bool GroupQueue::feasible(const Group& group) const {
  std::vector<Want> wants;
  for (const std::uint32_t member : group.members) wants.push_back(want_of(member));
  return feasible(wants);
}

/// A bit for each kind of child that it may want.
unsigned GroupQueue::kinds_of(const Group& group) const {
  unsigned kinds = 0;
  for (const std::uint32_t member : group.members) {
    const Want want = want_of(member);
    for (std::size_t kind = 0; kind < kChildKindCount; ++kind) {
      const auto child_kind = static_cast<ChildKind>(kind);
      if (want.child != kNoIndex ? scheduler_[want.child].traits.kind == child_kind
                                 : can_run(child_kind, want.kind))
        kinds |= 1u << kind;
    }
  }
  return kinds;
}

bool GroupQueue::reserve_one(Group& group, std::size_t member) {
  const Want want = want_of(group.members[member]);
  std::uint32_t child = want.child;
  if (child == kNoIndex)
    child = scheduler_.pick_for_group(want.kind);
  else if (!scheduler_.live(child) || scheduler_[child].reserved())
    child = kNoIndex;
  if (child == kNoIndex) return false;
  group.children[member] = child;
  scheduler_[child].reserved_from = group.ready_number;
  return true;
}

/// Those that must be at one child choose first, then those of one kind, then copies.
bool GroupQueue::reserve(Group& group) {
  group.children.assign(group.members.size(), kNoIndex);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < group.members.size(); ++i) {
      const Want want = want_of(group.members[i]);
      const int turn = want.child != kNoIndex ? 0 : want.kind != TaskKind::kCopy ? 1 : 2;
      if (turn != round) continue;
      if (reserve_one(group, i)) continue;
      lift(group);
      return false;
    }
  }
  return true;
}

void GroupQueue::lift(Group& group) {
  for (const std::uint32_t child : group.children)
    if (child != kNoIndex) scheduler_.lift_reservation(child);
  group.children.clear();
}

void GroupQueue::forget_child(std::uint32_t child) {
  for (std::uint32_t index = head_; index != kNoIndex; index = groups_[index].next) {
    Group& group = groups_[index];
    for (const std::uint32_t reserved : group.children) {
      if (reserved != child) continue;
      lift(group);
      break;
    }
  }
}

// --- launch -------------------------------------------------------------------------------------
bool GroupQueue::all_idle(const Group& group) const {
  for (const std::uint32_t child : group.children)
    if (scheduler_[child].in_flight != 0 || scheduler_[child].blocked) return false;
  return true;
}

/// True: launched, or broken. False: a child had no room after all; nothing is in flight.
bool GroupQueue::launch(std::uint32_t index, MonotonicNs now, Broken& broken) {
  Group& group = groups_[index];
  std::size_t sent = 0;
  while (sent < group.members.size() &&
         scheduler_.send(group.members[sent], group.children[sent], now))
    ++sent;
  if (sent == group.members.size()) {
    group.launched = true;
    leave(index);
    return true;
  }
  bool all_back = true;
  for (std::size_t i = 0; i < sent; ++i) {
    const std::uint32_t member = group.members[i];
    Child& child = scheduler_[group.children[i]];
    if (!child.endpoint->try_recall(tasks_.id(member))) {
      all_back = false;
      continue;
    }
    scheduler_.remove_in_flight(member);
    tasks_.move(tasks_[member], TaskState::kReady);
  }
  if (all_back) return false;
  broken.group = index;
  group.launched = true;
  leave(index);
  return true;
}

GroupQueue::Broken GroupQueue::pump(MonotonicNs now) {
  Broken broken;
  unsigned waiting = 0;  // kinds that an earlier group wants and could not reserve
  constexpr unsigned kAllKinds = (1u << kChildKindCount) - 1;
  for (std::uint32_t index = head_; index != kNoIndex && waiting != kAllKinds;) {
    Group& group = groups_[index];
    const std::uint32_t next = group.next;
    const unsigned kinds = kinds_of(group);
    if (group.children.empty() && ((kinds & waiting) != 0 || !reserve(group))) {
      waiting |= kinds;
    } else if (all_idle(group)) {
      launch(index, now, broken);
      if (broken.group != kNoIndex) return broken;
    }
    index = next;
  }
  return broken;
}

}  // namespace echelon
