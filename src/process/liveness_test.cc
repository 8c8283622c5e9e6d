// SPDX-License-Identifier: Apache-2.0
#include "process/liveness.h"

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "base/syscall.h"

namespace echelon {
namespace {

// Shared with forked children.
class LivenessTest : public testing::Test {
 protected:
  void SetUp() override {
    void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(at, MAP_FAILED);
    data_ = static_cast<LivenessData*>(at);
    ASSERT_TRUE(init_liveness(*data_).ok());
  }
  void TearDown() override { ::munmap(data_, 4096); }

  LivenessData* data_ = nullptr;
};

TEST_F(LivenessTest, NotYetUntilItIsHeld) {
  LivenessWatch watch(*data_);
  EXPECT_EQ(watch.state(), LivenessState::kNotYet);
  EXPECT_EQ(watch.arm().state, LivenessState::kNotYet);
  EXPECT_EQ(watch.word().load(), 0u) << "the first owner must find the word zero";
}

TEST_F(LivenessTest, OwnerDiedAfterItsThreadEnded) {
  LivenessWatch watch(*data_);
  std::thread([this] { EXPECT_TRUE(hold_liveness(*data_).ok()); }).join();
  EXPECT_EQ(watch.state(), LivenessState::kOwnerDied);
  EXPECT_EQ(watch.arm().state, LivenessState::kOwnerDied);
}

TEST_F(LivenessTest, TheWordIsTheOwnersThreadId) {
  ASSERT_TRUE(hold_liveness(*data_).ok());
  const LivenessWatch watch(*data_);
  EXPECT_EQ(watch.state(), LivenessState::kAlive);
  EXPECT_EQ(watch.word().load() & FUTEX_TID_MASK, static_cast<std::uint32_t>(::gettid()));
}

TEST_F(LivenessTest, ASecondOwnerIsRefused) {
  std::thread([this] {
    ASSERT_TRUE(hold_liveness(*data_).ok());
    std::thread([this] { EXPECT_EQ(hold_liveness(*data_).reason(), Reason::kWrongState); }).join();
  }).join();
}

TEST_F(LivenessTest, AWordThatWasNotInitialisedIsRefused) {
  LivenessData zeroed{};
  EXPECT_EQ(hold_liveness(zeroed).reason(), Reason::kWrongState);
}

TEST_F(LivenessTest, AKilledOwnerWakesWhoArmed) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!hold_liveness(*data_).ok()) ::_exit(1);
    for (;;) ::pause();
  }
  LivenessWatch watch(*data_);
  while (watch.state() == LivenessState::kNotYet) ::sched_yield();
  const auto armed = watch.arm();
  ASSERT_EQ(armed.state, LivenessState::kAlive);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  while (watch.state() == LivenessState::kAlive) futex_wait(watch.word(), armed.expected, 0);
  EXPECT_EQ(watch.state(), LivenessState::kOwnerDied);
  ::waitpid(child, nullptr, 0);
}

TEST_F(LivenessTest, AnExitIsAnOwnersDeath) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(hold_liveness(*data_).ok() ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(LivenessWatch(*data_).state(), LivenessState::kOwnerDied);
}

TEST_F(LivenessTest, AForkedCopyOfTheOwnerHoldsNothing) {
  ASSERT_TRUE(hold_liveness(*data_).ok());
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(LivenessWatch(*data_).state(), LivenessState::kAlive);
}

}  // namespace
}  // namespace echelon
