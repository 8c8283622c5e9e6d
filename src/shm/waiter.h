// SPDX-License-Identifier: Apache-2.0
//
// SpinPolicy: how long to look before sleeping. One for each thread that waits, kept between waits.
//
//   1. poll with `pause` for 1 us
//   2. poll with sched_yield until 30 us have passed in all
//   3. sleep (the caller does: doorbell.h)
//
// A yield that took over 50 us means that others compute on this processor: no step 2 for 10 ms,
// doubling up to 1 s as long as the first yield after such a pause is long again.
//
// Use:  policy.restart();
//       while (!ring.pending())
//         if (policy.step() == SpinStep::kSleep) { doorbell.sleep(...); policy.restart(); }
//
// Threads: one. Blocking: step() may give up the processor, never sleeps.
#pragma once

#include <cstdint>

#include "base/env.h"

namespace echelon {

enum class SpinStep : std::uint8_t {
  kSpin,   // paused for some nanoseconds: look again
  kYield,  // gave up the processor once: look again
  kSleep,  // nothing done: sleep now
};

struct SpinLimits {
  std::uint64_t spin_ns = 1'000;
  std::uint64_t yield_ns = 30'000;  // from the beginning of the wait
  std::uint64_t long_yield_ns = 50'000;
  std::uint64_t no_yield_min_ns = 10'000'000;
  std::uint64_t no_yield_max_ns = 1'000'000'000;
};

class SpinPolicy {
 public:
  explicit SpinPolicy(Env& env, SpinLimits limits = {}) : env_(&env), limits_(limits) {}

  /// A new wait begins.
  void restart() { steps_ = 0; }
  SpinStep step();

 private:
  SpinStep step_timed();
  SpinStep step_yield();

  Env* env_;
  SpinLimits limits_;
  std::uint32_t steps_ = 0;
  bool yielding_ = false;
  MonotonicNs began_ns_ = 0;
  MonotonicNs now_ns_ = 0;
  MonotonicNs no_yield_until_ns_ = 0;
  std::uint64_t no_yield_ns_ = 0;  // the last such pause; 0: the last yield phase was undisturbed
};

/// One pause instruction.
inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace echelon
