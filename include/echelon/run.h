// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

#include <echelon/call_config.h>
#include <echelon/export.h>
#include <echelon/orchestrator.h>

namespace echelon {

namespace detail {
class RunState;
}

/// How a run is submitted.
struct RunOptions {
  /// From now; zero means none. Inherited by everything the run does, at every level.
  std::chrono::nanoseconds deadline{0};
  /// What the run's orchestration function finds in Orchestrator::config().
  CallConfig config = {};
};

/// A run in flight, or ended. Copies are the same run. Threads: safe. Outlives its Worker: after
/// close() it answers what it knew.
class ECHELON_API Run {
 public:
  /// Of no run: what is asked of it throws InvalidArgument. Worker::submit() makes the others.
  Run() = default;
  /// The library's own.
  explicit Run(std::shared_ptr<detail::RunState> state) : state_(std::move(state)) {}

  /// Returns when every task of the run has ended; throws the run's first error. Waiting again
  /// gives the same answer. Throws WrongState from inside one of the run's own tasks.
  void wait() const;
  /// False if the run has not ended by then. Never throws for the run's own failure.
  bool wait_until(std::chrono::steady_clock::time_point deadline) const;
  /// The same, counted from now; a duration too long for the clock is for ever.
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> duration) const {
    using Clock = std::chrono::steady_clock;
    using Seconds = std::chrono::duration<double>;
    const Clock::time_point now = Clock::now();
    if (Seconds(duration) >= Seconds(Clock::time_point::max() - now)) {
      return wait_until(Clock::time_point::max());
    }
    return wait_until(now + std::chrono::duration_cast<std::chrono::nanoseconds>(duration));
  }
  /// Never blocks, never throws for the run's own failure.
  bool done() const;
  /// Queued tasks end at once, running ones are asked to. wait() then throws Cancelled.
  void cancel() const;
  /// Waits, and throws, as wait(); then what the orchestration function returned. Throws
  /// InvalidArgument where that is no T.
  template <class T>
  T result() const {
    const std::vector<std::byte> bytes = result_bytes();
    if (bytes.size() != sizeof(T)) detail::throw_result_size(bytes.size(), sizeof(T));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  /// result() as bytes; empty where nothing was returned.
  std::vector<std::byte> result_bytes() const;

 private:
  std::shared_ptr<detail::RunState> state_;
};

}  // namespace echelon
