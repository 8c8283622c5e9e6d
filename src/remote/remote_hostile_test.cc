// SPDX-License-Identifier: Apache-2.0
//
// A session, or a parent, that sends what is no message: the other end names what was wrong and
// ends this session alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "remote/sim/sim_lanes.h"
#include "remote/testing/session_rig.h"

namespace echelon {
namespace {

using testing::HasSubstr;

struct Bad {
  std::string name;
  LaneRole role;
  std::function<void(Lane&)> send;
  std::string why;
};
void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.name;
}

void send_bytes(Lane& lane, std::size_t count, std::byte value) {
  const std::vector<std::byte> bytes(count, value);
  const std::array<std::span<const std::byte>, 1> segments = {bytes};
  EXPECT_EQ(lane.try_send(segments), LaneSend::kSent);
}

void send_kind(Lane& lane, FrameKind kind, std::uint16_t flags = 0) {
  LaneFrame frame;
  frame.kind = kind;
  frame.flags = flags;
  frame.task = 99;
  EXPECT_EQ(send_frame(lane, frame), LaneSend::kSent);
}

void greet(Lane& lane, std::uint32_t major = kRemoteProtocolMajor) {
  const auto hello = encode_hello({major, 0});
  LaneFrame frame;
  frame.kind = FrameKind::kHello;
  frame.body = hello;
  EXPECT_EQ(send_frame(lane, frame), LaneSend::kSent);
}

void send_data_kind(Lane& lane, DataKind kind) {
  DataMessage message;
  message.kind = kind;
  message.request = 123;
  message.flags = kDataLast;
  const std::int64_t shape[] = {4};
  message.tensor = make_contiguous(kSessionPool, BufferId::make(1, 1), kSessionPool, DType::kInt8,
                                   shape, Access::kReadWrite);
  EXPECT_EQ(send_data(lane, message), LaneSend::kSent);
}

// --- the session
// ----------------------------------------------------------------------------------

class HostileSessionTest : public testing::TestWithParam<Bad> {};

TEST_P(HostileSessionTest, PoisonsThisChildWithTheReason) {
  SessionRig::Options options;
  options.serve = false;
  SessionRig rig(options);
  SessionRig sibling;
  rig.send(1, TestTask::kEmpty);
  GetParam().send(rig.peer(GetParam().role));
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_THAT(rig.why.info().message, HasSubstr(GetParam().why));
  EXPECT_EQ(rig.why.info().path, "root/host0");
  EXPECT_FALSE(rig.done.contains(1));
  EXPECT_FALSE(rig.ended_session.ok());
  sibling.send(1, TestTask::kEmpty);
  EXPECT_TRUE(sibling.wait_for(1));
}

INSTANTIATE_TEST_SUITE_P(
    Messages, HostileSessionTest,
    testing::Values(
        Bad{"Garbage", LaneRole::kTask, [](Lane& l) { send_bytes(l, 100, std::byte{0xAB}); },
            "refused"},
        Bad{"Short", LaneRole::kTask, [](Lane& l) { send_bytes(l, 7, std::byte{0}); }, "7 bytes"},
        Bad{"UnaskedCompletion", LaneRole::kTask,
            [](Lane& l) { send_kind(l, FrameKind::kCompletion); }, "which it does not have"},
        Bad{"WrongKind", LaneRole::kTask, [](Lane& l) { send_kind(l, FrameKind::kSubTask); },
            "kind 2"},
        Bad{"DataGarbage", LaneRole::kData, [](Lane& l) { send_bytes(l, 50, std::byte{0xCD}); },
            "refused"},
        Bad{"DataEmpty", LaneRole::kData, [](Lane& l) { send_bytes(l, 0, std::byte{0}); },
            "0 bytes"},
        Bad{"UnaskedWritten", LaneRole::kData,
            [](Lane& l) { send_data_kind(l, DataKind::kWritten); }, "not under way"},
        Bad{"UnaskedAllocation", LaneRole::kData,
            [](Lane& l) { send_data_kind(l, DataKind::kAllocated); }, "nobody asked for"},
        Bad{"ARequest", LaneRole::kData, [](Lane& l) { send_data_kind(l, DataKind::kFree); },
            "\"free\" from a session"},
        Bad{"NoGreeting", LaneRole::kHealth, [](Lane& l) { send_kind(l, FrameKind::kPong); },
            "does not greet"},
        Bad{"OtherVersion", LaneRole::kHealth, [](Lane& l) { greet(l, 9); }, "version 9.0"},
        Bad{"UnaskedPong", LaneRole::kHealth,
            [](Lane& l) {
              greet(l);
              send_kind(l, FrameKind::kPong);
            },
            "pong"},
        Bad{"HealthGarbage", LaneRole::kHealth, [](Lane& l) { send_bytes(l, 64, std::byte{0x7F}); },
            "refused"}),
    [](const auto& of) { return of.param.name; });

TEST(HostileAllocationTest, AnotherShapeThanWasAskedForEndsIt) {
  SessionRig::Options options;
  options.serve = false;
  SessionRig rig(options);
  const std::array<std::int64_t, 1> shape = {8};
  ASSERT_EQ(rig.endpoint().request_allocate(3, shape, DType::kInt8, false), DispatchResult::kSent);
  DataMessage message;
  message.kind = DataKind::kAllocated;
  message.request = 1;
  const std::array<std::int64_t, 1> larger = {1 << 20};
  message.tensor = make_contiguous(kSessionPool, BufferId::make(1, 1), kSessionPool, DType::kInt8,
                                   larger, Access::kReadWrite);
  ASSERT_EQ(send_data(rig.peer(LaneRole::kData), message), LaneSend::kSent);
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_THAT(rig.why.info().message, HasSubstr("another shape"));
  EXPECT_FALSE(rig.endpoint().take_allocations().at(0).tensor.ok());
}

// --- the parent
// -----------------------------------------------------------------------------------

/// A SessionServer whose parent is the test.
class ParentTest : public testing::Test {
 protected:
  static constexpr std::array kRoles = {LaneRole::kTask, LaneRole::kData, LaneRole::kHealth};

