// SPDX-License-Identifier: Apache-2.0
#include "process/control_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "base/syscall.h"
#include "process/child_connection.h"

namespace echelon {
namespace {

struct Reply {
  FrameKind kind;
  std::uint64_t token;
  std::string body;
  friend bool operator==(const Reply&, const Reply&) = default;
};

class Recorder final : public ControlReplies {
 public:
  void reply(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) override {
    replies.push_back({kind, token, {reinterpret_cast<const char*>(body.data()), body.size()}});
  }
  std::vector<Reply> replies;
};

FrameHeader frame_of(FrameKind kind, std::uint64_t task) {
  FrameHeader header;
  header.kind = kind;
  header.task = task;
  return header;
}

TEST(ControlProtocolTest, APingIsRepeated) {
  ControlProtocol protocol({});
  Recorder out;
  EXPECT_TRUE(protocol.handle(frame_of(FrameKind::kPing, 7), {}, out).ok());
  EXPECT_THAT(out.replies, testing::ElementsAre(Reply{FrameKind::kPong, 7, ""}));
}

TEST(ControlProtocolTest, ACancelNamesItsTask) {
  TaskId cancelled;
  ControlProtocol protocol({.cancel = [&](TaskId task) { cancelled = task; }});
  Recorder out;
  EXPECT_TRUE(protocol.handle(frame_of(FrameKind::kCancel, 9), {}, out).ok());
  EXPECT_EQ(cancelled, TaskId{9});
  EXPECT_TRUE(out.replies.empty());
}

TEST(ControlProtocolTest, StatisticsAndStacksAreAnswered) {
  ControlProtocol protocol({.stats = [] { return std::vector<std::byte>{std::byte{'s'}}; },
                            .stack = [] { return "x"; }});
  Recorder out;
  EXPECT_TRUE(protocol.handle(frame_of(FrameKind::kStatsRequest, 1), {}, out).ok());
  EXPECT_TRUE(protocol.handle(frame_of(FrameKind::kStackRequest, 2), {}, out).ok());
  EXPECT_THAT(out.replies, testing::ElementsAre(Reply{FrameKind::kStatsReply, 1, "s"},
                                                Reply{FrameKind::kStackReply, 2, "x"}));
}

TEST(ControlProtocolTest, WithoutAHookTheAnswerIsEmpty) {
  ControlProtocol protocol({});
  Recorder out;
  EXPECT_TRUE(protocol.handle(frame_of(FrameKind::kStatsRequest, 1), {}, out).ok());
  EXPECT_THAT(out.replies, testing::ElementsAre(Reply{FrameKind::kStatsReply, 1, ""}));
}

TEST(ControlProtocolTest, OtherKindsAndBodiesAreRefused) {
  ControlProtocol protocol({});
  Recorder out;
  const std::byte body{1};
  EXPECT_EQ(protocol.handle(frame_of(FrameKind::kSubTask, 1), {}, out).reason(), Reason::kBadFrame);
  EXPECT_EQ(protocol.handle(frame_of(FrameKind::kPing, 1), {&body, 1}, out).reason(),
            Reason::kBadFrame);
  EXPECT_TRUE(out.replies.empty());
}

// Both ends of a channel in one process.
class ControlServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto parent = ChannelParent::create(Uid{1}, channel_build_id());
    ASSERT_TRUE(parent.ok());
    parent_ = std::move(parent).value();
    auto fd = duplicate_fd(parent_.fd());
    ASSERT_TRUE(fd.ok());
    auto child = ChannelChild::open(std::move(fd).value(), Uid{1}, channel_build_id());
    ASSERT_TRUE(child.ok());
    child_ = std::move(child).value();
  }

  void send(FrameKind kind, std::uint64_t task) {
    ASSERT_EQ(parent_.control_down.try_push(frame_of(kind, task)), PushResult::kPushed);
    parent_.control.ring();
  }
  bool receive(RingFrame& frame) {
    if (parent_.control_up.try_peek(frame) != PeekResult::kFrame) return false;
    parent_.control_up.pop();
    return true;
  }

