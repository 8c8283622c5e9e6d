// SPDX-License-Identifier: Apache-2.0
//
// Tensors of a session: allocation, and copies over its data lane.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "chip/strided.h"
#include "remote/testing/session_rig.h"

namespace echelon {
namespace {

using testing::HasSubstr;

/// Over each kind of lanes.
class RemoteCopyTest : public testing::TestWithParam<const char*> {
 protected:
  /// A tensor of this host with bytes that tell their place.
  TensorDesc local(std::initializer_list<std::int64_t> shape, DType dtype = DType::kUInt8) {
    const TensorDesc desc =
        rig.local().allocate(std::span(shape.begin(), shape.size()), dtype, true).value();
    std::byte* const at = rig.local().open(desc, Access::kWrite).value();
    for (std::size_t i = 0; i < desc.payload_bytes(); ++i) at[i] = std::byte(i % 251 + 1);
    return desc;
  }
  static std::vector<std::byte> bytes_of(TestMemory& memory, const TensorDesc& desc) {
    std::vector<std::byte> dense(desc.payload_bytes());
    gather(desc, memory.open(desc, Access::kRead).value(), dense.data());
    return dense;
  }
  Status copy(const TensorDesc& to, const TensorDesc& from) {
    const std::uint64_t id = ++next_;
    rig.copy(id, to, from);
    EXPECT_TRUE(rig.wait_for(id));
    return rig.done[id].status;
  }

  /// The session, the tensor of a copy that was stopped, and the lane go on.
  void expect_serving(const TensorDesc& there, const TensorDesc& from) {
    const Status again = copy(there, from);
    EXPECT_TRUE(again.ok()) << again.to_string();
    EXPECT_TRUE(bytes_of(rig.memory(), there) == bytes_of(rig.local(), from));
    rig.send(99, TestTask::kEmpty);
    EXPECT_TRUE(rig.wait_for(99));
    EXPECT_TRUE(rig.done[99].status.ok());
    EXPECT_EQ(rig.gone, 0);
    EXPECT_EQ(rig.lost.load(), 0);
  }

  const std::string lanes = SessionRig::lanes_of_all = GetParam();
  SessionRig rig;

