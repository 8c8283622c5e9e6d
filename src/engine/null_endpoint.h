// SPDX-License-Identifier: Apache-2.0
//
// NullEndpoint: a child that is no process. It runs a function of the caller's within poll(), or
// completes tasks as empty; by hand where a test wants to say when. For the engine's tests, the
// endpoint conformance suite and `echelon bench engine`.
//
// Threads: the driving thread alone. Blocking: as long as the function does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/endpoint.h"

namespace echelon {

class NullEndpoint final : public Endpoint {
 public:
  /// Runs a task. What it appends to `result` goes up with the completion.
  using Function = std::function<Status(const Dispatch& task, std::vector<std::byte>& result)>;

  struct Options {
    std::uint32_t room = 64;                 // unfinished tasks; more answer kNoRoom
    std::uint32_t completions_per_poll = 0;  // 0: all there are
    bool manual = false;                     // tasks wait for take() and finish()
    bool reap_at_once = true;                // on_gone follows on_down in the same poll()
  };

  NullEndpoint(ChildIndex self, Options options, Function function = {});

  // --- by hand ----------------------------------------------------------------------------------
  /// The oldest queued task becomes taken; nullopt: none is queued.
  std::optional<TaskId> take();
  /// Ends a task, taking it if need be; reported by the next poll(). REQUIRES: it is held.
  void finish(TaskId task, Status status = {}, std::span<const std::byte> result = {});
  /// The next dispatches answer kNoRoom until allow_room().
  void refuse_room() { refusing_ = true; }
  void allow_room() { refusing_ = false; }
  /// The child dies now: dispatches answer kDown, the next poll() reports what was finished, then
  /// down. A second call does nothing.
  void die(const Status& why);
  /// The next poll() reports gone. REQUIRES: died.
  void reap() { reaped_ = true; }

  // --- what it saw ------------------------------------------------------------------------------
  std::size_t held() const { return count_; }
  bool holds(TaskId task) const { return place_of(task) != count_; }
  std::uint64_t dispatched() const { return dispatched_; }
  const std::vector<TaskId>& cancel_requests() const { return cancel_requests_; }
  bool terminated() const { return terminated_; }
  /// The body of a held task, with Options::manual or a function.
  std::span<const std::byte> body(TaskId task) const;

  // --- Endpoint ---------------------------------------------------------------------------------
  DispatchResult try_dispatch(const Dispatch& task) override;
  bool try_recall(TaskId task) override;
  Progress progress(TaskId task) const override;
  void request_cancel(TaskId task) override;
  std::size_t poll(EndpointEvents& events) override;
  void terminate(const Status& why) override;

 private:
  struct Held {
    Dispatch task;  // its body view is not used
    std::vector<std::byte> body;
    std::vector<std::byte> result;
    Status status;
    bool taken = false;
    bool finished = false;
  };

  Held& at(std::size_t place) { return ring_[(first_ + place) % ring_.size()]; }
  const Held& at(std::size_t place) const { return ring_[(first_ + place) % ring_.size()]; }
  std::size_t place_of(TaskId task) const;  // count_: not held
  void erase(std::size_t place);
  void run(Held& held);
  std::size_t report_finished(EndpointEvents& events);
  std::size_t report_death(EndpointEvents& events);

  const ChildIndex self_;
  const Options options_;
  const Function function_;
  std::vector<Held> ring_;  // Options::room places, reused; count_ from first_ on, oldest first
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::vector<TaskId> cancel_requests_;
  std::uint64_t dispatched_ = 0;
  std::optional<Status> death_;
  bool refusing_ = false;
  bool terminated_ = false;
  bool down_reported_ = false;
  bool gone_reported_ = false;
  bool reaped_ = false;
};

}  // namespace echelon
