// SPDX-License-Identifier: Apache-2.0
//
// Both ends of a channel as threads over one mapping, so that the sanitizers see them.
#include "process/task_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/error_codec.h"
#include "base/mapping.h"
#include "base/syscall.h"
#include "process/child_connection.h"
#include "process/test_tree.h"

namespace echelon {
namespace {

using testing::HasSubstr;

class Handler final : public TaskHandler {
 public:
  using Function = std::function<void(const TaskFrame&, ResultSink&)>;
  explicit Handler(Function function) : function_(std::move(function)) {}
  void run(const TaskFrame& task, ResultSink& sink) override { function_(task, sink); }
  void release_buffer(BufferId buffer) override { released.push_back(buffer.value); }
  std::vector<std::uint64_t> released;

 private:
  Function function_;
};

class TaskServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto parent = ChannelParent::create(Uid{1}, channel_build_id());
    ASSERT_TRUE(parent.ok());
    parent_ = std::move(parent).value();
    auto fd = duplicate_fd(parent_.fd());
    auto child = ChannelChild::open(std::move(fd).value(), Uid{1}, channel_build_id());
    ASSERT_TRUE(child.ok());
    child_ = std::move(child).value();
    auto sockets = create_socketpair();
    ASSERT_TRUE(sockets.ok());
    parent_edge_ = std::make_unique<TreeEdge>(std::move(sockets->first), Uid{2}, pools_);
    child_edge_ = std::make_unique<TreeEdge>(std::move(sockets->second), Uid{1}, pools_);
    server_ = std::make_unique<TaskServer>(TaskServer::Options{"root/sub0"}, child_, *child_edge_,
                                           doorbell_, env_);
  }
  void TearDown() override { stop(); }

