// SPDX-License-Identifier: Apache-2.0
//
// How a thread sleeps until a ring has something, without a system call of the producer's while
// nobody sleeps. Two forms of one protocol: SleepWord, with one possible sleeper (a child's
// executor; two in turn, its control threads), and Doorbell, with two (a Worker's driving caller,
// its keeper) and many ringers.
//
// Protocol (R: ringer, S: sleeper; a word in brackets)
//   R1  publish: store [stamp]                seq_cst (ring.h)
//   R2  read [who]                            seq_cst
//   R3  if somebody sleeps: [who] = nobody, unless another ringer was first; then increment its
//       [word] and futex_wake it. A burst rings once, not once a frame.
//   S1  w = [word]
//   S2  store [who] = me                      seq_cst
//   S3  re-read the rings ([stamp])           seq_cst; something there: S5
//   S4  futex_wait while [word] == w
//   S5  store [who] = nobody
//
// Why no wake-up is lost. All of R1, R2, S2, S3 are seq_cst, so there is one order of them.
//   1. R2 before S2: then R1 before S3, and S3 sees the frame. No sleep.
//   2. S2 before R2: R sees the sleeper and does R3.
//      2a. R3's increment before S4: the kernel finds [word] != w. No sleep.
//      2b. S4 before R3's increment: S is in the kernel's queue and R3 wakes it.
//   3. An increment left over from an earlier sleep comes between S1 and S4: a spurious wake-up,
//   and
//      the caller looks again. It cannot come before S1 and be missed: it then belonged to a frame
//      that S3 sees (R1 before the increment, the increment before S1, S1 before S3).
//   4. R dies between R1 and the end of R3: its frame, and those of ringers that saw its
//      [who] = nobody, wait for the sleeper's time limit or for the keeper, which learns of the
//      death from the liveness word (0.1 ms) and then wakes the caller whatever [who] says.
//   5. Two ringers: one of them stores [who] = nobody and wakes S; the other's frame was published
//      before it read [who], and S looks at all rings once it is awake.
//   6. [who] passes from caller to keeper or back: only the thread that drives stores it, and it
//      re-reads the rings after that (S3), so cases 1 and 2 hold for the new sleeper.
//   7. A SleepWord with two sleepers (ControlThread): a ringer wakes one, which does S2 and S3 for
//      the other before it does anything long. Whoever does S5 re-reads the rings after that,
//      before it sleeps or works, so a frame whose ringer saw nobody is seen.
//   8. Answers on control rings: [looking] stands for [who] = nobody, and after it is cleared the
//      rings are read once more (S3).
//
// Blocking: sleep() only. Fork: the words are in shared memory; the handles hold no state.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/env.h"
#include "base/syscall.h"

namespace echelon {

// --- one sleeper
// ------------------------------------------------------------------------------------

struct SleepData {
  alignas(64) std::atomic<std::uint32_t> sleeping;  // 0, or 1
  std::atomic<std::uint32_t> word;
};
static_assert(sizeof(SleepData) == 64);

/// Wakes many sleepers with one system call, after a cheaper one for each: a ringer whom each
/// wake-up may cost its processor, to whom it woke, comes to the last one sooner. Threads: one at a
/// time.
class WakeBatch {
 public:
  WakeBatch() = default;
  WakeBatch(const WakeBatch&) = delete;
  WakeBatch& operator=(const WakeBatch&) = delete;
  /// Who sleeps on `word` wakes with wake(), which must follow.
  void add(std::atomic<std::uint32_t>& word);
  void wake();

 private:
  std::atomic<std::uint32_t> word_{0};
  bool any_ = false;
};

class SleepWord {
 public:
  SleepWord() = default;
  explicit SleepWord(SleepData& data) : data_(&data) {}

  /// Sleeper: sleeps unless `pending()`; returns at a ring, at the deadline (absolute, 0: none),
  /// after a signal, or for nothing. Look again afterwards.
  template <class Pending>
  FutexWait sleep(Pending&& pending, MonotonicNs deadline_ns) {
    const std::uint32_t word = begin();
    FutexWait outcome = FutexWait::kChanged;
    if (!pending()) outcome = futex_wait(data_->word, word, deadline_ns);
    end();
    return outcome;
  }

