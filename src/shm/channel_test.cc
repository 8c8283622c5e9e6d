// SPDX-License-Identifier: Apache-2.0
#include "shm/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "base/syscall.h"

namespace echelon {
namespace {

using ::testing::HasSubstr;

constexpr Uid kUid{0x1234};

BuildIdBytes build_id(int value) {
  BuildIdBytes id{};
  id.fill(std::byte(value));
  return id;
}

class Channel : public ::testing::Test {
 protected:
  ChannelParent parent_ = ChannelParent::create(kUid, build_id(1)).value();
  ChannelChild child_ =
      ChannelChild::open(duplicate_fd(parent_.fd()).value(), kUid, build_id(1)).value();
};

TEST_F(Channel, EachRingLeadsToTheOtherSide) {
  RingFrame frame;
  FrameHeader header;
  header.kind = FrameKind::kOrchTask;
  ASSERT_EQ(parent_.tasks.try_push(header), PushResult::kPushed);
  EXPECT_EQ(child_.tasks.try_peek(frame), PeekResult::kFrame);
  header.kind = FrameKind::kCompletion;
  ASSERT_EQ(child_.completions.try_push(header), PushResult::kPushed);
  EXPECT_EQ(parent_.completions.try_peek(frame), PeekResult::kFrame);
  header.kind = FrameKind::kPing;
  ASSERT_EQ(parent_.control_down.try_push(header), PushResult::kPushed);
  EXPECT_EQ(child_.control_down.try_peek(frame), PeekResult::kFrame);
  header.kind = FrameKind::kPong;
  ASSERT_EQ(child_.control_up.try_push(header), PushResult::kPushed);
  EXPECT_EQ(parent_.control_up.try_peek(frame), PeekResult::kFrame);
}

TEST_F(Channel, AFullWindowOfTheLargestCompletionsFits) {
  FrameHeader header;
  header.kind = FrameKind::kCompletion;
  const std::vector<std::byte> body(kCompletionBodyMax);
  RingFrame frame;
  for (int lap = 0; lap < 10; ++lap) {
    for (std::size_t i = 0; i < kWindowMax; ++i) {
      ASSERT_EQ(child_.completions.try_push(header, body), PushResult::kPushed) << lap << i;
    }
    for (std::size_t i = 0; i < kWindowMax; ++i) {
      ASSERT_EQ(parent_.completions.try_peek(frame), PeekResult::kFrame);
      parent_.completions.pop();
    }
  }
}

TEST_F(Channel, StateAndPhaseReachTheParent) {
  EXPECT_EQ(parent_.state(), ChildState::kBooting);
  child_.set_state(ChildState::kStarting, "opening the device");
  EXPECT_EQ(parent_.state(), ChildState::kStarting);
  EXPECT_EQ(parent_.phase(), "opening the device");
}

TEST_F(Channel, APhaseIsCutAndMadePrintable) {
  child_.set_state(ChildState::kStarting, std::string(500, '\x01'));
  EXPECT_EQ(parent_.phase(), std::string(kPhaseBytesMax, '?'));
}

TEST_F(Channel, AnImpossibleStateIsAFailure) {
  const_cast<std::atomic<std::uint32_t>&>(parent_.state_word()).store(99);
  EXPECT_EQ(parent_.state(), ChildState::kFailed);
}

TEST_F(Channel, TheFirstLastWordsStay) {
  EXPECT_EQ(parent_.last_words(), "");
  child_.write_last_words("it hurts");
  child_.write_last_words("something else");
  EXPECT_EQ(parent_.last_words(), "it hurts");
}

TEST_F(Channel, LastWordsAreCut) {
  child_.write_last_words(std::string(10000, 'x'));
  EXPECT_EQ(parent_.last_words().size(), kLastWordsBytesMax);
}

TEST_F(Channel, CountersAddUp) {
  child_.count_task(false, 10, 20, 30);
  child_.count_task(true, 1, 2, 3);
  const ChannelCounters counters = parent_.counters();
  EXPECT_EQ(counters.tasks_done, 1u);
  EXPECT_EQ(counters.tasks_failed, 1u);
  EXPECT_EQ(counters.busy_ns, 11u);
  EXPECT_EQ(counters.bytes_in, 22u);
  EXPECT_EQ(counters.bytes_out, 33u);
}

TEST_F(Channel, LivenessIsTheSameMemoryOnBothSides) {
  child_.liveness()[0] = std::byte{7};
  EXPECT_EQ(parent_.liveness()[0], std::byte{7});
}

TEST_F(Channel, TheExecutorsSleepEndsWithTheParentsRing) {
  std::thread executor([this] {
    while (!child_.tasks.pending()) {
      child_.executor.sleep([this] { return child_.tasks.pending(); }, 0);
    }
  });
  FrameHeader header;
  header.kind = FrameKind::kSubTask;
  ASSERT_EQ(parent_.tasks.try_push(header), PushResult::kPushed);
  parent_.executor.ring();
  executor.join();
}

TEST_F(Channel, AnotherBuildIsRefusedByName) {
  const auto other =
      ChannelChild::open(duplicate_fd(parent_.fd()).value(), kUid, build_id(2)).status();
  EXPECT_THAT(other.to_string(), HasSubstr("another build"));
}

TEST_F(Channel, AnotherChildsIsRefused) {
  const auto other =
      ChannelChild::open(duplicate_fd(parent_.fd()).value(), Uid{5}, build_id(1)).status();
  EXPECT_THAT(other.to_string(), HasSubstr("another child's"));
}

TEST(ChannelOpen, WhatIsNoChannelIsRefused) {
  const Segment segment = Segment::create("test", sizeof(ChannelData), {}).value();
  const auto status =
      ChannelChild::open(duplicate_fd(segment.fd()).value(), kUid, build_id(1)).status();
  EXPECT_THAT(status.to_string(), HasSubstr("it is no channel"));
}

TEST(ChannelOpen, AShortOneIsRefused) {
  const Segment segment = Segment::create("test", 4096, {}).value();
  const auto status =
      ChannelChild::open(duplicate_fd(segment.fd()).value(), kUid, build_id(1)).status();
  EXPECT_EQ(status.reason(), Reason::kBadFrame);
}

}  // namespace
}  // namespace echelon
