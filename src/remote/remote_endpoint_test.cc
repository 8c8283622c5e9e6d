// SPDX-License-Identifier: Apache-2.0
//
// RemoteEndpoint and SessionServer, one against the other over sim lanes.
#include "remote/remote_endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "process/leaf_registration.h"
#include "remote/sim/sim_lanes.h"
#include "remote/testing/session_rig.h"

namespace echelon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Over each kind of lanes.
class RemoteEndpointTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { SessionRig::lanes_of_all = GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Lanes, RemoteEndpointTest, testing::ValuesIn(lanes_to_test()),
                         [](const auto& of) { return std::string(of.param); });

SessionRig::Options with_window(std::uint32_t window, std::uint32_t sent_max) {
  SessionRig::Options options;
  options.endpoint.window = window;
  options.endpoint.sent_max = sent_max;
  return options;
}

bool wait_until_taken(SessionRig& rig, std::uint64_t id) {
  return rig.pump_until([&] { return rig.endpoint().progress(TaskId{id}) == Progress::kTaken; });
}

// --- tasks
// ----------------------------------------------------------------------------------------

TEST_P(RemoteEndpointTest, ATaskIsDoneOnceWithItsResult) {
  SessionRig rig;
  const auto body = test_body({1, 2, 3});
  ASSERT_EQ(rig.try_send(5, TestTask::kEcho, body), DispatchResult::kSent);
  ASSERT_TRUE(rig.wait_for(5));
  EXPECT_TRUE(rig.done[5].status.ok());
  EXPECT_EQ(rig.done[5].result,
            std::string(reinterpret_cast<const char*>(body.data()), body.size()));
  EXPECT_EQ(rig.done[5].times, 1);
}

TEST_P(RemoteEndpointTest, BeyondItsWindowThereIsNoRoomUntilSomethingCompletes) {
  SessionRig rig(with_window(4, 2));
  rig.send(1, TestTask::kUntilCancelled);
  for (std::uint64_t id = 2; id <= 4; ++id) rig.send(id, TestTask::kEmpty);
  EXPECT_EQ(rig.try_send(5, TestTask::kEmpty, test_body()), DispatchResult::kNoRoom);
  rig.endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(rig.wait_for(4));
  EXPECT_EQ(rig.try_send(5, TestTask::kEmpty, test_body()), DispatchResult::kSent);
  ASSERT_TRUE(rig.wait_for(5));
  EXPECT_THAT(rig.order, ElementsAre(1, 2, 3, 4, 5));
}

TEST_P(RemoteEndpointTest, WhatWasNotSentIsTakenBackAndWhatWasIsNot) {
  SessionRig rig(with_window(8, 2));
  rig.send(1, TestTask::kUntilCancelled);
  for (std::uint64_t id = 2; id <= 4; ++id) rig.send(id, TestTask::kEmpty);
  for (int i = 0; i < 3; ++i) rig.pump();
  EXPECT_EQ(rig.endpoint().progress(TaskId{2}), Progress::kTaken);
  EXPECT_EQ(rig.endpoint().progress(TaskId{3}), Progress::kQueued);
  EXPECT_FALSE(rig.endpoint().try_recall(TaskId{2}));
  EXPECT_TRUE(rig.endpoint().try_recall(TaskId{3}));
  EXPECT_FALSE(rig.endpoint().try_recall(TaskId{3}));
  rig.endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(rig.wait_for(4));
  EXPECT_THAT(rig.order, ElementsAre(1, 2, 4));
}

TEST_P(RemoteEndpointTest, WhatIsDispatchedBetweenTwoPollsGoesAsOneMessage) {
  SessionRig rig;
  for (std::uint64_t id = 1; id <= 9; ++id) rig.send(id, TestTask::kEmpty);
  EXPECT_EQ(rig.endpoint().counters().batches, 1u) << "the first does not wait";
  rig.pump();
  EXPECT_EQ(rig.endpoint().counters().batches, 2u) << "the other eight together";
  EXPECT_TRUE(rig.wait_for(9));
}