  void serve(Handler::Function function) {
    handler_ = std::make_unique<Handler>(std::move(function));
    thread_ = std::thread([this] { served_ = server_->serve(*handler_); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    server_->stop();
    thread_.join();
  }

  FramePlace send(std::uint64_t task, std::span<const std::byte> body,
                  FrameKind kind = FrameKind::kSubTask, std::uint64_t deadline = 0) {
    FrameHeader header;
    header.kind = kind;
    header.task = task;
    header.slot = 4;
    header.deadline = deadline;
    FramePlace place;
    EXPECT_EQ(parent_.tasks.try_push(header, body, {}, place), PushResult::kPushed);
    parent_.executor.ring();
    return place;
  }

  struct Answer {
    FrameHeader header;
    std::vector<std::byte> body;
    ErrorInfo error;
  };
  Answer receive() {
    RingFrame frame;
    while (parent_.completions.try_peek(frame) != PeekResult::kFrame) {
      doorbell_.sleep_as_caller([this] { return parent_.completions.pending(); }, 0);
    }
    Answer answer{frame.header, {frame.body.begin(), frame.body.end()}, {}};
    if ((frame.header.flags & kFlagSpill) != 0) {
      auto spill = parent_edge_->take_spill(frame.body);
      EXPECT_TRUE(spill.ok()) << spill.status().to_string();
      answer.body.assign(spill->bytes().begin(), spill->bytes().end());
    }
    if ((frame.header.flags & kFlagError) != 0) {
      auto error = decode_error(answer.body);
      EXPECT_TRUE(error.ok());
      answer.error = std::move(error).value();
    }
    parent_.completions.pop();
    return answer;
  }

  SystemEnv env_;
  ChannelParent parent_;
  ChannelChild child_;
  WorkerPools pools_;
  std::unique_ptr<TreeEdge> parent_edge_, child_edge_;
  DoorbellData doorbell_data_{};
  Doorbell doorbell_{doorbell_data_};
  std::unique_ptr<TaskServer> server_;
  std::unique_ptr<Handler> handler_;
  std::thread thread_;
  Status served_;
};

TEST_F(TaskServerTest, ATaskArrivesWithAllItsFieldsAndIsAnsweredOnce) {
  serve([](const TaskFrame& task, ResultSink& sink) {
    EXPECT_EQ(task.task, TaskId{77});
    EXPECT_EQ(task.kind, TaskKind::kChip);
    EXPECT_EQ(task.slot, CallableSlot{4});
    EXPECT_EQ(task.body.scalars.at(0).bits, 5u);
    sink.result(task.body_bytes);
  });
  const auto body = test_body({5});
  send(77, body, FrameKind::kChipTask);
  const Answer answer = receive();
  EXPECT_EQ(answer.header.task, 77u);
  EXPECT_EQ(answer.header.flags, 0);
  EXPECT_EQ(answer.body, body);
  EXPECT_FALSE(parent_.completions.pending());
}

TEST_F(TaskServerTest, ManyTasksKeepTheirOrder) {
  serve([](const TaskFrame&, ResultSink&) {});
  const auto body = test_body();
  std::uint64_t sent = 0;
  for (std::uint64_t got = 1; got <= 2000; ++got) {
    while (sent < 2000 && sent < got + 15) send(++sent, body);
    EXPECT_EQ(receive().header.task, got);
  }
  EXPECT_EQ(server_->counters().tasks.load(), 2000u);
  EXPECT_EQ(parent_.counters().tasks_done, 2000u);
}

TEST_F(TaskServerTest, BytesAreThoseOfTheTensors) {
  serve([](const TaskFrame&, ResultSink& sink) { sink.result(std::vector<std::byte>(7)); });
  const std::int64_t shape[] = {3, 100};
  const TensorDesc tensor =
      make_contiguous(Uid{1}, BufferId{1}, Uid{1}, DType::kFloat32, shape, Access::kReadWrite);
  send(1, test_body(tensor, Tag::kInput));
  receive();
  EXPECT_EQ(parent_.counters().bytes_in, 1200u);
  EXPECT_EQ(parent_.counters().bytes_out, 0u);
  send(2, test_body(tensor, Tag::kOutput));
  receive();
  EXPECT_EQ(parent_.counters().bytes_in, 1200u);
  EXPECT_EQ(parent_.counters().bytes_out, 1200u);
  send(3, test_body(tensor, Tag::kInout));
  receive();
  EXPECT_EQ(parent_.counters().bytes_in, 2400u);
  EXPECT_EQ(parent_.counters().bytes_out, 2400u);
}

TEST_F(TaskServerTest, WhatEscapesAHandlerIsItsTasksError) {
  serve([](const TaskFrame&, ResultSink&) { throw std::runtime_error("broken"); });
  send(1, test_body());
  const Answer answer = receive();
  EXPECT_EQ(answer.error.cause, Cause::kException);
  EXPECT_THAT(answer.error.message, HasSubstr("broken"));
  EXPECT_EQ(answer.error.path, "root/sub0");
  EXPECT_GT(answer.error.pid, 0);
}

TEST_F(TaskServerTest, ADeadlineThatHasPassedIsAnsweredUnrun) {
  serve([](const TaskFrame&, ResultSink&) { ADD_FAILURE() << "must not run"; });
  send(1, test_body(), FrameKind::kSubTask, 1);
  const Answer answer = receive();
  EXPECT_EQ(answer.error.reason, Reason::kDeadline);
  EXPECT_EQ(answer.error.phase, Phase::kQueued);
}

TEST_F(TaskServerTest, ABodyThatIsNoneIsItsTasksErrorAlone) {
  serve([](const TaskFrame&, ResultSink&) {});
  const std::vector<std::byte> garbage(40, std::byte{0xFF});
  send(1, garbage);
  EXPECT_EQ(receive().error.reason, Reason::kBadFrame);
  send(2, test_body());
  EXPECT_EQ(receive().header.flags, 0);
}

TEST_F(TaskServerTest, ASpillThatNeverCameIsItsTasksErrorAlone) {
  serve([](const TaskFrame&, ResultSink&) {});
  FrameHeader header;
  header.kind = FrameKind::kSubTask;
  header.flags = kFlagSpill;
  header.task = 1;
  const SpillData spill{99, 1000};
  ASSERT_EQ(parent_.tasks.try_push(header, std::as_bytes(std::span(&spill, 1))),
            PushResult::kPushed);
  parent_.executor.ring();
  EXPECT_EQ(receive().error.reason, Reason::kBadFrame);
  send(2, test_body());
  EXPECT_EQ(receive().header.flags, 0);
}

TEST_F(TaskServerTest, LargeResultsAndErrorsSpill) {
  serve([](const TaskFrame& task, ResultSink& sink) {
    const std::string large(100'000, 'x');
    if (task.task.value == 1) return sink.result(std::as_bytes(std::span(large)));
    ErrorInfo info;
    info.message = large;
    sink.error(info);
  });
  send(1, test_body());
  EXPECT_EQ(receive().body.size(), 100'000u);
  send(2, test_body());
  EXPECT_EQ(receive().error.message.size(), 100'000u);
}

TEST_F(TaskServerTest, ARecalledTaskIsPassedOver) {
  const FramePlace place = send(1, test_body());
  EXPECT_TRUE(parent_.tasks.try_recall(place));
  serve([](const TaskFrame& task, ResultSink&) { EXPECT_EQ(task.task, TaskId{2}); });
  send(2, test_body());
  EXPECT_EQ(receive().header.task, 2u);
}

TEST_F(TaskServerTest, BuffersAreReleasedInOrderWithTheTasks) {
  serve([this](const TaskFrame& task, ResultSink&) {
    EXPECT_EQ(handler_->released.size(), task.task.value - 1);
  });
  const auto body = test_body();
  send(1, body);
  send(900, {}, FrameKind::kReleaseBuffer);
  send(2, body);
  EXPECT_EQ(receive().header.task, 1u);
  EXPECT_EQ(receive().header.task, 2u);
  stop();  // its memory is the server's thread's until then
  EXPECT_THAT(handler_->released, testing::ElementsAre(900u));
}

TEST_F(TaskServerTest, ACancelIsSeenByTheTaskThatRuns) {
  serve([](const TaskFrame& task, ResultSink&) {
    while (!task.cancelled()) ::sched_yield();
  });
  send(5, test_body());
  while (server_->running() != TaskId{5}) ::sched_yield();
  server_->request_cancel(TaskId{5});
  EXPECT_EQ(receive().header.task, 5u);
}

TEST_F(TaskServerTest, ABadFrameEndsServing) {
  for (const Spoil how : {Spoil::kGarbage, Spoil::kOversize}) {
    SetUp();
    auto raw = Mapping::map(parent_.fd(), sizeof(ChannelData), MapOptions{});
    ASSERT_TRUE(raw.ok());
    SpoilPlace place;
    place.ring = reinterpret_cast<ChannelData*>(raw->data())->task_ring;
    spoil_ring(how, FrameKind::kSubTask, place);
    serve([](const TaskFrame&, ResultSink&) { ADD_FAILURE() << "must not run"; });
    thread_.join();
    EXPECT_EQ(served_.reason(), Reason::kBadFrame);
  }
}

}  // namespace
}  // namespace echelon
