// SPDX-License-Identifier: Apache-2.0
#include <conformance/endpoint_conformance.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "process/test_tree.h"
#include "shm/task_body.h"

namespace echelon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr MonotonicNs kWatchdogNs = 30'000'000'000;

class EndpointConformance : public testing::TestWithParam<RigKind>, public EndpointEvents {
 protected:
  struct End {
    Status status;
    std::string result;
    int times = 0;
  };

  void SetUp() override { rig_ = GetParam().make(*this); }
  void TearDown() override { rig_.reset(); }  // it reports its end to this object

  DispatchResult try_send(std::uint64_t id, TestTask what, std::span<const std::byte> body) {
    Dispatch dispatch;
    dispatch.task = TaskId{id};
    dispatch.slot = CallableSlot{static_cast<std::uint32_t>(what)};
    dispatch.body = body;
    return rig_->endpoint().try_dispatch(dispatch);
  }
  DispatchResult try_send(std::uint64_t id, TestTask what,
                          std::initializer_list<std::uint64_t> scalars = {}) {
    const auto body = test_body(scalars);
    return try_send(id, what, body);
  }
  void send(std::uint64_t id, TestTask what, std::initializer_list<std::uint64_t> scalars = {}) {
    ASSERT_EQ(try_send(id, what, scalars), DispatchResult::kSent) << id;
  }
  bool pump_until(const std::function<bool()>& condition) {
    SystemEnv clock;
    const MonotonicNs end = clock.now_ns() + kWatchdogNs;
    while (!condition()) {
      if (clock.now_ns() > end) return false;
      rig_->pump();
    }
    return true;
  }
  bool wait_for(std::uint64_t id) {
    return pump_until([&] { return ends_.contains(id); });
  }
  bool wait_until_taken(std::uint64_t id) {
    return pump_until([&] { return rig_->endpoint().progress(TaskId{id}) == Progress::kTaken; });
  }
  bool wait_until_gone() {
    return pump_until([&] { return gone_ != 0; });
  }
  Endpoint& endpoint() { return rig_->endpoint(); }

  void on_completion(ChildIndex child, const Completion& completion) override {
    EXPECT_EQ(child, ChildIndex{0});
    EXPECT_EQ(down_, 0) << "nothing completes after down";
    End& end = ends_[completion.task.value];
    end.status = completion.status;
    end.result.assign(reinterpret_cast<const char*>(completion.result.data()),
                      completion.result.size());
    ++end.times;
    order_.push_back(completion.task.value);
    if (then_) std::exchange(then_, nullptr)();
  }
  void on_down(ChildIndex, const Status& why) override {
    ++down_;
    why_ = why;
    for (const std::uint64_t id : ask_when_down_) {
      progress_when_down_.push_back(endpoint().progress(TaskId{id}));
    }
  }
  void on_gone(ChildIndex) override {
    EXPECT_EQ(down_, 1) << "down comes before gone";
    ++gone_;
  }

  std::unique_ptr<EndpointRig> rig_;
  std::map<std::uint64_t, End> ends_;
  std::vector<std::uint64_t> order_;
  std::function<void()> then_;  // within the next completion
  int down_ = 0, gone_ = 0;
  Status why_;
  std::vector<std::uint64_t> ask_when_down_;
  std::vector<Progress> progress_when_down_;
};

// --- dispatch
// -------------------------------------------------------------------------------------

TEST_P(EndpointConformance, ATaskIsDoneOnceWithItsResult) {
  const auto body = test_body({1, 2, 3});
  ASSERT_EQ(try_send(5, TestTask::kEcho, body), DispatchResult::kSent);
  ASSERT_TRUE(wait_for(5));
  for (int i = 0; i < 3; ++i) rig_->pump();
  EXPECT_EQ(ends_[5].times, 1);
  EXPECT_TRUE(ends_[5].status.ok());
  EXPECT_EQ(ends_[5].result, std::string(reinterpret_cast<const char*>(body.data()), body.size()));
}

TEST_P(EndpointConformance, AnEmptyResultIsEmpty) {
  send(1, TestTask::kEmpty);
  ASSERT_TRUE(wait_for(1));
  EXPECT_EQ(ends_[1].result, "");
}

TEST_P(EndpointConformance, AWholeWindowIsInFlightAtOnceAndInOrder) {
  ASSERT_GE(rig_->window(), 16u);
  std::vector<std::uint64_t> expected;
  for (std::uint64_t id = 1; id <= rig_->window(); ++id) {
    send(id, TestTask::kEmpty);
    expected.push_back(id);
  }
  ASSERT_TRUE(wait_for(rig_->window()));
  EXPECT_EQ(order_, expected);
}

TEST_P(EndpointConformance, BeyondItsWindowThereIsNoRoomUntilSomethingCompletes) {
  send(1, TestTask::kUntilCancelled);
  for (std::uint64_t id = 2; id <= rig_->window(); ++id) send(id, TestTask::kEmpty);
  EXPECT_EQ(try_send(100, TestTask::kEmpty), DispatchResult::kNoRoom);
  ASSERT_TRUE(wait_until_taken(1));
  endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(wait_for(1));
  EXPECT_EQ(try_send(100, TestTask::kEmpty), DispatchResult::kSent);
  EXPECT_TRUE(wait_for(100));
}