 private:
  std::uint64_t next_ = 100;
};

INSTANTIATE_TEST_SUITE_P(Lanes, RemoteCopyTest, testing::ValuesIn(lanes_to_test()),
                         [](const auto& of) { return std::string(of.param); });

TEST_P(RemoteCopyTest, WhatIsAllocatedThereIsNamedHere) {
  const auto made = rig.allocate({3, 4}, DType::kFloat32, true);
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  EXPECT_EQ(made->issuer, kSessionPool);
  EXPECT_EQ(made->payload_bytes(), 48u);
  EXPECT_EQ(bytes_of(rig.memory(), *made), std::vector<std::byte>(48));
}

TEST_P(RemoteCopyTest, AFullPoolIsAnErrorWithItsSizes) {
  const auto made = rig.allocate({1 << 30});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().reason(), Reason::kExhausted);
  EXPECT_THAT(made.status().info().message, HasSubstr("1073741824 bytes asked for"));
  EXPECT_EQ(made.status().info().path, "root/host0");
  EXPECT_TRUE(rig.allocate({8}).ok()) << "and it goes on";
}

TEST_P(RemoteCopyTest, BytesGoThereAndComeBack) {
  const TensorDesc from = local({1000, 1000});
  const TensorDesc there = rig.allocate({1000, 1000}).value();
  const TensorDesc back =
      rig.local().allocate(std::array{std::int64_t{1000000}}, DType::kUInt8, true).value();
  ASSERT_TRUE(copy(there, from).ok());
  ASSERT_TRUE(copy(back, there).ok());
  EXPECT_EQ(bytes_of(rig.local(), back), bytes_of(rig.local(), from));
  EXPECT_EQ(rig.endpoint().counters().bytes_out, 1'000'000u);
  EXPECT_EQ(rig.endpoint().counters().bytes_in, 1'000'000u);
}

TEST_P(RemoteCopyTest, MoreThanTheLaneHoldsArrivesWhole) {
  constexpr std::int64_t kBytes = 3 * static_cast<std::int64_t>(kLaneBufferBytes) + 12345;
  const TensorDesc from = local({kBytes});
  const TensorDesc there = rig.allocate({kBytes}).value();
  const TensorDesc back = rig.local().allocate(std::array{kBytes}, DType::kUInt8, true).value();
  ASSERT_TRUE(copy(there, from).ok());
  ASSERT_TRUE(copy(back, there).ok());
  EXPECT_EQ(bytes_of(rig.local(), back), bytes_of(rig.local(), from));
}

TEST_P(RemoteCopyTest, ViewsWithGapsKeepTheirPlacesOnBothSides) {
  const TensorDesc whole = local({2000, 1600});
  TensorDesc columns = whole;  // [:, 100:1300:2]
  columns.offset += 100;
  columns.extent = {2000, 600};
  columns.stride[1] = 2;
  const TensorDesc there = rig.allocate({2000, 1200}, DType::kUInt8, true).value();
  TensorDesc left = there;  // [:, :600]
  left.extent[1] = 600;
  ASSERT_TRUE(copy(left, columns).ok());
  EXPECT_EQ(bytes_of(rig.memory(), left), bytes_of(rig.local(), columns));
  TensorDesc right = there;
  right.offset += 600;
  right.extent[1] = 600;
  EXPECT_EQ(bytes_of(rig.memory(), right), std::vector<std::byte>(2000 * 600))
      << "what lies beside it is untouched";
  const TensorDesc target = local({2000, 1600});
  TensorDesc into = target;  // [:, 1000:1600]
  into.offset += 1000;
  into.extent[1] = 600;
  ASSERT_TRUE(copy(into, left).ok());
  EXPECT_EQ(bytes_of(rig.local(), into), bytes_of(rig.local(), columns));
}

TEST_P(RemoteCopyTest, NothingIsCopiedOfNothing) {
  const TensorDesc from = local({0, 4});
  const TensorDesc there = rig.allocate({0, 4}).value();
  EXPECT_TRUE(copy(there, from).ok());
  EXPECT_TRUE(copy(from, there).ok());
}

TEST_P(RemoteCopyTest, SeveralShareTheLaneAndTasksGoBesideThem) {
  constexpr std::int64_t kBytes = 9 << 20;
  std::vector<TensorDesc> from, there;
  for (int i = 0; i < 3; ++i) {
    from.push_back(local({kBytes + i}));
    there.push_back(rig.allocate({kBytes + i}).value());
  }
  for (std::uint64_t i = 0; i < 3; ++i) rig.copy(i + 1, there[i], from[i]);
  rig.send(4, TestTask::kEmpty);
  ASSERT_TRUE(rig.pump_until([&] { return rig.done.size() == 4; }));
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(rig.done[i + 1].status.ok()) << rig.done[i + 1].status.to_string();
    EXPECT_EQ(bytes_of(rig.memory(), there[i]), bytes_of(rig.local(), from[i]));
  }
}

TEST_P(RemoteCopyTest, ATransferDoesNotWaitForACallable) {
  rig.send(1, TestTask::kUntilCancelled);
  const TensorDesc from = local({5000});
  const TensorDesc there = rig.allocate({5000}).value();
  EXPECT_TRUE(copy(there, from).ok());
  rig.endpoint().request_cancel(TaskId{1});
  EXPECT_TRUE(rig.wait_for(1));
}

