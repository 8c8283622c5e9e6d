// SPDX-License-Identifier: Apache-2.0
//
// TSan sees nothing between processes: both ends run here as threads over one mapping.
#include "shm/ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "base/mapping.h"

namespace echelon {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kBytes = 4096;

/// A ring between two pages that cannot be touched: an access outside it ends the test.
class GuardedRing {
 public:
  GuardedRing() : page_(page_bytes()) {
    void* at = ::mmap(nullptr, kBytes + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    whole_ = static_cast<std::byte*>(at);
    ::mprotect(whole_ + page_, kBytes, PROT_READ | PROT_WRITE);
  }
  ~GuardedRing() { ::munmap(whole_, kBytes + 2 * page_); }
  GuardedRing(const GuardedRing&) = delete;
  GuardedRing& operator=(const GuardedRing&) = delete;

  RingMemory memory() { return {&position_, {whole_ + page_, kBytes}}; }
  std::byte* bytes() { return whole_ + page_; }
  RingPositionData& position() { return position_; }

  /// What a peer could write.
  void forge(std::size_t at, std::uint32_t sequence, std::uint32_t bytes_of_body, int kind,
             std::uint16_t flags = 0) {
    auto& frame = *reinterpret_cast<FrameData*>(bytes() + at);
    frame.bytes = bytes_of_body;
    frame.kind = static_cast<std::uint16_t>(kind);
    frame.flags = flags;
    frame.stamp.store(sequence, std::memory_order_seq_cst);  // pairs with RingConsumer::try_peek
  }

 private:
  std::size_t page_;
  std::byte* whole_ = nullptr;
  RingPositionData position_{};
};

class Ring : public ::testing::Test {
 protected:
  GuardedRing ring_;
  RingProducer producer_{ring_.memory()};
  RingConsumer consumer_{ring_.memory(), RingUse::kTasks};
  RingFrame frame_;

  PushResult push(std::uint64_t task, std::size_t body_bytes = 0) {
    const std::vector<std::byte> body(body_bytes, std::byte(task & 0xFF));
    return producer_.try_push(header(task), body);
  }
  static FrameHeader header(std::uint64_t task) {
    FrameHeader header;
    header.kind = FrameKind::kSubTask;
    header.task = task;
    return header;
  }
  void expect_bad(std::string_view what) {
    EXPECT_TRUE(consumer_.pending());
    EXPECT_EQ(consumer_.try_peek(frame_), PeekResult::kBad);
    EXPECT_EQ(consumer_.error().reason(), Reason::kBadFrame);
    EXPECT_THAT(consumer_.error().to_string(), HasSubstr(std::string(what)));
    EXPECT_EQ(consumer_.try_peek(frame_), PeekResult::kBad) << "a poisoned ring stays so";
  }
};

TEST_F(Ring, EmptyAnswersEmpty) {
  EXPECT_FALSE(consumer_.pending());
  EXPECT_EQ(consumer_.try_peek(frame_), PeekResult::kEmpty);
}

TEST_F(Ring, EveryFieldArrives) {
  FrameHeader sent = header(0x123456789ABCDEF0);
  sent.kind = FrameKind::kChipTask;
  sent.flags = kFlagSpill;
  sent.slot = 77;
  sent.deadline = 88;
  const std::vector<std::byte> first(3, std::byte{1});
  const std::vector<std::byte> second(2, std::byte{2});
  FramePlace place;
  ASSERT_EQ(producer_.try_push(sent, first, second, place), PushResult::kPushed);
  ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kFrame);
  EXPECT_EQ(frame_.header.bytes, 5u);
  EXPECT_EQ(frame_.header.kind, FrameKind::kChipTask);
  EXPECT_EQ(frame_.header.flags, kFlagSpill);
  EXPECT_EQ(frame_.header.task, 0x123456789ABCDEF0u);
  EXPECT_EQ(frame_.header.slot, 77u);
  EXPECT_EQ(frame_.header.deadline, 88u);
  EXPECT_EQ(frame_.body[2], std::byte{1});
  EXPECT_EQ(frame_.body[3], std::byte{2});
}

TEST_F(Ring, PeekingTwiceShowsTheSameFrame) {
  push(1);
  push(2);
  consumer_.try_peek(frame_);
  ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kFrame);
  EXPECT_EQ(frame_.header.task, 1u);
}

