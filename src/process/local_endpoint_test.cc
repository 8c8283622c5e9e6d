// SPDX-License-Identifier: Apache-2.0
//
// What is this endpoint's own; what all endpoints share is in tests/conformance.
#include "process/local_endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "process/child_connection.h"
#include "process/control_server.h"
#include "process/test_tree.h"
#include "shm/pool.h"

namespace echelon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr ChildIndex kFirst{0};

TEST(LocalEndpointTest, ADeadChildIsDownBeforeItIsGoneAndWhatItPublishedIsDone) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  tree.send(TestTask::kEmpty);
  tree.send(TestTask::kKillSelf);
  ASSERT_TRUE(tree.pump_until([&] { return tree.gone.contains(kFirst); }));
  EXPECT_THAT(tree.order, ElementsAre("done 1", "down 0", "gone 0"));
  EXPECT_EQ(tree.down[kFirst].info().cause, Cause::kSignal);
  EXPECT_EQ(tree.down[kFirst].info().signal, SIGKILL);
}

TEST(LocalEndpointTest, AfterADeathQueuedAndTakenAreTold) {
  struct Look final : EndpointEvents {
    LocalEndpoint& child;
    TaskId first, second;
    Progress of_first{}, of_second{};
    bool down = false;
    Look(LocalEndpoint& of, TaskId a, TaskId b) : child(of), first(a), second(b) {}
    void on_completion(ChildIndex, const Completion&) override {}
    void on_down(ChildIndex, const Status&) override {
      of_first = child.progress(first);
      of_second = child.progress(second);
      down = true;
    }
    void on_gone(ChildIndex) override {}
  };
  TestTree tree;
  ASSERT_TRUE(tree.start());
  const TaskId taken = tree.send(TestTask::kHang);
  const TaskId queued = tree.send(TestTask::kEmpty);
  ASSERT_TRUE(tree.pump_until([&] { return tree.child().progress(taken) == Progress::kTaken; }));
  ASSERT_EQ(::kill(tree.child().pid(), SIGKILL), 0);
  while (tree.child().liveness().state() != LivenessState::kOwnerDied) ::sched_yield();
  Look look(tree.child(), taken, queued);
  // On a busy machine the spawner may have reaped it already: then its report, which nobody takes
  // in here, is waited for first.
  while (!look.down) {
    tree.child().note_owner_died();
    tree.child().poll(look);
    ::sched_yield();
  }
  EXPECT_EQ(look.of_first, Progress::kTaken);
  EXPECT_EQ(look.of_second, Progress::kQueued);
}

TEST(LocalEndpointTest, AnErrorCarriesPathPidAndHost) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  const TaskId task = tree.send(TestTask::kThrow);
  ASSERT_TRUE(tree.pump_until_done(task));
  const ErrorInfo& info = tree.done[task].status.info();
  EXPECT_THAT(info.message, HasSubstr("deliberate"));
  EXPECT_EQ(info.path, "root/child0");
  EXPECT_EQ(info.host, "testhost");
  EXPECT_EQ(info.pid, tree.child().pid());
  EXPECT_EQ(info.phase, Phase::kRunning);
}

TEST(LocalEndpointTest, AChildThatStopsAnsweringIsEnded) {
  TestTree::Options options;
  options.unresponsive_after = std::chrono::milliseconds(100);
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  ASSERT_EQ(::kill(tree.child().pid(), SIGSTOP), 0);
  tree.send(TestTask::kEmpty);
  ASSERT_TRUE(tree.pump_until([&] { return tree.gone.contains(kFirst); }));
  EXPECT_EQ(tree.down[kFirst].reason(), Reason::kUnresponsive);
  EXPECT_THAT(tree.down[kFirst].info().message, HasSubstr("has not answered for 0.1 s"));
}