TEST_P(RemoteEndpointTest, ManyTasksPassThroughASmallWindow) {
  constexpr std::uint64_t kTasks = 3000;
  SessionRig rig;
  std::uint64_t sent = 0;
  const auto body = test_body();
  ASSERT_TRUE(rig.pump_until([&] {
    while (sent < kTasks &&
           rig.try_send(sent + 1, TestTask::kEmpty, body) == DispatchResult::kSent) {
      ++sent;
    }
    return rig.done.size() == kTasks;
  }));
  EXPECT_EQ(rig.server().counters().tasks.load(), kTasks);
}

TEST_P(RemoteEndpointTest, LargeResultsAndErrorsArriveWhole) {
  SessionRig rig;
  std::uint64_t id = 0;
  for (const std::uint64_t bytes : {0u, 1u, 1u << 20, (1u << 20) + 1, 20'000'000u}) {
    rig.send(++id, TestTask::kBigResult, {bytes});
    ASSERT_TRUE(rig.wait_for(id));
    EXPECT_EQ(rig.done[id].result.size(), bytes);
  }
  rig.send(++id, TestTask::kBigError, {500'000});
  ASSERT_TRUE(rig.wait_for(id));
  EXPECT_EQ(rig.done[id].status.info().message, std::string(500'000, 'e'));
}

TEST_P(RemoteEndpointTest, ArgumentsLargerThanAMessageArriveWhole) {
  SessionRig rig;
  TaskBody decoded;
  for (const std::size_t bytes : {std::size_t{300'000}, std::size_t{9'000'000}}) {
    // No task body of this size is valid, which the session finds once all of it is there.
    const std::vector<std::byte> body(bytes, std::byte{1});
    ASSERT_EQ(rig.try_send(bytes, TestTask::kEcho, body), DispatchResult::kSent);
    ASSERT_TRUE(rig.wait_for(bytes));
    EXPECT_THAT(rig.done[bytes].status.info().message, HasSubstr("a task body is not valid"));
  }
  rig.send(1, TestTask::kEmpty);
  EXPECT_TRUE(rig.wait_for(1));
}

TEST_P(RemoteEndpointTest, AnErrorKeepsWhereItHappenedAndItsTraceback) {
  SessionRig rig;
  rig.send(1, TestTask::kFail);
  ASSERT_TRUE(rig.wait_for(1));
  const ErrorInfo& info = rig.done[1].status.info();
  EXPECT_EQ(info.message, "refused on purpose");
  EXPECT_EQ(info.path, "root/host0/sub3");
  EXPECT_EQ(info.host, "hostA");
  EXPECT_EQ(info.traceback, "line 7");
  EXPECT_EQ(info.callable, "step");
  EXPECT_EQ(info.pid, 4711);
}

TEST_P(RemoteEndpointTest, SerialisedExceptionsComeOnlyFromASessionThatIsTrusted) {
  for (const bool trusted : {false, true}) {
    SessionRig::Options options;
    options.endpoint.trust_results = trusted;
    SessionRig rig(options);
    rig.send(1, TestTask::kFail);
    ASSERT_TRUE(rig.wait_for(1));
    EXPECT_EQ(rig.done[1].status.info().exception, trusted ? "serialised" : "");
  }
}

TEST_P(RemoteEndpointTest, AnAllocationIsAnEventOfPoll) {
  SessionRig rig;
  const std::array<std::int64_t, 1> shape = {8};
  ASSERT_EQ(rig.endpoint().request_allocate(3, shape, DType::kInt8, false), DispatchResult::kSent);
  std::size_t events = 0;
  const MonotonicNs end = rig.env.now_ns() + 20'000'000'000;
  while (events == 0 && rig.env.now_ns() < end) events = rig.endpoint().poll(rig);
  EXPECT_EQ(events, 1u);
  EXPECT_EQ(rig.endpoint().take_allocations().size(), 1u);
}

TEST_P(RemoteEndpointTest, WhatEscapesAHandlerIsTheTasksError) {
  SessionRig rig;
  rig.send(1, TestTask::kThrow);
  ASSERT_TRUE(rig.wait_for(1));
  EXPECT_EQ(rig.done[1].status.reason(), Reason::kException);
  EXPECT_THAT(rig.done[1].status.info().message, HasSubstr("deliberate"));
  EXPECT_EQ(rig.done[1].status.info().path, "root/host0");
}

TEST_P(RemoteEndpointTest, ADeadlineThatHasPassedIsRefusedThere) {
  SessionRig rig;
  ASSERT_EQ(rig.try_send(1, TestTask::kEmpty, test_body(), rig.env.now_ns() - 5),
            DispatchResult::kSent);
  ASSERT_EQ(rig.try_send(2, TestTask::kEmpty, test_body(), rig.env.now_ns() + 60'000'000'000),
            DispatchResult::kSent);
  ASSERT_TRUE(rig.wait_for(2));
  EXPECT_EQ(rig.done[1].status.reason(), Reason::kDeadline);
  EXPECT_EQ(rig.done[1].status.info().phase, Phase::kQueued);
  EXPECT_TRUE(rig.done[2].status.ok());
}

TEST_P(RemoteEndpointTest, ACancelEndsWhatRunsAndWhatWaitsThere) {
  SessionRig rig;
  rig.send(1, TestTask::kUntilCancelled);
  rig.send(2, TestTask::kUntilCancelled);
  ASSERT_TRUE(rig.pump_until([&] { return rig.tasks().waits_for_cancel(); }));
  rig.endpoint().request_cancel(TaskId{2});
  rig.endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(rig.wait_for(2));
  EXPECT_TRUE(rig.done[1].status.ok()) << "it ran, and returned when it was told";
  EXPECT_EQ(rig.done[2].status.reason(), Reason::kCancelled) << "it never began";
}

// --- health and control
// ---------------------------------------------------------------------------

TEST_P(RemoteEndpointTest, ALongTaskIsNoSilence) {
  SessionRig::Options options;
  options.endpoint.ping_every = std::chrono::milliseconds(5);
  SessionRig rig(options);
  rig.send(1, TestTask::kUntilCancelled);
  ASSERT_TRUE(rig.pump_until([&] { return rig.endpoint().counters().pings >= 10; }));
  EXPECT_EQ(rig.down, 0);
  rig.endpoint().request_cancel(TaskId{1});
  EXPECT_TRUE(rig.wait_for(1));
}

TEST_P(RemoteEndpointTest, ASessionThatStandsStillIsLost) {
  SessionRig::Options options;
  options.endpoint.ping_every = std::chrono::milliseconds(5);
  options.endpoint.silent_max = std::chrono::milliseconds(100);
  SessionRig rig(options);
  rig.send(1, TestTask::kHang);
  ASSERT_TRUE(wait_until_taken(rig, 1));
  rig.freeze();
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_EQ(rig.why.reason(), Reason::kUnresponsive);
  EXPECT_EQ(rig.why.info().path, "root/host0");
  EXPECT_EQ(rig.why.info().host, "hostA");
  EXPECT_THAT(rig.why.info().message, HasSubstr("not been heard"));
  EXPECT_FALSE(rig.ended_session.ok()) << "its daemon is asked to end it";
}

TEST_P(RemoteEndpointTest, AParentThatIsSilentLosesItsLease) {
  SessionRig::Options options;
  options.server.lease = std::chrono::milliseconds(50);
  SessionRig rig(options);
  SystemEnv clock;
  const MonotonicNs end = clock.now_ns() + 20'000'000'000;
  while (rig.lost.load() == 0 && clock.now_ns() < end) std::this_thread::yield();
  EXPECT_EQ(rig.lost.load(), 1);
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_THAT(rig.why.info().message, HasSubstr("lease"));
}

TEST_P(RemoteEndpointTest, StatisticsAndStacksAreAnswered) {
  SessionRig::Options options;
  options.hooks.stats = [] { return std::vector<std::byte>(300'000, std::byte{3}); };
  options.hooks.stack = [] { return std::string("in main"); };
  SessionRig rig(options);
  ASSERT_TRUE(rig.endpoint().request_stats(12));
  std::optional<TreeChild::StatsReply> reply;
  ASSERT_TRUE(rig.pump_until([&] {
    reply = rig.endpoint().take_stats_reply();
    return reply.has_value();
  }));
  EXPECT_EQ(reply->token, 12u);
  EXPECT_EQ(reply->bytes.size(), 300'000u);
  ASSERT_TRUE(rig.endpoint().request_stack());
  ErrorInfo info;
  ASSERT_TRUE(rig.pump_until([&] {
    rig.endpoint().add_whereabouts(info);
    return !info.traceback.empty();
  }));
  EXPECT_EQ(info.traceback, "in main");
}

TEST_P(RemoteEndpointTest, AShutdownReachesTheSession) {
  std::atomic<bool> told{false};
  SessionRig::Options options;
  options.hooks.shutdown = [&] { told.store(true); };
  SessionRig rig(options);
  rig.endpoint().request_shutdown(Status());
  EXPECT_TRUE(rig.pump_until([&] { return told.load(); }));
}

class Taking final : public RegistrationHooks {
 public:
  void on_register(std::uint64_t token, const RegisterFrame& frame) override {
    auto request = with_payload(frame, *uplink);
    SubtreeAnswer answer;
    answer.add({request.ok() ? AnswerOutcome::kReady : AnswerOutcome::kRefused, 1, "root/host0",
                request.ok() ? "" : request.status().info().message});
    if (request.ok()) taken = *request;
    EXPECT_TRUE(uplink->answer(FrameKind::kRegisterReply, token, encode_answer(answer, 4096)));
  }
  void on_unregister(std::uint64_t token, CallableSlot, std::uint64_t) override {
    EXPECT_TRUE(uplink->answer(FrameKind::kUnregisterReply, token, encode_answer({}, 4096)));
  }
  RegistrationUplink* uplink = nullptr;
  RegisterRequest taken;
};

TEST_P(RemoteEndpointTest, ACallableOfAMebibyteIsRegisteredAndForgotten) {
  Taking hooks;
  SessionRig::Options options;
  options.hooks.registration = &hooks;
  SessionRig rig(options);
  hooks.uplink = &rig.server();
  std::vector<std::byte> bytes((std::size_t{1} << 20) + 77);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i % 251);
  RegisterRequest request;
  request.slot = CallableSlot{kFirstLateSlot + 3};
  request.serial = 9;
  request.form = embedding::Form::kPickle;
  request.name = "step";
  request.deadline_ns = rig.env.now_ns() + 20'000'000'000;
  request.payload = Payload::make(bytes).value();
  ASSERT_TRUE(rig.pump_until([&] {
    return rig.endpoint().request_register(31, request, nullptr) == DispatchResult::kSent;
  }));
  std::vector<TreeChild::RegistrationReply> replies;
  const auto answered = [&] {
    replies = rig.endpoint().take_registration_replies();
    return !replies.empty();
  };
  ASSERT_TRUE(rig.pump_until(answered));
  EXPECT_EQ(replies[0].token, 31u);
  EXPECT_TRUE(replies[0].answer.ok);
  EXPECT_EQ(hooks.taken.name, "step");
  EXPECT_TRUE(std::ranges::equal(hooks.taken.payload->bytes(), bytes));
  ASSERT_EQ(rig.endpoint().request_unregister(32, request.slot, 9, nullptr), DispatchResult::kSent);
  ASSERT_TRUE(rig.pump_until(answered));
  EXPECT_TRUE(replies[0].unregister);
}

// --- ends
// -----------------------------------------------------------------------------------------

TEST_P(RemoteEndpointTest, WhatItsDaemonSaysIsTheCause) {
  SessionRig rig;
  rig.send(1, TestTask::kEmpty);
  rig.send(2, TestTask::kHang);
  ASSERT_TRUE(rig.wait_for(1));
  rig.kill();
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_EQ(rig.down, 1);
  EXPECT_EQ(rig.why.info().message, "its process was killed by signal 9");
  EXPECT_EQ(rig.why.info().pid, 4242);
  EXPECT_FALSE(rig.done.contains(2));
  EXPECT_EQ(rig.try_send(3, TestTask::kEmpty, test_body()), DispatchResult::kDown);
  EXPECT_TRUE(rig.endpoint().down());
}

TEST_P(RemoteEndpointTest, WithoutItsDaemonsWordTheBrokenLaneIsTheCause) {
  SessionRig rig;
  rig.kill(/*tell=*/false);
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_EQ(rig.why.reason(), Reason::kChildDied);
  EXPECT_EQ(rig.why.info().cause, Cause::kPeerLost);
  EXPECT_THAT(rig.why.info().message, HasSubstr("lane is down"));
}

TEST_P(RemoteEndpointTest, TerminateNamesItsCause) {
  SessionRig rig;
  rig.send(1, TestTask::kUntilCancelled);
  rig.endpoint().terminate(Status::error(Code::kDeadlineExceeded, Reason::kDeadline, "too long"));
  EXPECT_EQ(rig.down, 0);
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_EQ(rig.why.info().message, "too long");
  EXPECT_EQ(rig.ended_session.info().message, "too long");
  rig.endpoint().request_cancel(TaskId{1});
  EXPECT_TRUE(rig.pump_until([&] { return rig.lost.load() == 1; })) << "the session hears of it";
}

/// A clock that the test moves.
class HandClock final : public Env {
 public:
  MonotonicNs now_ns() override { return now; }
  std::uint64_t random_nonzero() override { return 1; }
  MonotonicNs now = 1'000'000'000;
};

TEST(RemoteHealthTest, ASilentSessionIsDownWithinItsDeadlineOfTheLastSignOfLife) {
  HandClock clock;
  RemoteEndpointOptions options;
  options.path = "root/host0";
  RemoteEndpoint endpoint(std::move(options), clock);
  SimLanes task = make_sim_lanes();
  SimLanes data = make_sim_lanes();
  SimLanes health = make_sim_lanes();
  endpoint.attach({}, {std::move(task.a), std::move(data.a), std::move(health.a)});
  LaneFrame frame;
  frame.kind = FrameKind::kHello;
  const auto hello = encode_hello({kRemoteProtocolMajor, kRemoteProtocolMinor});
  frame.body = hello;
  ASSERT_EQ(send_frame(*health.b, frame), LaneSend::kSent);
  SessionRig events;
  const auto step = [&](MonotonicNs from) {
    clock.now = std::max(from, clock.now + 1);
    const MonotonicNs next = endpoint.tick(clock.now);
    endpoint.poll(events);
    return next;
  };
  // Ten pings are answered, the last one seen late.
  MonotonicNs next = step(clock.now);
  for (std::uint64_t i = 1; i <= 10; ++i) {
    frame.kind = FrameKind::kPong;
    frame.task = i;
    frame.body = {};
    ASSERT_EQ(send_frame(*health.b, frame), LaneSend::kSent);
    if (i < 10) next = step(next);
  }
  const MonotonicNs stopped = clock.now;
  for (int i = 0; i < 100 && events.gone == 0; ++i) {
    ASSERT_TRUE(next != 0 || endpoint.has_news());
    next = step(next);
  }
  ASSERT_EQ(events.gone, 1);
  EXPECT_EQ(events.why.reason(), Reason::kUnresponsive);
  EXPECT_LE(clock.now - stopped, 2'000'000'100u);
  EXPECT_GE(clock.now - stopped, 1'500'000'000u);
}

TEST_P(RemoteEndpointTest, AStartThatFailsSaysWhy) {
  SystemEnv env;
  RemoteEndpointOptions options;
  options.path = "root/host0";
  RemoteEndpoint endpoint(std::move(options), env);
  EXPECT_EQ(endpoint.start_progress().state, StartState::kBooting);
  endpoint.note_phase("chip1: opening device");
  EXPECT_EQ(endpoint.start_progress().state, StartState::kStarting);
  EXPECT_EQ(endpoint.start_progress().phase, "chip1: opening device");
  endpoint.note_ended(Status::error(Code::kUnavailable, Reason::kStartFailed, "no such device"));
  const StartProgress progress = endpoint.start_progress();
  EXPECT_EQ(progress.state, StartState::kFailed);
  EXPECT_EQ(progress.error.info().message, "no such device");
  EXPECT_EQ(progress.error.info().path, "root/host0");
  SessionRig other;
  endpoint.poll(other);
  EXPECT_EQ(other.gone, 1);
  // Lanes that come too late are let go.
  RemoteLanes lanes;
  lanes.task = make_sim_lanes(endpoint.lane_options(LaneRole::kTask)).a;
  lanes.data = make_sim_lanes(endpoint.lane_options(LaneRole::kData)).a;
  lanes.health = make_sim_lanes(endpoint.lane_options(LaneRole::kHealth)).a;
  endpoint.attach(SessionReady{}, std::move(lanes));
  Dispatch dispatch;
  dispatch.task = TaskId{1};
  EXPECT_EQ(endpoint.try_dispatch(dispatch), DispatchResult::kDown);
  EXPECT_EQ(endpoint.poll(other), 0u);
}

}  // namespace
}  // namespace echelon
