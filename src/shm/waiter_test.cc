// SPDX-License-Identifier: Apache-2.0
#include "shm/waiter.h"

#include <gtest/gtest.h>

namespace echelon {
namespace {

/// Each look at the clock takes `step_ns`.
class SteppingEnv final : public Env {
 public:
  MonotonicNs now_ns() override { return now += step_ns; }
  std::uint64_t random_nonzero() override { return 1; }
  MonotonicNs now = 1'000'000'000;
  std::uint64_t step_ns = 100;
};

struct Counts {
  int spins = 0;
  int yields = 0;
};

/// Waits until the policy says sleep.
Counts wait_once(SpinPolicy& policy) {
  Counts counts;
  policy.restart();
  while (true) {
    switch (policy.step()) {
      case SpinStep::kSpin:
        ++counts.spins;
        break;
      case SpinStep::kYield:
        ++counts.yields;
        break;
      case SpinStep::kSleep:
        return counts;
    }
  }
}

TEST(SpinPolicy, SpinsThenYieldsThenSleeps) {
  SteppingEnv env;
  SpinPolicy policy(env);
  const Counts counts = wait_once(policy);
  EXPECT_GT(counts.spins, 8);
  EXPECT_NEAR(counts.yields, 290, 5) << "29 us of yields at 100 ns each";
}

TEST(SpinPolicy, ReadsTheClockRarelyWhileItSpins) {
  SteppingEnv env;
  env.step_ns = 0;
  SpinPolicy policy(env);
  const MonotonicNs before = env.now;
  env.step_ns = 1;
  for (int i = 0; i < 64; ++i) EXPECT_EQ(policy.step(), SpinStep::kSpin);
  EXPECT_LE(env.now - before, 8u);
}

TEST(SpinPolicy, ALongYieldEndsYieldingForAWhile) {
  SteppingEnv env;
  SpinPolicy policy(env);
  env.step_ns = 60'000;
  EXPECT_EQ(wait_once(policy).yields, 0) << "spinning alone took longer than the limit";
  env.step_ns = 100;
  policy.restart();
  while (policy.step() != SpinStep::kYield) {}
  env.step_ns = 60'000;  // the next yield takes this long
  EXPECT_EQ(policy.step(), SpinStep::kYield);
  EXPECT_EQ(policy.step(), SpinStep::kSleep);
  env.step_ns = 100;
  EXPECT_EQ(wait_once(policy).yields, 0);
  env.now += 10'000'000;
  EXPECT_GT(wait_once(policy).yields, 0);
}

/// One wait whose first yield takes long.
void disturbed_wait(SteppingEnv& env, SpinPolicy& policy) {
  env.step_ns = 1'100;  // the spin phase ends at the second look
  policy.restart();
  SpinStep step = SpinStep::kSpin;
  while ((step = policy.step()) == SpinStep::kSpin) {
    if (env.step_ns == 1'100) env.step_ns = 1'100;
  }
  ASSERT_EQ(step, SpinStep::kYield);
}

TEST(SpinPolicy, ThePauseDoublesUpToASecondWhileItLasts) {
  SteppingEnv env;
  SpinLimits limits;
  limits.long_yield_ns = 1'000;  // so that every yield is a long one
  SpinPolicy policy(env, limits);
  std::uint64_t expected = 10'000'000;
  for (int round = 0; round < 10; ++round) {
    disturbed_wait(env, policy);
    const MonotonicNs end = env.now + expected;
    env.now = end - 1'000'000;
    EXPECT_EQ(wait_once(policy).yields, 0) << round;
    env.now = end;
    expected = std::min<std::uint64_t>(2 * expected, 1'000'000'000);
  }
}

TEST(SpinPolicy, AShortYieldForgetsTheDoubling) {
  SteppingEnv env;
  SpinLimits limits;
  limits.long_yield_ns = 1'000;
  SpinPolicy policy(env, limits);
  for (int round = 0; round < 3; ++round) {
    disturbed_wait(env, policy);
    env.now += 1'000'000'000;
  }
  env.step_ns = 100;
  EXPECT_GT(wait_once(policy).yields, 1);
  disturbed_wait(env, policy);
  env.now += 10'000'000;
  env.step_ns = 100;
  EXPECT_GT(wait_once(policy).yields, 0) << "the shortest pause again";
}

}  // namespace
}  // namespace echelon
