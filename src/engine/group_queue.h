// SPDX-License-Identifier: Apache-2.0
//
// GroupQueue: gangs. A group launches when all its tasks are ready, each on an idle child of its
// own, together or not at all. It chooses its children once and reserves them: what becomes ready
// later waits until it has launched (ENG-4). Groups that want the same kinds of children go in
// order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/pool.h"
#include "engine/scheduler.h"

namespace echelon {

struct Group {
  std::uint32_t next = kNoIndex;  // the queue's; the free list's
  std::uint32_t prev = kNoIndex;
  std::vector<std::uint32_t> members;
  std::vector<std::uint32_t> children;  // reserved ones, as members; empty: none
  std::uint32_t ready = 0;              // members in Ready
  std::uint32_t left = 0;               // members whose records are still there
  std::uint64_t ready_number = 0;
  bool queued = false;
  bool launched = false;
  bool dissolved = false;  // a member ended before the launch, so the others do
};

class GroupQueue {
 public:
  GroupQueue(TaskTable& tasks, Scheduler& scheduler, std::uint32_t groups_max)
      : tasks_(tasks), scheduler_(scheduler), groups_(groups_max) {}

  Group& operator[](std::uint32_t index) { return groups_[index]; }
  std::uint32_t head() const { return head_; }

  /// REQUIRES: fewer groups than tasks (each has a member).
  std::uint32_t make();
  /// Gives back a group without members.
  void discard(std::uint32_t group) { groups_.free(group); }
  void add_member(std::uint32_t group, std::uint32_t task);
  /// A member's record goes; the group goes with the last.
  void drop_member(std::uint32_t group);

  /// A member became ready. True: all are, and the group now waits for its children.
  bool member_ready(std::uint32_t group);
  /// Leaves the queue and lifts its reservations.
  void leave(std::uint32_t group);

  struct Want {
    TaskKind kind = TaskKind::kSub;
    std::uint32_t child = kNoIndex;  // kNoIndex: any that may run it
  };
  /// Whether the live children, were they idle, could take all at once.
  bool feasible(std::span<const Want> wants) const;
  bool feasible(const Group& group) const;

  /// A launch that could be neither finished nor taken back: some members run, the others are Ready
  /// and in no queue.
  struct Broken {
    std::uint32_t group = kNoIndex;  // kNoIndex: nothing broke
  };
  /// Reserves and launches what it can. After a broken launch, call again.
  Broken pump(MonotonicNs now);

  /// A reserved child is no longer live: those groups choose again.
  void forget_child(std::uint32_t child);

  std::size_t memory_bytes() const { return groups_.memory_bytes(); }

 private:
  Want want_of(std::uint32_t task) const;
  unsigned kinds_of(const Group& group) const;
  bool reserve(Group& group);
  bool reserve_one(Group& group, std::size_t member);
  void lift(Group& group);
  bool all_idle(const Group& group) const;
  bool launch(std::uint32_t index, MonotonicNs now, Broken& broken);

  TaskTable& tasks_;
  Scheduler& scheduler_;
  ChunkPool<Group, 4> groups_;
  std::uint32_t head_ = kNoIndex;
  std::uint32_t tail_ = kNoIndex;
};

}  // namespace echelon