  ChannelParent parent_;
  ChannelChild child_;
  DoorbellData doorbell_data_{};
  Doorbell doorbell_{doorbell_data_};
};

TEST_F(ControlServerTest, AnswersOverTheRings) {
  ControlServer server(child_, doorbell_, {});
  send(FrameKind::kPing, 3);
  EXPECT_TRUE(server.pending());
  EXPECT_TRUE(server.poll().ok());
  EXPECT_FALSE(server.pending());
  RingFrame frame;
  ASSERT_TRUE(receive(frame));
  EXPECT_EQ(frame.header.kind, FrameKind::kPong);
  EXPECT_EQ(frame.header.task, 3u);
}

TEST_F(ControlServerTest, ABadFrameEndsItOnce) {
  ControlServer server(child_, doorbell_, {});
  FrameHeader header = frame_of(FrameKind::kPing, 3);
  const std::byte body{1};
  ASSERT_EQ(parent_.control_down.try_push(header, {&body, 1}), PushResult::kPushed);
  EXPECT_EQ(server.poll().reason(), Reason::kBadFrame);
  EXPECT_TRUE(server.poll().ok());
  EXPECT_FALSE(server.pending());
}

TEST_F(ControlServerTest, AnAnswerLargerThanAFrameIsCut) {
  ControlServer server(child_, doorbell_, {.stack = [] { return std::string(100'000, 's'); }});
  send(FrameKind::kStackRequest, 0);
  EXPECT_TRUE(server.poll().ok());
  RingFrame frame;
  ASSERT_TRUE(receive(frame));
  EXPECT_EQ(frame.body.size(), frame_body_max(kRingBytes));
}

TEST_F(ControlServerTest, AParentThatReadsNothingDoesNotStopIt) {
  ControlServer server(child_, doorbell_, {.stack = [] { return std::string(10'000, 's'); }});
  for (int i = 0; i < 20; ++i) {
    send(FrameKind::kStackRequest, 0);
    EXPECT_TRUE(server.poll().ok());
  }
}

TEST_F(ControlServerTest, AThreadAnswersWhileItsExecutorIsBusy) {
  ControlServer server(child_, doorbell_, {});
  const ControlThread thread(server, child_, ::getppid());
  for (std::uint64_t i = 1; i <= 100; ++i) {
    send(FrameKind::kPing, i);
    RingFrame frame;
    while (!receive(frame)) ::sched_yield();
    EXPECT_EQ(frame.header.task, i);
  }
}

TEST_F(ControlServerTest, AThreadThatWorksLeavesTheRingToTheOther) {
  std::promise<void> begun;
  std::promise<void> end;
  std::promise<void> ended;
  const auto jobs = std::make_shared<RegistrarJobs>();
  ControlServer server(child_, doorbell_, {});
  const ControlThread thread(server, child_, ::getppid(), jobs);
  jobs->post([&]() -> RegistrarJobs::Finish {
    begun.set_value();
    end.get_future().wait();
    return [&ended] {
      ended.set_value();
      return true;
    };
  });
  begun.get_future().wait();
  for (std::uint64_t i = 1; i <= 100; ++i) {
    send(FrameKind::kPing, i);
    RingFrame frame;
    while (!receive(frame)) ::sched_yield();
    EXPECT_EQ(frame.header.task, i);
  }
  end.set_value();
  ended.get_future().wait();
}

/// Both threads sleep on one word.
TEST_F(ControlServerTest, NeitherJobsNorFramesAreLostBetweenTheThreads) {
  std::atomic<std::uint64_t> done{0};
  const auto jobs = std::make_shared<RegistrarJobs>();
  ControlServer server(child_, doorbell_, {});
  const ControlThread thread(server, child_, ::getppid(), jobs);
  for (std::uint64_t i = 1; i <= 2'000; ++i) {
    jobs->post([&]() -> RegistrarJobs::Finish {
      return [&] {
        ++done;
        return true;
      };
    });
    send(FrameKind::kPing, i);
    RingFrame frame;
    while (!receive(frame)) ::sched_yield();
    EXPECT_EQ(frame.header.task, i);
    while (done.load() < i) ::sched_yield();
  }
}

}  // namespace
}  // namespace echelon