TEST_P(EndpointConformance, ManyTasksPassThroughASmallWindow) {
  constexpr std::uint64_t kTasks = 5000;
  std::uint64_t sent = 0;
  ASSERT_TRUE(pump_until([&] {
    while (sent < kTasks && try_send(sent + 1, TestTask::kEmpty) == DispatchResult::kSent) ++sent;
    return ends_.size() == kTasks;
  }));
  EXPECT_TRUE(std::is_sorted(order_.begin(), order_.end()));
}

TEST_P(EndpointConformance, ACompletionMayDispatchTheNext) {
  then_ = [this] { send(2, TestTask::kEmpty); };
  send(1, TestTask::kEmpty);
  EXPECT_TRUE(wait_for(2));
}

TEST_P(EndpointConformance, LargeArgumentsAndResultsArriveWhole) {
  // Up to and across the size that still fits into a ring, and far beyond.
  std::uint64_t id = 0;
  for (const std::size_t scalars : {1u, 60u}) {
    for (const std::size_t extra : {0u, 10'000u, 16'000u}) {
      std::vector<ScalarValue> values(scalars, ScalarValue{DType::kUInt64, 7});
      CallConfig config;
      if (extra != 0) config.values["key"] = std::string(extra, 'v');
      std::vector<std::byte> body(task_body_bytes({}, values, &config));
      encode_task_body({}, values, &config, body);
      ASSERT_EQ(try_send(++id, TestTask::kEcho, body), DispatchResult::kSent);
      ASSERT_TRUE(wait_for(id));
      EXPECT_TRUE(ends_[id].status.ok()) << ends_[id].status.to_string();
      EXPECT_EQ(ends_[id].result,
                std::string(reinterpret_cast<const char*>(body.data()), body.size()));
    }
  }
}

