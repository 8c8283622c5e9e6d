// SPDX-License-Identifier: Apache-2.0
//
// TaskTable: the records of tasks, the edges between them, their bodies and what is kept of their
// ends. Data and bookkeeping; what happens to a task is decided in engine_state.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "engine/body_arena.h"
#include "engine/engine.h"
#include "engine/pool.h"

namespace echelon {

/// True for Done, Failed, Skipped, Cancelled.
constexpr bool has_ended(TaskState state) {
  return state >= TaskState::kDone;
}

namespace internal {
constexpr unsigned bit(TaskState state) {
  return 1u << static_cast<unsigned>(state);
}

inline constexpr std::array<unsigned, 9> kMoves = [] {
  using enum TaskState;
  std::array<unsigned, 9> moves{};
  moves[static_cast<unsigned>(kBuilding)] =
      bit(kWaiting) | bit(kReady) | bit(kSkipped) | bit(kCancelled);
  moves[static_cast<unsigned>(kWaiting)] =
      bit(kReady) | bit(kSkipped) | bit(kCancelled) | bit(kFailed);
  moves[static_cast<unsigned>(kReady)] =
      bit(kDispatched) | bit(kSkipped) | bit(kCancelled) | bit(kFailed);
  moves[static_cast<unsigned>(kDispatched)] =
      bit(kRunning) | bit(kDone) | bit(kFailed) | bit(kCancelled) | bit(kReady);
  moves[static_cast<unsigned>(kRunning)] = bit(kDone) | bit(kFailed) | bit(kCancelled);
  return moves;
}();
}  // namespace internal

/// The table of engine.h.
constexpr bool may_move(TaskState from, TaskState to) {
  return (internal::kMoves[static_cast<unsigned>(from)] & internal::bit(to)) != 0;
}

/// Two cache lines: what its neighbours in the graph look at, and what its own child and run do.
/// With two accesses, a few edges and a body of 150 bytes a live task stays below 512.
struct alignas(64) Task {
  std::uint32_t generation = 0;
  TaskState state = TaskState::kDone;
  TaskKind kind = TaskKind::kSub;
  std::uint16_t flags = 0;
  /// What must end before it may start and, also when it has ended early, before its successors
  /// may: one for each unended predecessor, one while a dying process may still write (ENG-3).
  std::uint32_t pending = 0;
  std::uint32_t run = kNoIndex;  // kNoIndex: the run was released before the record could be
  std::uint32_t next =
      kNoIndex;  // in the one list it is in: a ready queue, a child's, the free one
  std::uint32_t prev = kNoIndex;
  std::uint32_t first_edge = kNoIndex;
  std::uint32_t last_edge = kNoIndex;
  std::uint32_t first_access = kNoIndex;
  std::uint32_t group = kNoIndex;
  std::uint32_t child = kNoIndex;  // where it is; with kFixed also where it must go
  std::uint32_t detail = kNoIndex;
  std::uint32_t scope = kNoIndex;
  std::uint32_t slot = 0;
  std::uint64_t ready_number = 0;
  std::uint32_t run_next = kNoIndex;
  std::uint32_t run_prev = kNoIndex;
  std::byte* body = nullptr;
  std::uint32_t body_bytes = 0;
  std::uint32_t callable_bytes = 0;
  const char* callable = nullptr;
  MonotonicNs deadline_ns = 0;  // the sooner of its own and the run's
  MonotonicNs since_ns = 0;     // when it was submitted; once in flight, dispatched

  bool has(std::uint16_t flag) const { return (flags & flag) != 0; }
  std::string_view name() const { return {callable, callable_bytes}; }
};
static_assert(sizeof(Task) == 128, "the budget of 512 bytes a live task counts on it");

/// Task::flags.
enum TaskFlag : std::uint16_t {
  kFixed = 1,        // only at Task::child
  kInFlight = 2,     // in its child's list: dispatched, nothing heard, or held until it is gone
  kExpired = 4,      // its deadline has passed; what it answers now is late
  kCancelAsked = 8,  // its run is cancelled
  kPropagated = 16,  // those that need its data were told that it failed
  kReleased = 32,    // its successors were let go
  kHeld = 64,        // one of `pending` stands for a process that may still write
};

/// What ended tasks leave behind, until their run is released.
struct TaskDetail {
  std::uint32_t next = kNoIndex;
  std::shared_ptr<const ErrorInfo> error;  // of a skipped task: the failure it depends on
  std::byte* result = nullptr;
  std::uint32_t result_bytes = 0;
};

class TaskTable {
 public:
  explicit TaskTable(const EngineLimits& limits);
  ~TaskTable();

