// SPDX-License-Identifier: Apache-2.0
//
// LaneSleeper: how the one thread that serves a lane sleeps until the lane has something, or has
// room again.
//
// Threads: poke() any; the rest the thread that serves. Blocking: sleep() alone.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "base/env.h"
#include "remote/lane.h"
#include "shm/doorbell.h"
#include "shm/waiter.h"

namespace echelon {

/// Of who waits for a lane: longer than an exchange over a network takes. Who sleeps before the
/// answer is there has it brought by two other threads, which takes twice as long as the network.
/// A yield that lets a peer on this host answer is no sign that others compute.
inline constexpr SpinLimits kLaneSpin{.yield_ns = 200'000, .long_yield_ns = 300'000};

class LaneSleeper {
 public:
  /// Look again.
  void poke() {
    // pairs with the seq_cst load in sleep(): it sees this, or is rung
    poked_.store(true, std::memory_order_seq_cst);
    word_.ring();
  }
  /// Before looking: what is poked for from here on ends the next sleep.
  // pairs with the load in sleep()
  void look() { poked_.store(false, std::memory_order_seq_cst); }

  /// Until poke(), or `pending()` at the beginning, or the deadline (absolute, 0: none).
  template <class Pending>
  void sleep(Pending&& pending, MonotonicNs deadline_ns) {
    // pairs with the seq_cst store in poke()
    word_.sleep([&] { return poked_.load(std::memory_order_seq_cst) || pending(); }, deadline_ns);
  }

 private:
  SleepData data_{};
  SleepWord word_{data_};
  std::atomic<bool> poked_{false};
};

/// For a lane that it is the sleeper of. The lane may outlive whoever sleeps.
inline LaneOptions poking(std::shared_ptr<LaneSleeper> sleeper) {
  LaneOptions options;
  options.notify = [sleeper = std::move(sleeper)] { sleeper->poke(); };
  return options;
}

}  // namespace echelon
