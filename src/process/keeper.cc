// SPDX-License-Identifier: Apache-2.0
#include "process/keeper.h"

#include <signal.h>

#include <algorithm>

namespace echelon {
namespace {

constexpr MonotonicNs kLookNs = 1'000'000;
constexpr MonotonicNs kStayActiveNs = 10'000'000;
/// Without futex_waitv only the doorbell can be slept on: the other words are looked at so often.
constexpr MonotonicNs kNoWaitvNs = 5'000'000;

void take_sooner(MonotonicNs& until, MonotonicNs other) {
  if (other != 0 && (until == 0 || other < until)) until = other;
}

}  // namespace

Keeper::Keeper(Driver& driver, Doorbell& doorbell, KeeperDuties& duties, Env& env)
    : driver_(driver), doorbell_(doorbell), duties_(duties), env_(env) {
  words_.reserve(kFutexWaitersMax);
}

void Keeper::start() {
  // The thread inherits a full mask, so that signals go to the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Keeper::stop() {
  if (!thread_.joinable()) return;
  // pairs with run()'s load; the ring below makes it look
  stopping_.store(true, std::memory_order_release);
  doorbell_.wake_keeper();
  thread_.join();
}

void Keeper::run() {
  // pairs with stop()
  while (!stopping_.load(std::memory_order_acquire)) {
    words_.clear();
    words_.push_back(doorbell_.waiter(DoorbellSleeper::kKeeper));
    duties_.arm(words_);
    const MonotonicNs asked = duties_.attend(env_.now_ns());
    driver_.look();
    const MonotonicNs until = wake_time(asked, env_.now_ns());
    // pairs with stop(): the word was read before this, so a later stop() changes it
    if (stopping_.load(std::memory_order_acquire)) break;
    if (sleep(until) && looking_again_ && driver_.news_unrung() &&
        sleep(env_.now_ns() + kSuspicionNs) && driver_.news_unrung()) {
      driver_.count_lost_wakeup();
    }
    driver_.keeper_awake();
  }
}

MonotonicNs Keeper::wake_time(MonotonicNs asked, MonotonicNs now) {
  MonotonicNs until = asked;
  if (const std::uint64_t activity = driver_.activity(); activity != activity_seen_) {
    activity_seen_ = activity;
    active_until_ = now + kStayActiveNs;
  }
  if (driver_.user_code_running() || now < active_until_) take_sooner(until, now + kLookNs);
  take_sooner(until, driver_.next_timer_ns());
  looking_again_ = driver_.keeper_called() && (until == 0 || until > now + kLookAgainNs);
  if (looking_again_) until = now + kLookAgainNs;
  driver_.keeper_sleeps_until(until, until != 0 && until <= now + kLookNs);
  // Once more, now that others see how long it will sleep.
  if (driver_.user_code_running()) take_sooner(until, now + kLookNs);
  take_sooner(until, driver_.next_timer_ns());
  return until;
}

bool Keeper::sleep(MonotonicNs until) {
  const std::size_t count = std::min(words_.size(), kFutexWaitersMax);
  const auto result = futex_waitv(std::span(words_).first(count), until);
  if (result.ok()) return result->outcome == FutexWait::kTimedOut;
  take_sooner(until, env_.now_ns() + kNoWaitvNs);
  return futex_wait(*words_[0].word, words_[0].expected, until) == FutexWait::kTimedOut;
}

}  // namespace echelon
