// SPDX-License-Identifier: Apache-2.0
#include "shm/doorbell.h"

#include <climits>
#include <utility>

#include "base/check.h"

namespace echelon {
namespace {

void increment_and_wake(std::atomic<std::uint32_t>& word) {
  // pairs with the seq_cst loads of the word in SleepWord::begin and Doorbell::waiter (case 3)
  word.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(word, 1);
}

}  // namespace

// --- SleepWord
// ------------------------------------------------------------------------------------

std::uint32_t SleepWord::begin() {
  // S1, pairs with the increment in increment_and_wake (case 3)
  const std::uint32_t word = data_->word.load(std::memory_order_seq_cst);
  // S2, pairs with the seq_cst load in ring()
  data_->sleeping.store(1, std::memory_order_seq_cst);
  return word;
}

void SleepWord::end() {
  data_->sleeping.store(0, std::memory_order_relaxed);
}

void SleepWord::wake() {
  increment_and_wake(data_->word);
}

// --- WakeBatch
// ------------------------------------------------------------------------------------

void WakeBatch::add(std::atomic<std::uint32_t>& word) {
  // pairs with the seq_cst load in SleepWord::begin (case 3): who does not sleep yet will not
  word.fetch_add(1, std::memory_order_seq_cst);
  if (futex_requeue(word, 1, word_) != 0) any_ = true;
}

void WakeBatch::wake() {
  if (std::exchange(any_, false)) futex_wake(word_, INT_MAX);
}

// --- Doorbell
// -------------------------------------------------------------------------------------

FutexWaiter Doorbell::waiter(DoorbellSleeper sleeper) const {
  ECHELON_CHECK(sleeper != DoorbellSleeper::kNobody);
  const auto& word = sleeper == DoorbellSleeper::kCaller ? data_->caller_word : data_->keeper_word;
  // S1, pairs with the increment in increment_and_wake (case 3)
  return {&word, word.load(std::memory_order_seq_cst)};
}

FutexWaiter Doorbell::arm(DoorbellSleeper sleeper) {
  const FutexWaiter result = waiter(sleeper);
  set_sleeper(sleeper);
  return result;
}

void Doorbell::set_sleeper(DoorbellSleeper sleeper) {
  // S2, pairs with the seq_cst load in ring()
  data_->who.store(static_cast<std::uint32_t>(sleeper), std::memory_order_seq_cst);
}

void Doorbell::set_looking(bool looking) {
  // S2, pairs with the seq_cst load in ring_answer()
  data_->looking.store(looking ? 1 : 0, std::memory_order_seq_cst);
}

DoorbellSleeper Doorbell::sleeper() const {
  return static_cast<DoorbellSleeper>(data_->who.load(std::memory_order_relaxed));
}

bool Doorbell::wake_if_still(std::uint32_t who) {
  std::uint32_t expected = who;
  // R3, pairs with itself in other ringers (case 5); a sleeper that armed anew meanwhile looks at
  // the rings after that (case 1)
  if (!data_->who.compare_exchange_strong(expected, 0, std::memory_order_seq_cst)) return false;
  if (who != static_cast<std::uint32_t>(DoorbellSleeper::kKeeper)) wake_caller();
  if (who != static_cast<std::uint32_t>(DoorbellSleeper::kCaller)) wake_keeper();
  return true;
}

void Doorbell::wake_caller() {
  increment_and_wake(data_->caller_word);
}

void Doorbell::wake_keeper() {
  increment_and_wake(data_->keeper_word);
}

}  // namespace echelon