TEST(LocalEndpointTest, AnIdleChildThatStopsAnsweringIsEndedWhereThatIsAskedFor) {
  TestTree::Options options;
  options.unresponsive_after = std::chrono::milliseconds(100);
  options.watch_idle = true;
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  ASSERT_TRUE(tree.pump_until([&] { return tree.child().counters().pings >= 2; }));
  EXPECT_FALSE(tree.child().down()) << "it answers";
  ASSERT_EQ(::kill(tree.child().pid(), SIGSTOP), 0);
  ASSERT_TRUE(tree.pump_until([&] { return tree.gone.contains(kFirst); }));
  EXPECT_EQ(tree.down[kFirst].reason(), Reason::kUnresponsive);
}

TEST(LocalEndpointTest, WhatAChildAnnouncesIsThereOnceItIsReady) {
  TestTree::Options options;
  options.sub_main = [](ChildBoot boot) {
    SystemEnv env;
    auto connection = ChildConnection::open(std::move(boot), env);
    if (!connection.ok()) return 1;
    ControlServer control((*connection)->channel(), (*connection)->parent_doorbell(), {});
    const std::string_view said = "it listens";
    if (!control.announce(std::as_bytes(std::span(said)))) return 1;
    (*connection)->ready();
    for (;;) ::pause();
  };
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  const auto bytes = tree.child().take_announcement();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "it listens");
  EXPECT_TRUE(tree.child().take_announcement().empty());
  ASSERT_EQ(::kill(tree.child().pid(), SIGKILL), 0);
}

TEST(LocalEndpointTest, AChildInALongTaskAnswersItsPings) {
  TestTree::Options options;
  options.unresponsive_after = std::chrono::seconds(10);
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  const TaskId task = tree.send(TestTask::kUntilCancelled);
  ASSERT_TRUE(tree.pump_until([&] { return tree.child().counters().pings >= 2; }));
  EXPECT_FALSE(tree.child().down());
  tree.child().request_cancel(task);
  EXPECT_TRUE(tree.pump_until_done(task));
}

TEST(LocalEndpointTest, StatisticsAreAnsweredWhileATaskRuns) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  tree.run(TestTask::kEmpty);
  tree.send(TestTask::kHang);
  ASSERT_TRUE(tree.child().request_stats(41));
  std::optional<LocalEndpoint::StatsReply> reply;
  ASSERT_TRUE(tree.pump_until([&] {
    reply = tree.child().take_stats_reply();
    return reply.has_value();
  }));
  EXPECT_EQ(reply->token, 41u);
  std::uint64_t tasks = 0;
  ASSERT_EQ(reply->bytes.size(), sizeof(tasks));
  std::memcpy(&tasks, reply->bytes.data(), sizeof(tasks));
  EXPECT_EQ(tasks, 1u);
}

TEST(LocalEndpointTest, AStuckTaskComesWithItsStack) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  const TaskId task = tree.send(TestTask::kHang);
  ASSERT_TRUE(tree.pump_until([&] { return tree.child().progress(task) == Progress::kTaken; }));
  tree.child().request_cancel(task);
  ASSERT_TRUE(tree.pump_until([&] { return !tree.child().last_stack().empty(); }));
  tree.child().terminate(Status::error(Code::kDeadlineExceeded, Reason::kDeadline, "too long"));
  ASSERT_TRUE(tree.pump_until([&] { return tree.gone.contains(kFirst); }));
  EXPECT_EQ(tree.down[kFirst].reason(), Reason::kDeadline);
  EXPECT_THAT(tree.down[kFirst].info().traceback, HasSubstr("#0 0x"));
  EXPECT_EQ(tree.down[kFirst].info().path, "root/child0");
}

TEST(LocalEndpointTest, TheWindowIsItsLimit) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  tree.send(TestTask::kHang);
  for (int i = 1; i < 16; ++i) ASSERT_NE(tree.send(TestTask::kEmpty), TaskId{});
  EXPECT_EQ(tree.child().in_flight(), 16u);
  const auto body = test_body();
  Dispatch one;
  one.task = TaskId{1000};
  one.body = body;
  EXPECT_EQ(tree.child().try_dispatch(one), DispatchResult::kNoRoom);
}