TEST_P(EndpointConformance, ResultsOfEverySizeArriveWhole) {
  std::uint64_t id = 0;
  for (const std::uint64_t bytes : {1u, 2'900u, 3'000u, 3'032u, 3'033u, 4'096u, 1'000'000u}) {
    send(++id, TestTask::kBigResult, {bytes});
    ASSERT_TRUE(wait_for(id));
    EXPECT_EQ(ends_[id].result, std::string(bytes, 'r'));
  }
}

TEST_P(EndpointConformance, AWindowOfLargeResultsNeedsNoReaderInBetween) {
  for (std::uint64_t id = 1; id <= rig_->window(); ++id) send(id, TestTask::kBigResult, {2'900});
  ASSERT_TRUE(wait_for(rig_->window()));
  EXPECT_EQ(ends_.size(), rig_->window());
}

// --- errors
// ---------------------------------------------------------------------------------------

TEST_P(EndpointConformance, AnErrorIsItsTasksAlone) {
  send(1, TestTask::kEmpty);
  send(2, TestTask::kFail);
  send(3, TestTask::kEmpty);
  ASSERT_TRUE(wait_for(3));
  EXPECT_TRUE(ends_[1].status.ok());
  EXPECT_EQ(ends_[2].status.reason(), Reason::kBadArgument);
  EXPECT_EQ(ends_[2].status.info().message, "refused on purpose");
  EXPECT_TRUE(ends_[3].status.ok());
}

TEST_P(EndpointConformance, ALongErrorArrivesWhole) {
  send(1, TestTask::kBigError, {100'000});
  ASSERT_TRUE(wait_for(1));
  EXPECT_EQ(ends_[1].status.info().message, std::string(100'000, 'e'));
}

// --- recall and cancel
// ----------------------------------------------------------------------------

TEST_P(EndpointConformance, AQueuedTaskCanBeTakenBackAndNeverCompletes) {
  send(1, TestTask::kUntilCancelled);
  send(2, TestTask::kEmpty);
  send(3, TestTask::kEmpty);
  ASSERT_TRUE(wait_until_taken(1));
  EXPECT_EQ(endpoint().progress(TaskId{2}), Progress::kQueued);
  EXPECT_TRUE(endpoint().try_recall(TaskId{2}));
  EXPECT_FALSE(endpoint().try_recall(TaskId{2}));
  endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(wait_for(3));
  EXPECT_THAT(order_, ElementsAre(1, 3));
}

TEST_P(EndpointConformance, ARecalledTaskGivesItsRoomBackAndMayBeSentAgain) {
  send(1, TestTask::kUntilCancelled);
  for (std::uint64_t id = 2; id <= rig_->window(); ++id) send(id, TestTask::kEmpty);
  ASSERT_TRUE(wait_until_taken(1));
  ASSERT_TRUE(endpoint().try_recall(TaskId{2}));
  send(2, TestTask::kEmpty);
  endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(wait_for(2));
  EXPECT_EQ(order_.back(), 2u);
}

TEST_P(EndpointConformance, ATakenTaskIsNotTakenBack) {
  send(1, TestTask::kUntilCancelled);
  ASSERT_TRUE(wait_until_taken(1));
  EXPECT_FALSE(endpoint().try_recall(TaskId{1}));
  endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(wait_for(1));
  EXPECT_EQ(ends_[1].times, 1);
}

TEST_P(EndpointConformance, RecallingEveryTaskLeavesAChildThatWorks) {
  for (int round = 0; round < 200; ++round) {
    const auto id = static_cast<std::uint64_t>(round) + 1;
    send(id, TestTask::kEmpty);
    if (endpoint().try_recall(TaskId{id})) continue;
    ASSERT_TRUE(wait_for(id));
  }
  send(1000, TestTask::kEmpty);
  EXPECT_TRUE(wait_for(1000));
}

// --- ends
// -----------------------------------------------------------------------------------------

TEST_P(EndpointConformance, ADeadChildIsDownThenGoneAndTakesNothingMore) {
  send(1, TestTask::kHang);
  ASSERT_TRUE(wait_until_taken(1));
  rig_->kill();
  ASSERT_TRUE(wait_until_gone());
  EXPECT_EQ(down_, 1);
  EXPECT_EQ(why_.reason(), Reason::kChildDied);
  EXPECT_EQ(why_.info().path, "root/child0");
  EXPECT_GT(why_.info().pid, 0);
  EXPECT_TRUE(ends_.empty());
  EXPECT_EQ(try_send(2, TestTask::kEmpty), DispatchResult::kDown);
}

TEST_P(EndpointConformance, WhatWasPublishedBeforeADeathIsDone) {
  send(1, TestTask::kEmpty);
  send(2, TestTask::kHang);
  ASSERT_TRUE(wait_until_taken(2));
  rig_->kill();
  ASSERT_TRUE(wait_until_gone());
  EXPECT_THAT(order_, ElementsAre(1));
}

TEST_P(EndpointConformance, WithinDownTheProgressOfItsTasksIsKnown) {
  send(1, TestTask::kHang);
  send(2, TestTask::kEmpty);
  ask_when_down_ = {1, 2};
  ASSERT_TRUE(wait_until_taken(1));
  rig_->kill();
  ASSERT_TRUE(wait_until_gone());
  EXPECT_THAT(progress_when_down_, ElementsAre(Progress::kTaken, Progress::kQueued));
}

TEST_P(EndpointConformance, TerminateEndsItWithItsCauseAndReportsLater) {
  send(1, TestTask::kHang);
  ASSERT_TRUE(wait_until_taken(1));
  endpoint().terminate(Status::error(Code::kDeadlineExceeded, Reason::kDeadline, "took too long"));
  EXPECT_EQ(down_, 0);
  EXPECT_EQ(try_send(2, TestTask::kEmpty), DispatchResult::kDown);
  ASSERT_TRUE(wait_until_gone());
  EXPECT_EQ(down_, 1);
  EXPECT_EQ(why_.reason(), Reason::kDeadline);
  EXPECT_EQ(why_.info().message, "took too long");
}

TEST_P(EndpointConformance, AnIdleChildCanBeTerminated) {
  endpoint().terminate(Status::error(Code::kCancelled, Reason::kCancelled, "enough"));
  ASSERT_TRUE(wait_until_gone());
  EXPECT_EQ(why_.reason(), Reason::kCancelled);
}

// --- misuse
// ---------------------------------------------------------------------------------------

TEST_P(EndpointConformance, TheFirstOfTwoCausesStays) {
  endpoint().terminate(Status::error(Code::kCancelled, Reason::kCancelled, "first"));
  endpoint().terminate(Status::error(Code::kUnknown, Reason::kDeadline, "second"));
  rig_->kill();
  ASSERT_TRUE(wait_until_gone());
  EXPECT_EQ(why_.info().message, "first");
}

TEST_P(EndpointConformance, AnUnknownTaskIsNeitherRecalledNorCancelled) {
  EXPECT_FALSE(endpoint().try_recall(TaskId{99}));
  endpoint().request_cancel(TaskId{99});
  send(1, TestTask::kEmpty);
  EXPECT_TRUE(wait_for(1));
  EXPECT_FALSE(endpoint().try_recall(TaskId{1}));
}

TEST_P(EndpointConformance, AfterGoneThereIsNothingToReport) {
  rig_->kill();
  ASSERT_TRUE(wait_until_gone());
  endpoint().terminate(Status::error(Code::kUnknown, Reason::kDeadline, "too late"));
  EXPECT_FALSE(endpoint().try_recall(TaskId{1}));
  endpoint().request_cancel(TaskId{1});
  EXPECT_EQ(endpoint().poll(*this), 0u);
  EXPECT_EQ(down_, 1);
  EXPECT_EQ(gone_, 1);
}

INSTANTIATE_TEST_SUITE_P(Endpoints, EndpointConformance, testing::ValuesIn(all_rigs()),
                         [](const auto& of) { return of.param.name; });

}  // namespace
}  // namespace echelon