TEST_P(RemoteCopyTest, ATaskReadsWhatWasWritten) {
  const TensorDesc from = local({3, 5});
  const TensorDesc there = rig.allocate({3, 5}).value();
  ASSERT_TRUE(copy(there, from).ok());
  ASSERT_EQ(rig.try_send(1, TestTask::kReadTensor, test_body(there, Tag::kInput)),
            DispatchResult::kSent);
  ASSERT_TRUE(rig.wait_for(1));
  const auto bytes = bytes_of(rig.local(), from);
  EXPECT_EQ(rig.done[1].result,
            std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

TEST_P(RemoteCopyTest, AFreedTensorIsStaleInBothDirections) {
  constexpr std::int64_t kBytes = 20 << 20;
  const TensorDesc from = local({kBytes});
  const TensorDesc there = rig.allocate({kBytes}).value();
  EXPECT_EQ(rig.memory().buffers(), 1u);
  ASSERT_EQ(rig.endpoint().try_release_buffer(there.buffer), DispatchResult::kSent);
  const Status down = copy(there, from);
  EXPECT_EQ(down.reason(), Reason::kStaleHandle) << down.to_string();
  EXPECT_EQ(down.info().path, "root/host0");
  EXPECT_EQ(copy(from, there).reason(), Reason::kStaleHandle);
  EXPECT_EQ(rig.memory().buffers(), 0u);
  const TensorDesc again = rig.allocate({kBytes}).value();
  EXPECT_TRUE(copy(again, from).ok()) << "the lane goes on";
}

TEST_P(RemoteCopyTest, WhatCannotBeCopiedIsRefusedHere) {
  const TensorDesc from = local({8});
  TensorDesc there = rig.allocate({9}).value();
  EXPECT_EQ(copy(there, from).reason(), Reason::kWrongType);
  EXPECT_EQ(copy(from, from).reason(), Reason::kForeignHandle);
  there.extent[0] = 8;
  there.access = Access::kRead;
  EXPECT_EQ(copy(there, from).reason(), Reason::kWrongAccess);
  TensorDesc stale = from;
  stale.buffer = BufferId::make(1, 999);
  EXPECT_EQ(copy(stale, there).reason(), Reason::kStaleHandle);
}

TEST_P(RemoteCopyTest, ALaneThatBreaksInATransferFailsIt) {
  constexpr std::int64_t kBytes = 40 << 20;
  const TensorDesc from = local({kBytes});
  const TensorDesc there = rig.allocate({kBytes}).value();
  rig.copy(1, there, from);
  ASSERT_TRUE(rig.pump_until([&] { return rig.endpoint().counters().bytes_out != 0; }));
  rig.kill();
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_FALSE(rig.done.contains(1));
  EXPECT_EQ(rig.endpoint().counters().completed, 0u);
}

// --- copies that are stopped ---------------------------------------------------------------------

/// More than one round of the driver's moves.
constexpr std::int64_t kLongBytes = 40 << 20;

TEST_P(RemoteCopyTest, ACopyToItThatIsCancelledEndsAlone) {
  const TensorDesc from = local({kLongBytes});
  const TensorDesc there = rig.allocate({kLongBytes}).value();
  rig.copy(1, there, from);
  ASSERT_TRUE(rig.pump_until([&] { return rig.endpoint().counters().bytes_out != 0; }));
  rig.endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(rig.wait_for(1));
  EXPECT_EQ(rig.done[1].status.code(), Code::kCancelled);
  EXPECT_THAT(rig.done[1].status.info().message, HasSubstr("of 41943040 bytes sent"));
  EXPECT_LT(rig.endpoint().counters().bytes_out, static_cast<std::uint64_t>(kLongBytes));
  expect_serving(there, from);
}

TEST_P(RemoteCopyTest, ACopyFromItThatIsCancelledEndsAlone) {
  const TensorDesc there = rig.allocate({kLongBytes}).value();
  const TensorDesc into = local({kLongBytes});
  rig.copy(1, into, there);
  ASSERT_TRUE(rig.pump_until([&] { return rig.endpoint().counters().bytes_in != 0; }));
  rig.endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(rig.wait_for(1));
  EXPECT_EQ(rig.done[1].status.code(), Code::kCancelled);
  EXPECT_THAT(rig.done[1].status.info().message, HasSubstr("of 41943040 bytes received"));
  const auto left = bytes_of(rig.local(), into);
  expect_serving(there, local({kLongBytes}));
  EXPECT_EQ(bytes_of(rig.local(), into), left) << "nothing is written here once it has ended";
}

TEST_P(RemoteCopyTest, ACopyWhoseDeadlinePassesIsStoppedWithThat) {
  const TensorDesc from = local({kLongBytes});
  const TensorDesc there = rig.allocate({kLongBytes}).value();
  rig.copy(1, there, from, rig.env.now_ns() + 3'600'000'000'000);
  ASSERT_TRUE(rig.pump_until([&] { return rig.endpoint().counters().bytes_out != 0; }));
  rig.endpoint().tick(rig.env.now_ns() + 3'700'000'000'000);
  ASSERT_TRUE(rig.wait_for(1));
  EXPECT_EQ(rig.done[1].status.reason(), Reason::kDeadline);
  EXPECT_THAT(rig.done[1].status.info().message, HasSubstr("stopped when its deadline passed"));
  expect_serving(there, from);
}

TEST_P(RemoteCopyTest, AnAllocationThatDiesWithItsSessionFails) {
  rig.freeze();
  const std::array<std::int64_t, 1> shape = {8};
  ASSERT_EQ(rig.endpoint().request_allocate(3, shape, DType::kInt8, false), DispatchResult::kSent);
  rig.kill();
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  const auto taken = rig.endpoint().take_allocations();
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].token, 3u);
  EXPECT_EQ(taken[0].tensor.status().reason(), Reason::kChildDied);
}