  /// S1 and S2, for who sleeps on more words than this one. Then re-read the ring, sleep on the
  /// returned word while it holds `expected`, and disarm().
  FutexWaiter arm() { return {&data_->word, begin()}; }
  /// S5.
  void disarm() { end(); }

  /// Ringer, after publishing: wakes the sleeper if there is one. True if there was a system call.
  bool ring() {
    if (!take_sleeper()) return false;
    wake();
    return true;
  }
  /// The same, but it wakes with the batch.
  void ring(WakeBatch& batch) {
    if (take_sleeper()) batch.add(data_->word);
  }
  /// Wakes it whatever it does; the next sleep that has begun returns.
  void wake();

 private:
  bool take_sleeper() {
    // R2, pairs with the seq_cst store in begin()
    if (data_->sleeping.load(std::memory_order_seq_cst) == 0) return false;
    // R3, pairs with itself in other ringers (case 5)
    return data_->sleeping.exchange(0, std::memory_order_seq_cst) != 0;
  }
  std::uint32_t begin();
  void end();

  SleepData* data_ = nullptr;
};

// --- a Worker's doorbell
// ----------------------------------------------------------------------------

enum class DoorbellSleeper : std::uint32_t { kNobody = 0, kCaller = 1, kKeeper = 2 };

/// In a segment of the Worker's, mapped by all its children.
struct DoorbellData {
  alignas(64) std::atomic<std::uint32_t> who;  // DoorbellSleeper
  std::atomic<std::uint32_t> caller_word;
  std::atomic<std::uint32_t> keeper_word;
  std::atomic<std::uint32_t>
      looking;  // somebody of the Worker's looks at the control rings: 0, or 1
};
static_assert(sizeof(DoorbellData) == 64);

/// Both ends; a child uses ring() alone.
class Doorbell {
 public:
  Doorbell() = default;
  explicit Doorbell(DoorbellData& data) : data_(&data) {}

  /// Ringer, after publishing. Any value of [who] that is none rings both. True if there was a
  /// system call.
  bool ring() {
    // R2, pairs with the seq_cst store in set_sleeper()
    const std::uint32_t who = data_->who.load(std::memory_order_seq_cst);
    return who != 0 && wake_if_still(who);
  }

  /// Ringer, after publishing an answer on a control ring: wakes the keeper, unless somebody looks
  /// for it. True if there was a system call.
  bool ring_answer() {
    // R2, pairs with the seq_cst store in set_looking()
    if (data_->looking.load(std::memory_order_seq_cst) != 0) return false;
    wake_keeper();
    return true;
  }
  /// For who looks at the control rings for a while. After false re-read them (S3): from then on an
  /// answer wakes the keeper.
  void set_looking(bool looking);

  /// The driving thread sleeps as the caller: S1 to S5. As SleepWord::sleep.
  template <class Pending>
  FutexWait sleep_as_caller(Pending&& pending, MonotonicNs deadline_ns) {
    const FutexWaiter waiter = arm(DoorbellSleeper::kCaller);
    FutexWait outcome = FutexWait::kChanged;
    if (!pending()) outcome = futex_wait(*waiter.word, waiter.expected, deadline_ns);
    disarm();
    return outcome;
  }

  /// S1 and S2, for who sleeps on more words than this one (the keeper's futex_waitv). Then re-read
  /// the rings, sleep on the returned word while it holds `expected`, and disarm().
  FutexWaiter arm(DoorbellSleeper sleeper);
  /// S1 alone: the word of a sleeper that does not drive (who is somebody else's).
  FutexWaiter waiter(DoorbellSleeper sleeper) const;
  /// S5.
  void disarm() { set_sleeper(DoorbellSleeper::kNobody); }
  /// Stores [who]: for a driver that hands over (case 6). Re-read the rings afterwards.
  void set_sleeper(DoorbellSleeper sleeper);
  DoorbellSleeper sleeper() const;

  /// Wakes one of them whatever [who] says.
  void wake_caller();
  void wake_keeper();

 private:
  bool wake_if_still(std::uint32_t who);

  DoorbellData* data_ = nullptr;
};

}  // namespace echelon
