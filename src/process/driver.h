// SPDX-License-Identifier: Apache-2.0
//
// Driver: one thread at a time drives a Worker (docs/design/0009-driving.md). Whoever waits for a
// run, or submits, drives on its own thread, so that no hop through a scheduler thread costs
// anything.
//
//   drive     a lock that is tried, never waited for
//   inbox     inputs of threads that found it taken; emptied by its holder, looked at again after
//             the release, so that none is left behind
//   waiters   threads that wait while another drives; the driver answers them, and one of them
//   takes
//             over when it leaves
//   doorbell  children wake the driver, or the keeper where nobody drives
//
// Invariants: DRV-1 an input is applied by a holder of `drive`, in the order of the inbox. DRV-2
// after a release either the inbox is empty or somebody holds `drive`. DRV-3 only a holder of
// `drive` sleeps on the doorbell's caller word. DRV-4 nobody is woken while nothing is pending.
//
// Threads: every method from any thread. Blocking: apply() until its input is applied
// (microseconds); wait_until() until its condition holds. No user code runs under `drive`.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "base/env.h"
#include "shm/doorbell.h"
#include "shm/waiter.h"

namespace echelon {

/// What is driven: an engine and its endpoints. Called by the holder of `drive`.
class DriveTarget {
 public:
  /// Takes in what endpoints have to report, and what timers are due. Returns the number of events.
  virtual std::size_t poll(MonotonicNs now) = 0;
  /// True if poll() would find something: a look at each ring.
  virtual bool has_news() const = 0;
  /// True while a child holds a task: something will come by itself.
  virtual bool in_flight() const = 0;
  /// 0: none.
  virtual MonotonicNs next_timer_ns() const = 0;

 protected:
  ~DriveTarget() = default;
};

/// While anything is in flight a sleeper, caller or keeper, looks again so often; what it finds is
/// a lost wake-up.
inline constexpr MonotonicNs kLookAgainNs = 1'000'000'000;
/// From a frame that was seen to the ring that must follow it, on a machine that is busy.
inline constexpr MonotonicNs kSuspicionNs = 100'000'000;

/// A reference to something callable; the callee outlives the call.
template <class Signature>
class FunctionRef;
template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  // Not of a FunctionRef: a copy refers to the callee, not to the FunctionRef that was copied.
  template <class F>
  requires(!std::is_same_v<std::remove_cv_t<F>, FunctionRef>)
      FunctionRef(F& fn)  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(&fn))),
        call_([](void* object, A... args) -> R { return (*static_cast<F*>(object))(args...); }) {}
  R operator()(A... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, A...);
};

class Driver {
 public:
  using Input = FunctionRef<void(MonotonicNs now)>;
  using Condition = FunctionRef<bool()>;

  /// All must outlive the driver.
  Driver(DriveTarget& target, Doorbell& doorbell, Env& env, SpinLimits limits = {});

  /// Applies one input; it has been applied on return.
  void apply(Input input);
  /// Drives, or lets another drive, until `condition` holds (asked under `drive`) or the deadline
  /// (absolute, 0: none) has passed. Returns whether it held.
  bool wait_until(Condition condition, MonotonicNs deadline_ns);
  /// Both in one: `input` first.
  bool apply_and_wait(Input input, Condition condition, MonotonicNs deadline_ns);

  // --- orchestration functions
  // ---------------------------------------------------------------------
  /// Around a user's function that submits: between its submits nobody drives, children ring
  /// nobody, and the keeper looks every 1 ms.
  void enter_user_code();
  void leave_user_code() { in_user_code_.fetch_sub(1, std::memory_order_relaxed); }

  // --- the keeper
  // ------------------------------------------------------------------------------------
  /// One round, if nobody drives: inputs, endpoints, timers. False: somebody drives.
  bool look();
  /// True if something waits in a ring although children ring the keeper: they are about to, or a
  /// wake-up is lost.
  bool news_unrung();
  void count_lost_wakeup() { lost_wakeups_.fetch_add(1, std::memory_order_relaxed); }
  /// Has a sleeping driver look again, for what does not come over a ring.
  void kick();
  /// Around the keeper's sleep. After keeper_sleeps_until() it looks at user_code_running() and
  /// next_timer_ns() once more. 0: for ever. `soon`: within the 1 ms that user code waits for.
  void keeper_sleeps_until(MonotonicNs when, bool soon);
  void keeper_awake();
  // pairs with enter_user_code
  bool user_code_running() const { return in_user_code_.load(std::memory_order_seq_cst) != 0; }
  /// Rises with every enter_user_code().
  std::uint64_t activity() const { return activity_.load(std::memory_order_relaxed); }
  /// The next timer as of the last release; 0: none.
  // pairs with publish_timer
  MonotonicNs next_timer_ns() const { return next_timer_.load(std::memory_order_seq_cst); }
  /// True while children ring the keeper: something is in flight and nobody drives.
  bool keeper_called() const { return doorbell_.sleeper() == DoorbellSleeper::kKeeper; }
  /// How often a sleeper found, by itself, what it should have been woken for; 0 unless there is a
  /// bug.
  std::uint64_t lost_wakeups() const { return lost_wakeups_.load(std::memory_order_relaxed); }

 private:
  struct Pending;
  struct Waiter;

  bool try_lock();
  void unlock();
  /// REQUIRES: the lock. Hands over to a waiter, or to the keeper where something is in flight.
  void release();
  void push(Pending& pending);
  /// True if there was an input.
  bool drain_inbox();
  void await(Pending& pending);
  void answer_waiters();
  void remove_waiter(Waiter& waiter);
  /// True: its condition held. False: it has left the waiters, to drive or because of the deadline.
  bool await_turn(Waiter& waiter, MonotonicNs deadline_ns);
  bool drive_locked(Condition condition, MonotonicNs deadline_ns);
  void sleep_locked(MonotonicNs deadline_ns);
  void publish_timer(MonotonicNs timer);
  void call_keeper_by(MonotonicNs when);

  DriveTarget& target_;
  Doorbell& doorbell_;
  Env& env_;

  alignas(64) std::atomic<std::uint32_t> drive_{0};
  std::atomic<std::uint32_t> in_user_code_{0};
  std::atomic<std::uint64_t> activity_{0};
  std::atomic<Pending*> inbox_{nullptr};
  std::atomic<MonotonicNs> keeper_until_{0};
  std::atomic<bool> keeper_dozes_{false};  // it sleeps longer than user code may wait
  std::atomic<MonotonicNs> next_timer_{0};
  std::atomic<std::uint64_t> lost_wakeups_{0};

  // Guarded by drive_.
  SpinPolicy policy_;
  std::vector<Waiter*> waiters_;
  bool keeper_called_ = false;  // the doorbell says kKeeper
};

}  // namespace echelon
