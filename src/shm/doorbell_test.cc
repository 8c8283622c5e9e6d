// SPDX-License-Identifier: Apache-2.0
//
// Both ends as threads over one mapping, for TSan. A sleep has a time limit that it never reaches
// unless a wake-up was lost.
#include "shm/doorbell.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "shm/ring.h"

namespace echelon {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::size_t kBytes = 4096;

struct TestRing {
  RingPositionData position{};
  alignas(64) std::array<std::byte, kBytes> bytes{};
  RingMemory memory() { return {&position, bytes}; }
};

FrameHeader completion(std::uint64_t task) {
  FrameHeader header;
  header.kind = FrameKind::kCompletion;
  header.task = task;
  return header;
}

std::uint64_t drain(RingConsumer& ring) {
  RingFrame frame;
  std::uint64_t count = 0;
  while (ring.try_peek(frame) == PeekResult::kFrame) {
    ring.pop();
    ++count;
  }
  return count;
}

TEST(SleepWord, ARingWithoutASleeperMakesNoSystemCall) {
  SleepData data{};
  SleepWord word(data);
  EXPECT_FALSE(word.ring());
}

TEST(SleepWord, SomethingPendingIsNoSleep) {
  SleepData data{};
  SleepWord word(data);
  EXPECT_EQ(word.sleep([] { return true; }, 0), FutexWait::kChanged);
  EXPECT_FALSE(word.ring()) << "nobody sleeps any more";
}

TEST(SleepWord, ARingBetweenTheLookAndTheSleepEndsIt) {
  SleepData data{};
  SleepWord word(data);
  const auto rung_after_the_look = [&] {
    EXPECT_TRUE(word.ring());
    return false;
  };
  EXPECT_EQ(word.sleep(rung_after_the_look, 0), FutexWait::kChanged);
}

TEST(SleepWord, TheDeadlineEndsASleep) {
  SleepData data{};
  SleepWord word(data);
  SystemEnv env;
  EXPECT_EQ(word.sleep([] { return false; }, env.now_ns() + 1'000'000), FutexWait::kTimedOut);
}

TEST(SleepWord, NoWakeUpIsLost) {
  constexpr std::uint64_t kFrames = 20'000;
  auto ring = std::make_unique<TestRing>();
  SleepData data{};
  bool timed_out = false;
  std::thread sleeper([&] {
    SystemEnv env;
    SleepWord word(data);
    RingConsumer consumer(ring->memory(), RingUse::kCompletions);
    for (std::uint64_t got = 0; got < kFrames && !timed_out;) {
      got += drain(consumer);
      if (got == kFrames) break;
      timed_out = word.sleep([&] { return consumer.pending(); }, env.now_ns() + 20 * kSecond) ==
                  FutexWait::kTimedOut;
    }
  });
  SleepWord word(data);
  RingProducer producer(ring->memory());
  for (std::uint64_t i = 0; i < kFrames; ++i) {
    while (producer.try_push(completion(i)) == PushResult::kNoRoom) ::sched_yield();
    word.ring();
  }
  sleeper.join();
  EXPECT_FALSE(timed_out);
}

TEST(Doorbell, AwakeNobodyIsCalled) {
  DoorbellData data{};
  EXPECT_FALSE(Doorbell(data).ring());
}

TEST(Doorbell, OnlyTheOneWhoSleepsIsWoken) {
  DoorbellData data{};
  Doorbell doorbell(data);
  const FutexWaiter caller = doorbell.waiter(DoorbellSleeper::kCaller);
  const FutexWaiter keeper = doorbell.arm(DoorbellSleeper::kKeeper);
  EXPECT_TRUE(doorbell.ring());
  EXPECT_EQ(caller.word->load(), caller.expected);
  EXPECT_NE(keeper.word->load(), keeper.expected);
  doorbell.disarm();
  EXPECT_EQ(doorbell.sleeper(), DoorbellSleeper::kNobody);
}

TEST(Doorbell, ABurstRingsOnce) {
  DoorbellData data{};
  Doorbell doorbell(data);
  const FutexWaiter caller = doorbell.arm(DoorbellSleeper::kCaller);
  EXPECT_TRUE(doorbell.ring());
  EXPECT_FALSE(doorbell.ring());
  EXPECT_EQ(caller.word->load(), caller.expected + 1);
}

TEST(SleepWord, ABurstRingsOnce) {
  SleepData data{};
  data.sleeping.store(1);
  SleepWord word(data);
  EXPECT_TRUE(word.ring());
  EXPECT_FALSE(word.ring());
  EXPECT_EQ(data.word.load(), 1u);
}

TEST(WakeBatch, ARingBetweenTheLookAndTheSleepEndsIt) {
  SleepData data{};
  SleepWord word(data);
  WakeBatch batch;
  const auto rung_after_the_look = [&] {
    word.ring(batch);
    return false;
  };
  EXPECT_EQ(word.sleep(rung_after_the_look, 0), FutexWait::kChanged);
  batch.wake();
}

/// Each sleeper takes its turns; one ringer wakes them all at once.
TEST(WakeBatch, WakesEverySleeperAndLosesNone) {
  constexpr std::uint32_t kSleepers = 3;
  constexpr std::uint32_t kTurns = 2'000;
  struct Sleeper {
    SleepData data{};
    std::atomic<std::uint32_t> given{0};
    std::atomic<std::uint32_t> taken{0};
  };
  std::array<Sleeper, kSleepers> sleepers;
  std::atomic<bool> timed_out{false};
  std::vector<std::thread> threads;
  for (Sleeper& sleeper : sleepers) {
    threads.emplace_back([&sleeper, &timed_out] {
      SystemEnv env;
      SleepWord word(sleeper.data);
      for (std::uint32_t turn = 1; turn <= kTurns && !timed_out; ++turn) {
        const auto pending = [&] { return sleeper.given.load() >= turn; };
        while (!pending() && !timed_out) {
          const MonotonicNs deadline = env.now_ns() + 20 * kSecond;
          if (word.sleep(pending, deadline) == FutexWait::kTimedOut) timed_out = true;
        }
        sleeper.taken.store(turn);
      }
    });
  }
  WakeBatch batch;
  for (std::uint32_t turn = 1; turn <= kTurns && !timed_out; ++turn) {
    for (Sleeper& sleeper : sleepers) {
      sleeper.given.store(turn);
      SleepWord(sleeper.data).ring(batch);
    }
    batch.wake();
    for (Sleeper& sleeper : sleepers) {
      while (sleeper.taken.load() < turn && !timed_out) ::sched_yield();
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(timed_out);
}

TEST(Doorbell, AnAnswerWakesTheKeeperUnlessSomebodyLooks) {
  DoorbellData data{};
  Doorbell doorbell(data);
  const FutexWaiter keeper = doorbell.waiter(DoorbellSleeper::kKeeper);
  doorbell.set_looking(true);
  EXPECT_FALSE(doorbell.ring_answer());
  EXPECT_EQ(keeper.word->load(), keeper.expected);
  doorbell.set_looking(false);
  EXPECT_TRUE(doorbell.ring_answer());
  EXPECT_NE(keeper.word->load(), keeper.expected);
}

TEST(Doorbell, GarbageInWhoWakesBoth) {
  DoorbellData data{};
  data.who.store(77);
  Doorbell doorbell(data);
  const FutexWaiter caller = doorbell.waiter(DoorbellSleeper::kCaller);
  const FutexWaiter keeper = doorbell.waiter(DoorbellSleeper::kKeeper);
  EXPECT_TRUE(doorbell.ring());
  EXPECT_NE(caller.word->load(), caller.expected);
  EXPECT_NE(keeper.word->load(), keeper.expected);
}

/// Several children ring; the driver's place passes between caller and keeper.
TEST(Doorbell, NoWakeUpIsLostWhileTheDriverChanges) {
  constexpr std::size_t kChildren = 2;
  constexpr std::uint64_t kFrames = 8'000;
  DoorbellData data{};
  std::array<std::unique_ptr<TestRing>, kChildren> rings;
  std::deque<RingConsumer> consumers;
  for (auto& ring : rings) {
    ring = std::make_unique<TestRing>();
    consumers.emplace_back(ring->memory(), RingUse::kCompletions);
  }
  std::vector<std::thread> children;
  for (auto& ring : rings) {
    children.emplace_back([&data, &ring] {
      Doorbell doorbell(data);
      RingProducer producer(ring->memory());
      for (std::uint64_t i = 0; i < kFrames; ++i) {
        while (producer.try_push(completion(i)) == PushResult::kNoRoom) ::sched_yield();
        doorbell.ring();
      }
    });
  }
  SystemEnv env;
  Doorbell doorbell(data);
  const auto pending = [&] { return consumers[0].pending() || consumers[1].pending(); };
  std::uint64_t got = 0;
  std::uint64_t turn = 0;
  bool timed_out = false;
  while (!timed_out) {
    for (RingConsumer& consumer : consumers) got += drain(consumer);
    if (got == kChildren * kFrames) break;
    const MonotonicNs deadline = env.now_ns() + 20 * kSecond;
    if (++turn % 2 == 0) {
      timed_out = doorbell.sleep_as_caller(pending, deadline) == FutexWait::kTimedOut;
      continue;
    }
    const FutexWaiter waiter = doorbell.arm(DoorbellSleeper::kKeeper);
    if (!pending()) {
      timed_out = futex_wait(*waiter.word, waiter.expected, deadline) == FutexWait::kTimedOut;
    }
    doorbell.disarm();
  }
  for (std::thread& child : children) child.join();
  EXPECT_FALSE(timed_out);
}

}  // namespace
}  // namespace echelon
