// SPDX-License-Identifier: Apache-2.0
#include "shm/waiter.h"

#include <sched.h>

#include <algorithm>

namespace echelon {
namespace {

// The clock is read once in so many pauses: reading it costs about as much as one of them.
constexpr std::uint32_t kPausesPerClock = 8;

}  // namespace

SpinStep SpinPolicy::step() {
  ++steps_;
  if (steps_ < kPausesPerClock || (!yielding_ && steps_ % kPausesPerClock != 0)) {
    cpu_pause();
    return SpinStep::kSpin;
  }
  return step_timed();
}

SpinStep SpinPolicy::step_timed() {
  if (steps_ == kPausesPerClock) {
    began_ns_ = env_->now_ns();  // the few pauses before it do not count
    yielding_ = false;
    cpu_pause();
    return SpinStep::kSpin;
  }
  if (yielding_) return step_yield();
  now_ns_ = env_->now_ns();
  if (now_ns_ - began_ns_ < limits_.spin_ns) {
    cpu_pause();
    return SpinStep::kSpin;
  }
  if (now_ns_ < no_yield_until_ns_) return SpinStep::kSleep;
  yielding_ = true;
  return step_yield();
}

/// now_ns_ is from before this yield.
SpinStep SpinPolicy::step_yield() {
  if (now_ns_ - began_ns_ >= limits_.yield_ns || now_ns_ < no_yield_until_ns_) {
    return SpinStep::kSleep;
  }
  const MonotonicNs before_ns = now_ns_;
  ::sched_yield();
  now_ns_ = env_->now_ns();
  if (now_ns_ - before_ns <= limits_.long_yield_ns) {
    no_yield_ns_ = 0;
    return SpinStep::kYield;
  }
  no_yield_ns_ = std::clamp(2 * no_yield_ns_, limits_.no_yield_min_ns, limits_.no_yield_max_ns);
  no_yield_until_ns_ = now_ns_ + no_yield_ns_;
  return SpinStep::kYield;
}

}  // namespace echelon