// --- as the session sees it ----------------------------------------------------------------------

/// What has come over a lane, by a session that answers when it likes.
struct Heard final : LaneEvents {
  void on_message(std::span<const std::byte> bytes) override {
    messages.emplace_back(bytes.begin(), bytes.end());
  }
  void on_down(const Status&) override {}
  std::vector<std::vector<std::byte>> messages;
};

TEST(StoppedCopyTest, ATaskOfItsTensorWaitsForWhatIsOnItsWayAndOthersDoNot) {
  SessionRig::lanes_of_all = "sim";
  SessionRig::Options options;
  options.serve = false;
  SessionRig rig(options);
  constexpr std::int64_t kBytes = 40 << 20;
  const std::array<std::int64_t, 1> shape = {kBytes};
  const TensorDesc from = rig.local().allocate(shape, DType::kUInt8, true).value();
  const TensorDesc there = make_contiguous(kSessionPool, BufferId::make(1, 1), kSessionPool,
                                           DType::kUInt8, shape, Access::kReadWrite);
  rig.copy(1, there, from);
  ASSERT_TRUE(rig.pump_until([&] { return rig.endpoint().counters().bytes_out != 0; }));
  rig.endpoint().request_cancel(TaskId{1});
  ASSERT_TRUE(rig.wait_for(1));
  ASSERT_EQ(rig.try_send(2, TestTask::kReadTensor, test_body(there, Tag::kInput)),
            DispatchResult::kSent);
  ASSERT_EQ(rig.try_send(3, TestTask::kEmpty, test_body()), DispatchResult::kSent);
  Heard tasks, data;
  const auto tasks_heard = [&] {
    rig.peer(LaneRole::kTask).poll(tasks);
    return tasks.messages.size();
  };
  ASSERT_TRUE(rig.pump_until([&] { return tasks_heard() == 1; }));
  LaneFrame frame;
  ASSERT_TRUE(LaneFrameReader(tasks.messages[0]).next(frame));
  EXPECT_EQ(frame.task, 3u);
  EXPECT_EQ(rig.endpoint().progress(TaskId{2}), Progress::kQueued);
  // The write is ended in order, is answered, and then the task may see its tensor.
  DataMessage last;
  ASSERT_TRUE(rig.pump_until([&] {
    rig.peer(LaneRole::kData).poll(data);
    if (!data.messages.empty()) last = decode_data(data.messages.back()).value();
    return last.last();
  }));
  EXPECT_TRUE(last.bytes.empty());
  EXPECT_EQ(tasks_heard(), 1u);
  DataMessage written;
  written.kind = DataKind::kWritten;
  written.request = last.request;
  ASSERT_EQ(send_data(rig.peer(LaneRole::kData), written), LaneSend::kSent);
  ASSERT_TRUE(rig.pump_until([&] { return tasks_heard() == 2; }));
  EXPECT_EQ(rig.gone, 0);
}

TEST(StoppedCopyTest, AnotherAnswerThanThatOfACopyThatWasStoppedIsRefused) {
  SessionRig::lanes_of_all = "sim";
  SessionRig::Options options;
  options.serve = false;
  SessionRig rig(options);
  const std::array<std::int64_t, 1> shape = {40 << 20};
  const TensorDesc from = rig.local().allocate(shape, DType::kUInt8, true).value();
  rig.copy(1,
           make_contiguous(kSessionPool, BufferId::make(1, 1), kSessionPool, DType::kUInt8, shape,
                           Access::kReadWrite),
           from);
  ASSERT_TRUE(rig.pump_until([&] { return rig.endpoint().counters().bytes_out != 0; }));
  rig.endpoint().request_cancel(TaskId{1});
  DataMessage read;
  read.kind = DataKind::kReadData;
  read.request = 1;
  read.flags = kDataLast;
  ASSERT_EQ(send_data(rig.peer(LaneRole::kData), read), LaneSend::kSent);
  ASSERT_TRUE(rig.pump_until([&] { return rig.gone == 1; }));
  EXPECT_THAT(rig.why.info().message, HasSubstr("a transfer of another kind"));
}

}  // namespace
}  // namespace echelon
