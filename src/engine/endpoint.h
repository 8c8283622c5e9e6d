// SPDX-License-Identifier: Apache-2.0
//
// Endpoint: one child as the engine sees it, wherever it is - a process, a thread, another host.
// The engine owns this interface; process/ (and later remote/) implement it. Every implementation
// passes tests/conformance (docs/design/0005-endpoint.md).
//
// Threads: called by the driving thread alone. Blocking: never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"

namespace echelon {

/// What a child is; decides which tasks it may be given.
enum class ChildKind : std::uint8_t { kSub = 0, kChip = 1, kWorker = 2 };
std::string_view to_string(ChildKind kind);

/// What a task is. kCopy (a tensor copy) runs on any kind of child that reaches both tensors.
enum class TaskKind : std::uint8_t { kSub = 0, kOrch = 1, kChip = 2, kCopy = 3 };
std::string_view to_string(TaskKind kind);

/// A task on its way down. Views are valid during the call.
struct Dispatch {
  TaskId task;
  TaskKind kind = TaskKind::kSub;
  CallableSlot slot;
  MonotonicNs deadline_ns = 0;
  std::span<const std::byte> body;  // shm/task_body.h
};

/// A task's end, on its way up. Views are valid during the call.
struct Completion {
  TaskId task;
  /// What the child knows of an error: its own full path, the callable, phase, cause. What it left
  /// empty (path, callable, phase, time in phase) the engine fills in.
  Status status;
  std::span<const std::byte> result;  // what the callable returned; empty mostly
};

/// What poll() reports. Implemented by the engine.
class EndpointEvents {
 public:
  virtual void on_completion(ChildIndex child, const Completion& completion) = 0;
  /// The child will complete nothing more: what it published has been reported before. `why`
  /// carries path, pid and cause. Reported once. During the call progress() still answers for every
  /// task that was dispatched and not completed; the engine forgets them after it.
  virtual void on_down(ChildIndex child, const Status& why) = 0;
  /// The child is reaped: nothing writes to memory it could reach. Follows on_down, once.
  virtual void on_gone(ChildIndex child) = 0;

 protected:
  ~EndpointEvents() = default;
};

enum class DispatchResult : std::uint8_t {
  kSent,    // exactly one completion, or on_down, will follow
  kNoRoom,  // nothing was sent; poll() until a completion comes, then try again
  kDown,    // nothing was sent and never will be; on_down comes with the next poll()
};

/// How far a dispatched task has got.
enum class Progress : std::uint8_t { kQueued, kTaken };

class Endpoint {
 public:
  virtual ~Endpoint() = default;

  virtual DispatchResult try_dispatch(const Dispatch& task) = 0;

  /// Takes back a task that the child has not begun. True: it never ran and no completion will
  /// come. False: it was taken (or has completed); its completion will come as always.
  virtual bool try_recall(TaskId task) = 0;

  /// REQUIRES: dispatched, and no completion reported yet.
  virtual Progress progress(TaskId task) const = 0;

  /// Asks a taken task to stop. Cooperative; its completion comes as always.
  virtual void request_cancel(TaskId task) = 0;

  /// Asks what the child is doing, for add_whereabouts(). False: it cannot be asked.
  virtual bool request_stack() { return false; }

  /// Adds what is known of the child where `info` leaves it empty: process, machine, stack.
  virtual void add_whereabouts(ErrorInfo& info) { static_cast<void>(info); }

  /// Reports everything published since the last call. Returns the number of events.
  virtual std::size_t poll(EndpointEvents& events) = 0;

  /// Ends the child whatever it does; `why` becomes the cause of what it held. on_down follows from
  /// a later poll(), never from here.
  virtual void terminate(const Status& why) = 0;
};

}  // namespace echelon