  ParentTest() {
    SessionServerOptions options;
    options.path = "root/host0";
    options.on_lost = [this](const Status& why) {
      lost_why = why;
      lost.store(true);
    };
    server = std::make_unique<SessionServer>(options, memory, ControlHooks{}, env);
    for (const LaneRole role : kRoles) {
      SimLanes pair = make_sim_lanes({}, server->lane_options(role));
      lanes[static_cast<std::size_t>(role)] = std::move(pair.a);
      server->attach(role, std::move(pair.b));
    }
  }
  Lane& lane(LaneRole role) { return *lanes.at(static_cast<std::size_t>(role)); }

  SystemEnv env;
  TestMemory memory{kSessionPool};
  TestSessionTasks tasks{"root/host0", memory};
  Status lost_why;
  std::atomic<bool> lost{false};
  std::array<std::unique_ptr<Lane>, 4> lanes;
  std::unique_ptr<SessionServer> server;
};

class HostileParentTest : public ParentTest, public testing::WithParamInterface<Bad> {};

TEST_P(HostileParentTest, EndsTheSessionWithTheReason) {
  GetParam().send(lane(GetParam().role));
  const Status ended = server->serve(tasks);
  ASSERT_FALSE(ended.ok());
  EXPECT_THAT(ended.info().message, HasSubstr(GetParam().why));
  const MonotonicNs end = env.now_ns() + 20'000'000'000;
  while (!lost.load() && env.now_ns() < end) std::this_thread::yield();
  EXPECT_TRUE(lost.load());
}

INSTANTIATE_TEST_SUITE_P(
    Messages, HostileParentTest,
    testing::Values(
        Bad{"Garbage", LaneRole::kTask, [](Lane& l) { send_bytes(l, 100, std::byte{0xAB}); },
            "refused"},
        Bad{"ACompletion", LaneRole::kTask, [](Lane& l) { send_kind(l, FrameKind::kCompletion); },
            "is no task"},
        Bad{"TooManyTasks", LaneRole::kTask,
            [](Lane& l) {
              LaneFrame frame;
              frame.kind = FrameKind::kSubTask;
              frame.task = 5;
              const LaneFrameHead head = encode_head(frame);
              const std::vector<std::span<const std::byte>> batch(kRemoteWindowMax + 1, head);
              EXPECT_EQ(l.try_send(batch), LaneSend::kSent);
            },
            "more than 64"},
        Bad{"DataGarbage", LaneRole::kData, [](Lane& l) { send_bytes(l, 50, std::byte{0xCD}); },
            "refused"},
        Bad{"AnAnswer", LaneRole::kData, [](Lane& l) { send_data_kind(l, DataKind::kWritten); },
            "\"written\" at a session"},
        Bad{"APayloadFromItsMiddle", LaneRole::kData,
            [](Lane& l) {
              const std::vector<std::byte> bytes(10);
              DataMessage message;
              message.kind = DataKind::kPayload;
              message.offset = 5;
              message.length = 100;
              message.bytes = bytes;
              EXPECT_EQ(send_data(l, message), LaneSend::kSent);
            },
            "from byte 5 where 0 of 100"},
        Bad{"NoGreeting", LaneRole::kHealth, [](Lane& l) { send_kind(l, FrameKind::kPing); },
            "does not greet"},
        Bad{"OtherVersion", LaneRole::kHealth, [](Lane& l) { greet(l, 3); }, "version 3.0"},
        Bad{"ALeaseForEver", LaneRole::kHealth,
            [](Lane& l) {
              greet(l);
              LaneFrame ping;
              ping.kind = FrameKind::kPing;
              ping.task = 1;
              ping.remaining_ns = ~std::uint64_t{0};
              EXPECT_EQ(send_frame(l, ping), LaneSend::kSent);
            },
            "0.01 s to 86400 s are allowed"},
        Bad{"ALeaseOfNothing", LaneRole::kHealth,
            [](Lane& l) {
              greet(l);
              LaneFrame ping;
              ping.kind = FrameKind::kPing;
              ping.task = 1;
              ping.remaining_ns = 1;
              EXPECT_EQ(send_frame(l, ping), LaneSend::kSent);
            },
            "a lease of 1e-09 s"},
        Bad{"UnknownKind", LaneRole::kHealth,
            [](Lane& l) {
              greet(l);
              send_kind(l, static_cast<FrameKind>(999));
            },
            "kind 999"}),
    [](const auto& of) { return of.param.name; });

TEST(AbsentParentTest, OneThatNeverConnectsItsLanesIsLost) {
  SystemEnv env;
  TestMemory memory{kSessionPool};
  TestSessionTasks tasks{"root/host0", memory};
  SessionServerOptions options;
  options.path = "root/host0";
  options.lanes_within = std::chrono::milliseconds(20);
  std::atomic<int> lost{0};
  options.on_lost = [&](const Status&) { ++lost; };
  SessionServer server(options, memory, ControlHooks{}, env);
  SimLanes pair = make_sim_lanes({}, server.lane_options(LaneRole::kTask));
  server.attach(LaneRole::kTask, std::move(pair.b));
  const Status ended = server.serve(tasks);
  EXPECT_THAT(ended.info().message, HasSubstr("1 of its 3 lanes"));
  EXPECT_EQ(lost.load(), 1);
}

TEST_F(ParentTest, ATaskWhoseBodyIsNoneFailsAlone) {
  LaneFrame frame;
  frame.kind = FrameKind::kSubTask;
  frame.task = 5;
  const std::vector<std::byte> body(9, std::byte{0xFF});
  frame.body = body;
  ASSERT_EQ(send_frame(lane(LaneRole::kTask), frame), LaneSend::kSent);
  std::thread executor([&] { EXPECT_TRUE(server->serve(tasks).ok()); });
  const MonotonicNs end = env.now_ns() + 20'000'000'000;
  while (!lane(LaneRole::kTask).has_news() && env.now_ns() < end) std::this_thread::yield();
  server->stop();
  executor.join();
  EXPECT_EQ(server->counters().failed.load(), 1u);
  EXPECT_FALSE(lost.load());
}

TEST_F(ParentTest, TasksThatCannotRunYetWaitAtTheParent) {
  std::thread executor([&] { EXPECT_TRUE(server->serve(tasks).ok()); });
  Lane& lane_of_tasks = lane(LaneRole::kTask);
  LaneFrame frame;
  frame.kind = FrameKind::kSubTask;
  frame.slot = static_cast<std::uint32_t>(TestTask::kHang);
  frame.task = 1;
  const auto empty = test_body();
  frame.body = empty;
  ASSERT_EQ(send_frame(lane_of_tasks, frame), LaneSend::kSent);
  const MonotonicNs end = env.now_ns() + 20'000'000'000;
  while (server->running().value != 1 && env.now_ns() < end) std::this_thread::yield();
  // None of these bodies is one, which is found when their turn comes.
  const std::vector<std::byte> large(kPieceBytes, std::byte{1});
  frame.slot = static_cast<std::uint32_t>(TestTask::kEmpty);
  frame.body = large;
  LaneSend sent = LaneSend::kSent;
  while (sent == LaneSend::kSent && frame.task < kRemoteWindowMax) {
    ++frame.task;
    sent = send_frame(lane_of_tasks, frame);
  }
  EXPECT_EQ(sent, LaneSend::kNoRoom);
  EXPECT_LE(frame.task * kPieceBytes, 3 * kLaneBufferBytes);
  tasks.release();
  std::uint64_t answered = 0;
  struct Reader final : LaneEvents {
    explicit Reader(std::uint64_t& to) : count(to) {}
    void on_message(std::span<const std::byte>) override { ++count; }
    void on_down(const Status&) override {}
    std::uint64_t& count;
  } reader(answered);
  while (answered < frame.task - 1 && env.now_ns() < end) {
    if (lane_of_tasks.poll(reader) == 0) std::this_thread::yield();
  }
  EXPECT_EQ(answered, frame.task - 1) << "and all that was sent is answered";
  server->stop();
  executor.join();
}

TEST_F(ParentTest, AParentThatDoesNotReadFillsNoMemory) {
  const std::int64_t shape[] = {2 << 20};
  const TensorDesc tensor = memory.allocate(shape, DType::kUInt8, true).value();
  DataMessage message;
  message.kind = DataKind::kRead;
  message.tensor = tensor;
  message.length = tensor.payload_bytes();
  Lane& data = lane(LaneRole::kData);
  // Answers fill the lane; then requests pile up as requests, and then in the lane.
  for (std::uint64_t i = 1; i <= 100; ++i) {
    message.request = i;
    ASSERT_EQ(send_data(data, message), LaneSend::kSent);
  }
  struct Reader final : LaneEvents {
    void on_message(std::span<const std::byte> bytes) override {
      const auto read = decode_data(bytes);
      ASSERT_TRUE(read.ok());
      EXPECT_EQ(read->kind, DataKind::kReadData);
      total += read->bytes.size();
    }
    void on_down(const Status&) override {}
    std::uint64_t total = 0;
  } reader;
  const MonotonicNs end = env.now_ns() + 20'000'000'000;
  while (reader.total < 100 * tensor.payload_bytes() && env.now_ns() < end) {
    if (data.poll(reader) == 0) std::this_thread::yield();
  }
  EXPECT_EQ(reader.total, 100 * tensor.payload_bytes());
  EXPECT_FALSE(lost.load());
}

}  // namespace
}  // namespace echelon