TEST_F(Ring, FullIsNoRoomUntilOneIsPassed) {
  std::size_t pushed = 0;
  while (push(pushed) == PushResult::kPushed) ++pushed;
  EXPECT_EQ(pushed, kBytes / kFrameAlign - 1);
  ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kFrame);
  consumer_.pop();
  EXPECT_EQ(push(99), PushResult::kPushed);
  EXPECT_EQ(push(99), PushResult::kNoRoom);
}

TEST_F(Ring, TheLargestBodyFitsAnywhere) {
  const std::size_t largest = producer_.body_bytes_max();
  for (std::uint64_t round = 0; round < 200; ++round) {
    ASSERT_EQ(push(round, largest), PushResult::kPushed) << round;
    ASSERT_EQ(push(round, round % 70), PushResult::kPushed) << round;
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kFrame) << round;
      consumer_.pop();
    }
  }
  EXPECT_TRUE(producer_.drained());
}

TEST_F(Ring, AStaleBodyIsNoFrame) {
  // bodies full of the stamps to come, one lap before they come
  std::vector<std::uint32_t> body(6);
  for (std::uint32_t round = 0; round < 500; ++round) {
    std::fill(body.begin(), body.end(), round + 2 + round / 13);
    ASSERT_EQ(producer_.try_push(header(round), std::as_bytes(std::span(body))),
              PushResult::kPushed);
    ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kFrame);
    consumer_.pop();
    ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kEmpty) << round;
  }
}

TEST_F(Ring, ARecalledFrameIsNotTaken) {
  FramePlace place;
  ASSERT_EQ(producer_.try_push(header(1), {}, {}, place), PushResult::kPushed);
  EXPECT_EQ(producer_.claim_of(place), Claim::kQueued);
  EXPECT_TRUE(producer_.try_recall(place));
  EXPECT_FALSE(producer_.try_recall(place));
  ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kFrame);
  EXPECT_FALSE(consumer_.claim_taken());
}

TEST_F(Ring, ATakenFrameIsNotRecalled) {
  FramePlace place;
  ASSERT_EQ(producer_.try_push(header(1), {}, {}, place), PushResult::kPushed);
  consumer_.try_peek(frame_);
  EXPECT_TRUE(consumer_.claim_taken());
  EXPECT_EQ(producer_.claim_of(place), Claim::kTaken);
  EXPECT_FALSE(producer_.try_recall(place));
}

TEST_F(Ring, APassedFrameIsNotRecalledEvenWhenItsPlaceIsUsedAgain) {
  FramePlace place;
  ASSERT_EQ(producer_.try_push(header(1), {}, {}, place), PushResult::kPushed);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kFrame);
    consumer_.claim_taken();
    consumer_.pop();
    ASSERT_EQ(push(2), PushResult::kPushed);
    ASSERT_FALSE(producer_.try_recall(place));
  }
}

// --- what a peer may write
// --------------------------------------------------------------------------

TEST_F(Ring, AKindOfAnotherRingIsBad) {
  ring_.forge(0, 1, 0, static_cast<int>(FrameKind::kCompletion));
  expect_bad("kind 16 does not belong here");
}

TEST_F(Ring, AnUnknownKindIsBad) {
  ring_.forge(0, 1, 0, 999);
  expect_bad("kind 999");
}

TEST_F(Ring, UnknownFlagsAreBad) {
  ring_.forge(0, 1, 0, static_cast<int>(FrameKind::kSubTask), 0x8000);
  expect_bad("unknown flags");
}

TEST_F(Ring, AnOversizeBodyIsBad) {
  ring_.forge(0, 1, 0xFFFFFFFF, static_cast<int>(FrameKind::kSubTask));
  expect_bad("4294967295 bytes of body");
}

TEST_F(Ring, AReplayedFrameIsBad) {
  push(1);
  consumer_.try_peek(frame_);
  consumer_.pop();
  ring_.forge(64, 1, 0, static_cast<int>(FrameKind::kSubTask));
  expect_bad("sequence number 1 where 2 was due");
}

TEST_F(Ring, AFrameBeyondTheEndIsBad) {
  while (consumer_.consumed_bytes() < kBytes - kFrameAlign) {
    ASSERT_EQ(push(1), PushResult::kPushed);
    ASSERT_EQ(consumer_.try_peek(frame_), PeekResult::kFrame);
    consumer_.pop();
  }
  ring_.forge(kBytes - kFrameAlign, kBytes / kFrameAlign, 100,
              static_cast<int>(FrameKind::kSubTask));
  expect_bad("before the end of the ring");
}

TEST_F(Ring, ASkipFrameThatEndsEarlyIsBad) {
  ring_.forge(0, 1, 0, static_cast<int>(FrameKind::kSkip));
  expect_bad("a skip frame of 64 bytes");
}

