// SPDX-License-Identifier: Apache-2.0
//
// Both ends as threads over one mapping, so that TSan sees them: producers stand for children, ring
// the doorbell as these do; callers and a keeper drive.
#include "process/driver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "process/keeper.h"

namespace echelon {
namespace {

/// Counts what "children" publish. Everything but `published_` is guarded by the drive lock.
class FakeTarget final : public DriveTarget {
 public:
  std::size_t poll(MonotonicNs now) override {
    if (timer_ != 0 && now >= timer_) {
      timer_ = 0;
      timers_seen.fetch_add(1);
    }
    // pairs with publish()
    const std::uint64_t published = published_.load(std::memory_order_seq_cst);
    const std::uint64_t events = published - taken;
    taken = published;
    seen.store(published);
    return events;
  }
  bool has_news() const override { return published_.load(std::memory_order_seq_cst) != taken; }
  bool in_flight() const override { return taken < expected; }
  MonotonicNs next_timer_ns() const override { return timer_; }
  void set_timer(MonotonicNs when) { timer_ = when; }

  /// A child's thread.
  void publish(Doorbell& doorbell) {
    published_.fetch_add(1, std::memory_order_seq_cst);
    doorbell.ring();
  }

  std::uint64_t taken = 0;
  std::uint64_t expected = 0;
  // For those who look without driving.
  std::atomic<std::uint64_t> seen{0}, timers_seen{0};

 private:
  std::atomic<std::uint64_t> published_{0};
  MonotonicNs timer_ = 0;
};

class NoDuties final : public KeeperDuties {
 public:
  void arm(std::vector<FutexWaiter>&) override {}
  MonotonicNs attend(MonotonicNs) override { return 0; }
};

class DriverTest : public testing::Test {
 protected:
  bool wait_for(std::uint64_t count) {
    auto reached = [&] { return target.taken >= count; };
    return driver.wait_until(reached, 0);
  }

  SystemEnv env;
  DoorbellData data{};
  Doorbell doorbell{data};
  FakeTarget target;
  Driver driver{target, doorbell, env};
  NoDuties duties;
  Keeper keeper{driver, doorbell, duties, env};
};

TEST_F(DriverTest, AnInputIsAppliedOnReturn) {
  int applied = 0;
  auto input = [&](MonotonicNs now) {
    EXPECT_NE(now, 0u);
    ++applied;
  };
  driver.apply(input);
  EXPECT_EQ(applied, 1);
}

TEST_F(DriverTest, InputsOfManyThreadsAreAppliedOneByOne) {
  constexpr int kThreads = 4, kInputs = 2'000;
  int total = 0;  // guarded by drive: TSan would say if it were not
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kInputs; ++i) {
        auto input = [&](MonotonicNs) { ++total; };
        driver.apply(input);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(total, kThreads * kInputs);
}

TEST_F(DriverTest, AWaiterSleepsUntilAChildRings) {
  target.expected = 1;
  std::thread child([&] {
    while (doorbell.sleeper() != DoorbellSleeper::kCaller) std::this_thread::yield();
    target.publish(doorbell);
  });
  EXPECT_TRUE(wait_for(1));
  child.join();
}

TEST_F(DriverTest, AWaitEndsAtItsDeadline) {
  auto never = [] { return false; };
  EXPECT_FALSE(driver.wait_until(never, env.now_ns() + 3'000'000));
}

TEST_F(DriverTest, ASecondWaiterEndsAtItsDeadlineWhileTheFirstDrives) {
  std::atomic<bool> stop{false};
  std::thread first([&] {
    auto stopped = [&] { return stop.load(); };
    driver.wait_until(stopped, 0);
  });
  while (doorbell.sleeper() != DoorbellSleeper::kCaller) std::this_thread::yield();
  auto never = [] { return false; };
  EXPECT_FALSE(driver.wait_until(never, env.now_ns() + 3'000'000));
  auto let_go = [&](MonotonicNs) { stop.store(true); };
  driver.apply(let_go);
  first.join();
}

TEST_F(DriverTest, AnInputOfAnotherThreadCanBeWhatIsWaitedFor) {
  for (int round = 0; round < 3'000; ++round) {
    bool set = false;  // guarded by drive
    std::thread other([&] {
      auto input = [&](MonotonicNs) { set = true; };
      driver.apply(input);
    });
    auto is_set = [&] { return set; };
    EXPECT_TRUE(
        driver.wait_until(is_set, 0));  // nothing in flight, no timer: nobody else would ring
    other.join();
  }
}

TEST_F(DriverTest, NoWakeUpIsLostWithManyWaitersAndChildren) {
  constexpr int kWaiters = 3, kChildren = 2, kEach = 3'000;
  target.expected = std::uint64_t{kChildren} * kEach;
  std::vector<std::thread> threads;
  for (int w = 1; w <= kWaiters; ++w) {
    threads.emplace_back([&, w] { EXPECT_TRUE(wait_for(target.expected * w / kWaiters)); });
  }
  for (int c = 0; c < kChildren; ++c) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        target.publish(doorbell);
        if (i % 64 == 0) std::this_thread::yield();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(driver.lost_wakeups(), 0u);
}

TEST_F(DriverTest, TheKeeperDrivesWhereNobodyWaits) {
  target.expected = 1'000;
  keeper.start();
  auto nothing = [](MonotonicNs) {};
  driver.apply(nothing);  // leaves with something in flight: the keeper is called
  std::thread child([&] {
    for (int i = 0; i < 1'000; ++i) target.publish(doorbell);
  });
  child.join();
  while (target.seen.load() < 1'000) std::this_thread::yield();
  keeper.stop();
  EXPECT_EQ(driver.lost_wakeups(), 0u);
}

TEST_F(DriverTest, TheKeeperLooksWhileUserCodeRunsBetweenItsSubmits) {
  target.expected = 1;
  keeper.start();
  driver.enter_user_code();
  target.publish(doorbell);  // rings nobody: the function is thought to come back soon
  while (target.seen.load() == 0) std::this_thread::yield();
  driver.leave_user_code();
}

TEST_F(DriverTest, TheKeeperSeesToTimersWhereNobodyWaits) {
  keeper.start();
  auto set = [&](MonotonicNs now) { target.set_timer(now + 2'000'000); };
  driver.apply(set);
  while (target.timers_seen.load() == 0) std::this_thread::yield();
}

TEST(FunctionRef, ACopyRefersToTheCallee) {
  auto three = [] { return 3; };
  const FunctionRef<int()> first(three);
  FunctionRef<int()> second(three);
  {
    FunctionRef<int()> gone(three);
    second = FunctionRef<int()>(gone);
  }
  EXPECT_EQ(first() + second(), 6);
}

}  // namespace
}  // namespace echelon
