// SPDX-License-Identifier: Apache-2.0
#include "process/driver.h"

#include <algorithm>

#include "base/syscall.h"

namespace echelon {
namespace {

constexpr MonotonicNs kForever = ~MonotonicNs{0};

MonotonicNs sooner(MonotonicNs a, MonotonicNs b) {
  if (a == 0 || b == 0) return a + b;
  return std::min(a, b);
}

}  // namespace

/// What a thread that found `drive` taken leaves in the inbox; lives on that thread's stack.
struct Driver::Pending {
  enum State : std::uint32_t { kOpen = 0, kAsleep = 1, kDone = 2, kTakeOver = 3 };

  explicit Pending(Input given) : input(given) {}
  Input input;
  Pending* next = nullptr;
  std::atomic<std::uint32_t> state{kOpen};

  /// By the driver: the owner may return, and this object end, as soon as `state` is stored.
  void answer(State what) {
    // pairs with await(): publishes what the input did
    if (state.exchange(what, std::memory_order_acq_rel) == kAsleep) futex_wake(state, 1);
  }
};

struct Driver::Waiter {
  explicit Waiter(Condition given) : condition(given) {}
  Condition condition;
  std::atomic<std::uint32_t> state{Pending::kOpen};

  void answer(Pending::State what) {
    // pairs with wait_until()'s acquire loads
    if (state.exchange(what, std::memory_order_acq_rel) == Pending::kAsleep) futex_wake(state, 1);
  }
};

Driver::Driver(DriveTarget& target, Doorbell& doorbell, Env& env, SpinLimits limits)
    : target_(target), doorbell_(doorbell), env_(env), policy_(env, limits) {
  waiters_.reserve(16);
}

bool Driver::try_lock() {
  // pairs with release(): sees what the last holder did; seq_cst for DRV-2 (push, then try_lock
  // against unlock, then look at the inbox)
  if (drive_.exchange(1, std::memory_order_seq_cst) != 0) return false;
  if (keeper_called_) {
    doorbell_.set_sleeper(DoorbellSleeper::kNobody);
    keeper_called_ = false;
  }
  return true;
}

void Driver::push(Pending& pending) {
  Pending* head = inbox_.load(std::memory_order_relaxed);
  do {
    pending.next = head;
    // pairs with drain_inbox()'s exchange and, for DRV-2, with release()'s look at the inbox
  } while (!inbox_.compare_exchange_weak(head, &pending, std::memory_order_seq_cst));
  if (doorbell_.sleeper() == DoorbellSleeper::kCaller) doorbell_.wake_caller();
}

bool Driver::drain_inbox() {
  if (inbox_.load(std::memory_order_relaxed) == nullptr) return false;
  // pairs with push(): sees the inputs whole
  Pending* newest = inbox_.exchange(nullptr, std::memory_order_seq_cst);
  Pending* oldest = nullptr;
  while (newest != nullptr) {
    Pending* next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  const MonotonicNs now = env_.now_ns();
  while (oldest != nullptr) {
    Pending* next = oldest->next;
    oldest->input(now);
    oldest->answer(Pending::kDone);
    oldest = next;
  }
  return true;
}

void Driver::answer_waiters() {
  if (waiters_.empty()) return;
  std::erase_if(waiters_, [](Waiter* waiter) {
    if (!waiter->condition()) return false;
    waiter->answer(Pending::kDone);
    return true;
  });
}

void Driver::remove_waiter(Waiter& waiter) {
  std::erase(waiters_, &waiter);
}

void Driver::apply(Input input) {
  if (try_lock()) {
    drain_inbox();
    input(env_.now_ns());
    release();
    return;
  }
  Pending pending(input);
  push(pending);
  await(pending);
}

void Driver::await(Pending& pending) {
  SpinPolicy policy(env_);
  for (;;) {
    // pairs with Pending::answer
    if (pending.state.load(std::memory_order_acquire) == Pending::kDone) return;
    if (try_lock()) {  // DRV-2: whoever pushes sees to it that somebody drains
      drain_inbox();
      release();
      continue;
    }
    if (policy.step() != SpinStep::kSleep) continue;
    std::uint32_t open = Pending::kOpen;
    // pairs with Pending::answer
    if (pending.state.compare_exchange_strong(open, Pending::kAsleep, std::memory_order_acq_rel)) {
      // The holder may have released between try_lock() and here, having seen an empty inbox before
      // the push: one more try, then sleep.
      if (try_lock()) {
        drain_inbox();
        release();
        continue;
      }
    }
    (void)futex_wait(pending.state, Pending::kAsleep, 0);
  }
}

bool Driver::wait_until(Condition condition, MonotonicNs deadline_ns) {
  auto nothing = [](MonotonicNs) {};
  return apply_and_wait(nothing, condition, deadline_ns);
}

bool Driver::apply_and_wait(Input input, Condition condition, MonotonicNs deadline_ns) {
  bool applied = false;
  for (;;) {
    if (try_lock()) {
      drain_inbox();
      if (!applied) input(env_.now_ns());
      const bool held = drive_locked(condition, deadline_ns);
      release();
      return held;
    }
    Waiter waiter(condition);
    bool held = false;
    auto join = [&](MonotonicNs now) {
      if (!applied) input(now);
      applied = true;
      held = condition();
      if (!held) waiters_.push_back(&waiter);
    };
    apply(join);
    if (held) return true;
    if (await_turn(waiter, deadline_ns)) return true;
    if (deadline_ns != 0 && env_.now_ns() >= deadline_ns) {
      bool finally = false;
      auto last_look = [&](MonotonicNs) { finally = condition(); };
      apply(last_look);
      return finally;
    }
  }
}

bool Driver::await_turn(Waiter& waiter, MonotonicNs deadline_ns) {
  for (;;) {
    std::uint32_t state = Pending::kOpen;
    // pairs with Waiter::answer
    waiter.state.compare_exchange_strong(state, Pending::kAsleep, std::memory_order_acq_rel);
    if (state == Pending::kDone) return true;
    if (state == Pending::kTakeOver) return false;
    const FutexWait outcome = futex_wait(waiter.state, Pending::kAsleep, deadline_ns);
    if (outcome != FutexWait::kTimedOut) continue;
    auto leave = [&](MonotonicNs) { remove_waiter(waiter); };
    apply(leave);
    // pairs with Waiter::answer: it may have been answered before it left
    return waiter.state.load(std::memory_order_acquire) == Pending::kDone;
  }
}

bool Driver::drive_locked(Condition condition, MonotonicNs deadline_ns) {
  policy_.restart();
  for (;;) {
    // An input may be what is waited for, so it counts like an event.
    const bool drained = drain_inbox();
    const MonotonicNs now = env_.now_ns();
    const std::size_t events = target_.poll(now);
    if (condition()) return true;
    if (deadline_ns != 0 && now >= deadline_ns) return false;
    if (drained || events != 0) {
      answer_waiters();
      policy_.restart();
    } else if (policy_.step() == SpinStep::kSleep) {
      sleep_locked(deadline_ns);
      policy_.restart();
    }
  }
}

void Driver::sleep_locked(MonotonicNs deadline_ns) {
  const MonotonicNs until = sooner(deadline_ns, target_.next_timer_ns());
  const MonotonicNs look_again = target_.in_flight() ? env_.now_ns() + kLookAgainNs : 0;
  const FutexWaiter bell = doorbell_.arm(DoorbellSleeper::kCaller);
  // pairs with push(): either it is seen here, or push() sees the sleeper and wakes it
  if (!target_.has_news() && inbox_.load(std::memory_order_seq_cst) == nullptr) {
    const MonotonicNs first = sooner(until, look_again);
    const bool timed_out = futex_wait(*bell.word, bell.expected, first) == FutexWait::kTimedOut;
    if (timed_out && first == look_again && look_again != 0 && target_.has_news()) {
      // Somebody published without a ring, or is about to ring.
      const FutexWait second = futex_wait(*bell.word, bell.expected, env_.now_ns() + kSuspicionNs);
      if (second == FutexWait::kTimedOut) count_lost_wakeup();
    }
  }
  doorbell_.disarm();
}

void Driver::release() {
  for (;;) {
    answer_waiters();
    if (!waiters_.empty()) {  // one of them drives on
      Waiter* next = waiters_.front();
      waiters_.erase(waiters_.begin());
      unlock();
      next->answer(Pending::kTakeOver);
    } else {
      const MonotonicNs timer = target_.next_timer_ns();
      publish_timer(timer);
      const bool watch = target_.in_flight() && !user_code_running();
      if (watch) {
        doorbell_.set_sleeper(DoorbellSleeper::kKeeper);
        keeper_called_ = true;
      }
      const bool news = watch && target_.has_news();
      unlock();
      if (news) {
        doorbell_.wake_keeper();  // it is nobody else's turn
      } else {
        call_keeper_by(timer);
      }
    }
    // DRV-2, pairs with push(): what came after drain_inbox() and before the unlock
    if (inbox_.load(std::memory_order_seq_cst) == nullptr || !try_lock()) return;
    drain_inbox();
  }
}

void Driver::unlock() {
  // pairs with try_lock()
  drive_.store(0, std::memory_order_seq_cst);
}

void Driver::publish_timer(MonotonicNs timer) {
  if (next_timer_.load(std::memory_order_relaxed) == timer) return;
  // pairs with next_timer_ns(): the keeper reads it after keeper_sleeps_until()
  next_timer_.store(timer, std::memory_order_seq_cst);
}

void Driver::call_keeper_by(MonotonicNs when) {
  if (when == 0) return;
  // pairs with keeper_sleeps_until(): either the keeper sees the timer, or this sees how long it
  // sleeps
  if (keeper_until_.load(std::memory_order_seq_cst) > when) doorbell_.wake_keeper();
}

void Driver::keeper_sleeps_until(MonotonicNs when, bool soon) {
  // pairs with enter_user_code()
  keeper_dozes_.store(!soon, std::memory_order_seq_cst);
  // pairs with call_keeper_by()
  keeper_until_.store(when == 0 ? kForever : when, std::memory_order_seq_cst);
}

void Driver::keeper_awake() {
  // pairs with enter_user_code()
  keeper_dozes_.store(false, std::memory_order_seq_cst);
  // pairs with call_keeper_by(): an awake keeper looks for itself before it sleeps
  keeper_until_.store(0, std::memory_order_seq_cst);
}

void Driver::enter_user_code() {
  // pairs with the keeper's look at user_code_running() after keeper_sleeps_until()
  in_user_code_.fetch_add(1, std::memory_order_seq_cst);
  activity_.fetch_add(1, std::memory_order_relaxed);
  // pairs with keeper_sleeps_until(): either the keeper sees the user code, or this sees it asleep
  if (keeper_dozes_.load(std::memory_order_seq_cst)) doorbell_.wake_keeper();
}

bool Driver::look() {
  if (!try_lock()) return false;
  drain_inbox();
  target_.poll(env_.now_ns());
  release();
  return true;
}

bool Driver::news_unrung() {
  // pairs with unlock(); the doorbell keeps saying kKeeper, so that ringers ring on
  if (drive_.exchange(1, std::memory_order_seq_cst) != 0) return false;
  const bool news = keeper_called_ && target_.has_news();
  unlock();
  // DRV-2, pairs with push()
  if (inbox_.load(std::memory_order_seq_cst) != nullptr) look();
  return news;
}

void Driver::kick() {
  // Whatever the doorbell says: a child that died may have stored it and not got to waking anybody.
  doorbell_.wake_caller();
}

}  // namespace echelon