  Task& operator[](std::uint32_t index) { return tasks_[index]; }
  const Task& operator[](std::uint32_t index) const { return tasks_[index]; }
  TaskId id(std::uint32_t index) const {
    return TaskId{(std::uint64_t{tasks_[index].generation} << 32) | index};
  }
  /// kNoIndex for an id whose record was given back.
  std::uint32_t find(TaskId id) const {
    const auto index = static_cast<std::uint32_t>(id.value);
    const auto generation = static_cast<std::uint32_t>(id.value >> 32);
    return index < tasks_.made() && tasks_[index].generation == generation ? index : kNoIndex;
  }

  /// A record in Building with a new generation; kNoIndex: none is left.
  std::uint32_t allocate();
  /// Gives the record back with its body and detail.
  void free(std::uint32_t index);

  void move(Task& task, TaskState to) {
    ECHELON_CHECK(may_move(task.state, to), task.state, to);
    task.state = to;
  }

  /// `to` waits for `from`; `data`: and needs what it writes. An edge that is there already is not
  /// made twice: the newest task is the last of every list. False: no edge is left.
  bool add_edge(std::uint32_t from, std::uint32_t to, bool data);
  /// Calls f(successor, data) for each edge in the order in which they were made.
  template <class F>
  void for_each_edge(const Task& task, F&& f) const {
    for (std::uint32_t e = task.first_edge; e != kNoIndex; e = edges_[e].next)
      f(edges_[e].to & ~kDataBit, (edges_[e].to & kDataBit) != 0);
  }
  void free_edges(Task& task);

  void set_body(Task& task, std::span<const std::byte> body);
  void free_body(Task& task);
  void set_error(Task& task, std::shared_ptr<const ErrorInfo> error);
  /// False: result_bytes_max is reached.
  bool set_result(Task& task, std::span<const std::byte> result);
  std::shared_ptr<const ErrorInfo> error(const Task& task) const;
  std::span<const std::byte> result(const Task& task) const;

  std::uint32_t live() const { return tasks_.live(); }
  std::uint32_t room() const { return tasks_.room(); }
  std::uint32_t max() const { return tasks_.max(); }
  const BodyArena& bodies() const { return bodies_; }
  std::uint64_t edges_made() const { return edges_made_; }
  std::uint32_t edges_max() const { return edges_.max(); }
  std::size_t memory_bytes() const;

 private:
  static constexpr std::uint32_t kDataBit = 0x80000000u;
  struct Edge {
    std::uint32_t next = kNoIndex;
    std::uint32_t to = 0;  // and kDataBit
  };

  std::uint32_t detail_of(Task& task);

  ChunkPool<Task> tasks_;
  ChunkPool<Edge> edges_;
  ChunkPool<TaskDetail> details_;
  BodyArena bodies_;
  BodyArena results_;
  std::uint64_t edges_made_ = 0;
};

/// A list of tasks by Task::next and prev, oldest first.
struct TaskList {
  std::uint32_t head = kNoIndex;
  std::uint32_t tail = kNoIndex;

  bool empty() const { return head == kNoIndex; }
  void push_back(TaskTable& tasks, std::uint32_t index) {
    tasks[index].next = kNoIndex;
    tasks[index].prev = tail;
    (tail == kNoIndex ? head : tasks[tail].next) = index;
    tail = index;
  }
  void push_front(TaskTable& tasks, std::uint32_t index) {
    tasks[index].prev = kNoIndex;
    tasks[index].next = head;
    (head == kNoIndex ? tail : tasks[head].prev) = index;
    head = index;
  }
  void remove(TaskTable& tasks, std::uint32_t index) {
    Task& task = tasks[index];
    (task.prev == kNoIndex ? head : tasks[task.prev].next) = task.next;
    (task.next == kNoIndex ? tail : tasks[task.next].prev) = task.prev;
    task.next = task.prev = kNoIndex;
  }
};

}  // namespace echelon