TEST_F(Ring, AnImpossiblePositionBreaksTheProducer) {
  for (const std::uint64_t position : {std::uint64_t{1}, ~std::uint64_t{63}}) {
    ring_.position().consumed.store(position, std::memory_order_relaxed);
    PushResult result = PushResult::kPushed;
    while (result == PushResult::kPushed) result = push(1);
    EXPECT_EQ(result, PushResult::kBroken) << position;
  }
}

TEST_F(Ring, APositionThatGoesBackBreaksTheProducer) {
  push(1);
  consumer_.try_peek(frame_);
  consumer_.pop();
  ASSERT_TRUE(producer_.drained());
  ring_.position().consumed.store(0, std::memory_order_relaxed);
  PushResult result = PushResult::kPushed;
  while (result == PushResult::kPushed) result = push(1);
  EXPECT_EQ(result, PushResult::kBroken);
}

TEST_F(Ring, RandomBytesNeverLeadOutOfTheRing) {
  std::mt19937_64 random(20240607);
  for (int round = 0; round < 3000; ++round) {
    RingConsumer consumer(ring_.memory(), static_cast<RingUse>(random() % 4));
    for (std::size_t i = 0; i < kBytes; i += 8) {
      const std::uint64_t value = random();
      std::memcpy(ring_.bytes() + i, &value, 8);
    }
    // frames that nearly pass: the sequence, and often the kind, are right
    for (std::size_t i = 0, sequence = 1; i < kBytes; i += kFrameAlign, ++sequence) {
      ring_.forge(i, static_cast<std::uint32_t>(sequence),
                  static_cast<std::uint32_t>(random() >> (32 + random() % 32)),
                  static_cast<int>(random() % 40), random() % 4 == 0 ? 0xFFFF : 0);
    }
    std::byte sum{};
    for (int peeks = 0; peeks < 100; ++peeks) {
      if (consumer.try_peek(frame_) != PeekResult::kFrame) break;
      for (const std::byte byte : frame_.body) sum ^= byte;
      consumer.claim_taken();
      consumer.pop();
    }
    ASSERT_LE(consumer.consumed_bytes() % kFrameAlign, 0u) << static_cast<int>(sum);
  }
}

// --- both ends at once
// ------------------------------------------------------------------------------

TEST_F(Ring, FramesArriveInOrderAndWholeWhileBothEndsRun) {
  constexpr std::uint64_t kFrames = 60'000;
  std::thread consumer([this] {
    RingFrame frame;
    for (std::uint64_t next = 0; next < kFrames;) {
      const PeekResult result = consumer_.try_peek(frame);
      if (result == PeekResult::kEmpty) {
        ::sched_yield();
        continue;
      }
      ASSERT_EQ(result, PeekResult::kFrame) << consumer_.error().to_string();
      ASSERT_EQ(frame.header.task, next);
      for (const std::byte byte : frame.body) ASSERT_EQ(byte, std::byte(next & 0xFF));
      consumer_.pop();
      ++next;
    }
  });
  std::mt19937 random(1);
  for (std::uint64_t task = 0; task < kFrames; ++task) {
    const std::size_t bytes = random() % 8 == 0 ? random() % producer_.body_bytes_max() : 16;
    while (push(task, bytes) == PushResult::kNoRoom) ::sched_yield();
  }
  consumer.join();
}

TEST_F(Ring, EveryFrameIsEitherTakenOrRecalled) {
  constexpr std::uint64_t kFrames = 60'000;
  std::vector<char> taken(kFrames, 0);
  std::thread consumer([&] {
    RingFrame frame;
    for (std::uint64_t passed = 0; passed < kFrames;) {
      if (consumer_.try_peek(frame) != PeekResult::kFrame) {
        ::sched_yield();
        continue;
      }
      if (consumer_.claim_taken()) taken[frame.header.task] = 1;
      consumer_.pop();
      ++passed;
    }
  });
  std::vector<char> recalled(kFrames, 0);
  for (std::uint64_t task = 0; task < kFrames; ++task) {
    FramePlace place;
    while (producer_.try_push(header(task), {}, {}, place) == PushResult::kNoRoom) ::sched_yield();
    if (task % 2 == 0) recalled[task] = producer_.try_recall(place) ? 1 : 0;
  }
  consumer.join();
  for (std::uint64_t task = 0; task < kFrames; ++task) {
    ASSERT_EQ(taken[task] + recalled[task], 1) << task;
  }
}

}  // namespace
}  // namespace echelon
