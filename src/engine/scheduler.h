// SPDX-License-Identifier: Apache-2.0
//
// Scheduler: the children, what is in flight at each, and the tasks that are ready. Places a task
// as late as it can: when a child has room for it.
//
// Order is that of readiness (Task::ready_number): a child with room takes the older of the task
// that must run there and the one that may. Among the children that may, the least loaded; equals
// take turns. A child that a group waits for takes only what became ready before the group (ENG-4),
// so that neither starves the other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "engine/endpoint.h"
#include "engine/engine.h"
#include "engine/task_table.h"

namespace echelon {

inline constexpr std::size_t kChildKindCount = 3;
inline constexpr std::size_t kTaskKindCount = 4;

enum class Health : std::uint8_t {
  kLive,
  kEnding,  // terminate() was called
  kDown,    // it completes nothing more, and may still write
  kGone,
};

struct Child {
  ChildTraits traits;
  Endpoint* endpoint = nullptr;
  std::string path;
  Health health = Health::kLive;
  bool blocked = false;     // answered kNoRoom or kDown: no more until it reports something
  bool misbehaved = false;  // reported what cannot be: to be ended
  std::uint32_t in_flight = 0;
  TaskList at_child;  // kInFlight: oldest dispatch first
  TaskList own;       // ready, and for this child alone
  std::uint32_t own_count = 0;
  std::uint64_t reserved_from = std::numeric_limits<std::uint64_t>::max();
  MonotonicNs last_completion_ns = 0;
  Status why;  // with kEnding, kDown, kGone

  bool reserved() const { return reserved_from != std::numeric_limits<std::uint64_t>::max(); }
};

/// True where a child of `child` may run a task of `task`.
constexpr bool can_run(ChildKind child, TaskKind task) {
  switch (task) {
    case TaskKind::kSub:
      return child == ChildKind::kSub;
    case TaskKind::kOrch:
      return child == ChildKind::kWorker;
    case TaskKind::kChip:
      return child == ChildKind::kChip;
    case TaskKind::kCopy:
      return true;
  }
  return false;
}

class Scheduler {
 public:
  explicit Scheduler(TaskTable& tasks) : tasks_(tasks) {}

  std::uint32_t add_child(ChildTraits traits, Endpoint& endpoint, std::string path);
  Child& operator[](std::uint32_t index) { return children_[index]; }
  const Child& operator[](std::uint32_t index) const { return children_[index]; }
  std::uint32_t count() const { return static_cast<std::uint32_t>(children_.size()); }
  std::uint32_t in_flight() const { return in_flight_; }

  /// Live children that may run `kind`.
  std::uint32_t live_count(TaskKind kind) const;
  std::uint32_t live_count(ChildKind kind) const { return live_[static_cast<std::size_t>(kind)]; }
  bool live(std::uint32_t child) const { return children_[child].health == Health::kLive; }
  /// Leaves the ranks of the live; `health` is kEnding or kDown.
  void retire(std::uint32_t child, Health health, const Status& why);

  std::uint64_t next_ready_number() { return ++ready_numbers_; }
  /// A Ready task that is in no group.
  void enqueue(std::uint32_t index);
  void dequeue(std::uint32_t index);
  /// Ready tasks of a kind that may run at any child of theirs, oldest first.
  const TaskList& shared(TaskKind kind) const { return shared_[static_cast<std::size_t>(kind)]; }

  /// Dispatches all that it can.
  void pump(MonotonicNs now);
  /// Sends a Ready task (in no queue) to a child. False: nothing was sent.
  bool send(std::uint32_t index, std::uint32_t child, MonotonicNs now);
  /// Takes an in-flight task off its child's list.
  void remove_in_flight(std::uint32_t index);
  /// A child that is down: what it holds counts as in flight no more, but stays in its list.
  void forget_in_flight(std::uint32_t child);
  /// Takes such a task off the list.
  void remove_held(std::uint32_t index);
  /// The child has reported something: it may have room again.
  void unblock(std::uint32_t child);
  void lift_reservation(std::uint32_t child);

  /// Gives each idle child a task that waits behind others at a sibling. Returns how many moved.
  std::uint32_t steal(MonotonicNs now);

  /// The least loaded live, unreserved child that may run `kind`; kNoIndex: none.
  std::uint32_t pick_for_group(TaskKind kind) const;

 private:
  bool usable(const Child& child, std::uint64_t ready_number) const {
    return child.health == Health::kLive && !child.blocked &&
           child.in_flight < child.traits.window && ready_number < child.reserved_from;
  }
  const std::vector<std::uint32_t>& candidates(TaskKind kind) const;
  std::uint32_t pick(TaskKind kind, std::uint64_t ready_number);
  bool pump_own(MonotonicNs now);
  bool pump_shared(MonotonicNs now);
  bool older_shared(const Child& child, std::uint64_t ready_number) const;
  bool older_own(const Child& child, std::uint64_t ready_number) const;
  std::uint32_t busiest(std::size_t kind) const;
  bool steal_from(std::uint32_t victim, std::uint32_t thief, MonotonicNs now);

  TaskTable& tasks_;
  std::vector<Child> children_;
  std::array<std::vector<std::uint32_t>, kChildKindCount> by_kind_;
  std::vector<std::uint32_t> all_;
  std::array<std::uint32_t, kChildKindCount> live_{};
  std::array<TaskList, kTaskKindCount> shared_;
  std::array<bool, kTaskKindCount> full_{};  // the last look found no child with room
  std::array<std::uint32_t, kTaskKindCount> turn_{};
  std::uint32_t own_ready_ = 0;  // tasks in the children's own queues
  std::uint32_t in_flight_ = 0;
  std::uint64_t ready_numbers_ = 0;
};

}  // namespace echelon