TEST(LocalEndpointTest, AnArgumentThatIsTooLargeFailsItsTaskAlone) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  const std::vector<std::byte> body(kSpillBytesMax + 1);
  const TaskId task = tree.send_body(TestTask::kEcho, body);
  ASSERT_TRUE(tree.pump_until_done(task));
  EXPECT_EQ(tree.done[task].status.reason(), Reason::kTooLarge);
  EXPECT_EQ(tree.done[task].status.info().path, "root/child0");
  tree.run(TestTask::kEmpty);
}

TEST(LocalEndpointTest, APoolMadeAfterTheStartReachesTheChild) {
  constexpr Uid kIssuer{500};
  HostPoolOptions small;
  small.segment_bytes_min = 64 * 1024;
  auto pool = HostPool::create(kIssuer, small);
  ASSERT_TRUE(pool.ok());
  TestTree::Options options;
  options.pool = pool->get();
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  // The second buffer lies in a segment that the first task's push did not hold.
  for (const std::int64_t bytes : {std::int64_t{100}, std::int64_t{1} << 20}) {
    auto buffer = (*pool)->allocate(static_cast<std::uint64_t>(bytes));
    ASSERT_TRUE(buffer.ok());
    auto memory = (*pool)->bytes_of(buffer.value());
    std::memset(memory->data(), 3, memory->size());
    const TensorDesc x = make_contiguous(kIssuer, buffer.value(), kIssuer, DType::kUInt8,
                                         {&bytes, 1}, Access::kReadWrite);
    const TaskId task = tree.send_body(TestTask::kWriteTensor, test_body(x, Tag::kInout, 4));
    ASSERT_TRUE(tree.pump_until_done(task));
    EXPECT_TRUE(tree.done[task].status.ok()) << tree.done[task].status.to_string();
    EXPECT_TRUE(std::all_of(memory->begin(), memory->end(),
                            [](std::byte one) { return one == std::byte{7}; }));
  }
}

TEST(LocalEndpointTest, AChildThatFailsToStartSaysWhyItself) {
  TestTree::Options options;
  options.sub_main = [](ChildBoot boot) {
    Leaf leaf;
    leaf.make_handler = [](ChildConnection& connection) -> Result<std::unique_ptr<TaskHandler>> {
      connection.phase("opening device");
      return Status::error(Code::kUnavailable, Reason::kDriver, "no such device: cpu:7");
    };
    return run_leaf(std::move(boot), leaf);
  };
  TestTree tree(options);
  ASSERT_TRUE(
      tree.pump_until([&] { return tree.child().start_progress().state == StartState::kFailed; }));
  const Status error = tree.child().start_progress().error;
  EXPECT_EQ(error.reason(), Reason::kDriver);
  EXPECT_EQ(error.info().message, "no such device: cpu:7");
  EXPECT_EQ(error.info().path, "root/child0");
  EXPECT_GT(error.info().pid, 0);
}

TEST(LocalEndpointTest, AChildThatIsNotReadyIsNamedWithItsPhase) {
  TestTree::Options options;
  options.sub_main = [](ChildBoot boot) {
    Leaf leaf;
    leaf.make_handler = [](ChildConnection& connection) -> Result<std::unique_ptr<TaskHandler>> {
      connection.phase("opening device");
      for (;;) ::pause();
    };
    return run_leaf(std::move(boot), leaf);
  };
  TestTree tree(options);
  ASSERT_TRUE(
      tree.pump_until([&] { return tree.child().start_progress().phase == "opening device"; }));
  const std::array<TreeChild*, 1> children = {&tree.child()};
  const Status late = not_ready_error(children, std::chrono::seconds(30));
  EXPECT_EQ(late.info().message, "child root/child0 not ready after 30 s: phase opening device");
  EXPECT_EQ(late.reason(), Reason::kStartFailed);
  EXPECT_TRUE(tree.close(std::chrono::milliseconds(0)).ok());
}

TEST(LocalEndpointTest, ReleasedBuffersNeedNoRoomInTheWindow) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  for (std::uint32_t i = 1; i <= 100; ++i) {
    ASSERT_EQ(tree.child().try_release_buffer(BufferId::make(i, 1)), DispatchResult::kSent);
  }
  tree.run(TestTask::kEmpty);
  EXPECT_EQ(tree.child().in_flight(), 0u);
}

}  // namespace
}  // namespace echelon
