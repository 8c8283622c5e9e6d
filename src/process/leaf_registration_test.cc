// SPDX-License-Identifier: Apache-2.0
//
// Registering at a real child, over its channel and its edge.
#include "process/leaf_registration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <string>
#include <vector>

#include "process/last_words.h"
#include "process/test_tree.h"

namespace echelon {
namespace {

using testing::HasSubstr;

class LeafRegistrationTest : public testing::Test {
 protected:
  LeafRegistrationTest() { EXPECT_TRUE(tree.start()); }

  RegisterRequest request(const std::string& name, std::size_t payload_bytes = 4) {
    const std::vector<std::byte> bytes(payload_bytes, std::byte{7});
    RegisterRequest made;
    made.slot = CallableSlot{kFirstLateSlot};
    made.serial = ++serial;
    made.form = embedding::Form::kImportPath;
    made.name = name;
    made.payload = Payload::make(bytes).value();
    made.digest = sha256(made.payload->bytes());
    return made;
  }
  /// The next answer.
  LocalEndpoint::RegistrationReply reply() {
    std::vector<LocalEndpoint::RegistrationReply> replies;
    EXPECT_TRUE(tree.pump_until([&] {
      replies = tree.child().take_registration_replies();
      return !replies.empty();
    }));
    return replies.empty() ? LocalEndpoint::RegistrationReply() : replies.front();
  }
  SubtreeAnswer send(const RegisterRequest& made) {
    EXPECT_EQ(tree.child().request_register(made.serial, made, nullptr), DispatchResult::kSent);
    const auto answer = reply();
    EXPECT_EQ(answer.token, made.serial);
    EXPECT_FALSE(answer.unregister);
    return answer.answer;
  }

  TestTree tree;
  std::uint64_t serial = 0;
};

TEST_F(LeafRegistrationTest, TheChildAnswersForItself) {
  const SubtreeAnswer answer = send(request("any"));
  EXPECT_TRUE(answer.ok);
  ASSERT_EQ(answer.children.size(), 1u);
  EXPECT_EQ(answer.children[0].path, "root/child0");
  EXPECT_EQ(answer.children[0].pid, tree.child().pid());
}

TEST_F(LeafRegistrationTest, ALargePayloadComesBesideTheFrame) {
  EXPECT_TRUE(send(request("any", 1 << 20)).ok);
}

TEST_F(LeafRegistrationTest, ItsRefusalIsTheAnswer) {
  const SubtreeAnswer answer = send(request("refuse"));
  EXPECT_FALSE(answer.ok);
  EXPECT_EQ(answer.children[0].outcome, AnswerOutcome::kRefused);
  EXPECT_EQ(answer.children[0].message, "it is refused, as it asked");
}

TEST_F(LeafRegistrationTest, APayloadOfAnotherDigestIsRefused) {
  for (const std::size_t bytes : {std::size_t{4}, std::size_t{1} << 20}) {
    RegisterRequest made = request("any", bytes);
    made.digest[0] ^= std::byte{1};
    const SubtreeAnswer answer = send(made);
    EXPECT_FALSE(answer.ok);
    EXPECT_THAT(answer.children[0].message, HasSubstr("its payload has the SHA-256"));
  }
}

TEST_F(LeafRegistrationTest, ABusyExecutorDoesNotHoldItUp) {
  const TaskId busy = tree.send(TestTask::kUntilCancelled);
  EXPECT_TRUE(send(request("any")).ok);
  EXPECT_FALSE(tree.done.contains(busy));
  tree.child().request_cancel(busy);
  EXPECT_TRUE(tree.pump_until_done(busy));
}

TEST_F(LeafRegistrationTest, UnregisteringIsConfirmed) {
  const RegisterRequest made = request("any");
  EXPECT_TRUE(send(made).ok);
  EXPECT_EQ(tree.child().request_unregister(9, made.slot, made.serial, nullptr),
            DispatchResult::kSent);
  const auto confirmed = reply();
  EXPECT_TRUE(confirmed.unregister);
  EXPECT_TRUE(confirmed.answer.ok);
}

TEST_F(LeafRegistrationTest, OneThatBlocksSaysAtWhatAndHoldsUpNeitherPingsNorTheEnd) {
  const RegisterRequest made = request("block");
  EXPECT_EQ(tree.child().request_register(1, made, nullptr), DispatchResult::kSent);
  EXPECT_TRUE(tree.pump_until(
      [&] { return tree.child().phase() == "waiting for its interpreter to make sub block"; }));
  tree.run(TestTask::kEcho, {1});
  EXPECT_TRUE(tree.child().request_stats(5));
  EXPECT_TRUE(tree.pump_until([&] { return tree.child().take_stats_reply().has_value(); }));
  EXPECT_TRUE(tree.close().ok());
  EXPECT_EQ(WEXITSTATUS(tree.exits[ChildIndex{0}].wait_status), 0);
}

// --- hostile parents
// -------------------------------------------------------------------------------

TEST_F(LeafRegistrationTest, AFrameThatCannotBeReadEndsTheChildWithTheReason) {
  FrameHeader header;
  header.kind = FrameKind::kRegister;
  header.slot = kFirstLateSlot;
  const std::vector<std::byte> body(50, std::byte{0xA5});
  EXPECT_EQ(tree.child().channel().control_down.try_push(header, body), PushResult::kPushed);
  tree.child().channel().control.wake();
  EXPECT_TRUE(tree.pump_until([&] { return tree.gone.contains(ChildIndex{0}); }));
  EXPECT_EQ(read_last_words(tree.child().channel()).reason(), Reason::kBadFrame);
  EXPECT_THAT(tree.down[ChildIndex{0}].info().message,
              HasSubstr("a frame of registration is refused"));
}

TEST_F(LeafRegistrationTest, APayloadThatWasNeverPushedIsRefused) {
  const RegisterRequest made = request("any");
  FrameHeader header;
  header.kind = FrameKind::kRegister;
  header.slot = made.slot.value;
  header.task = 3;
  EXPECT_EQ(tree.child().channel().control_down.try_push(header, encode_register(made, 4711)),
            PushResult::kPushed);
  tree.child().channel().control.wake();
  const auto answer = reply();
  EXPECT_FALSE(answer.answer.ok);
  EXPECT_THAT(answer.answer.children[0].message, HasSubstr("its payload has not come"));
}

TEST_F(LeafRegistrationTest, APushedFileThatCouldChangeIsRefused) {
  RegisterRequest made = request("any");
  const UniqueFd open_file = create_memfd("test", 4).value();
  const PoolPush push{PushKind::kPayload, Uid{}, 4711, 4};
  EXPECT_TRUE(send_push(tree.child().edge().fd(), push, open_file.get(), false).ok());
  FrameHeader header;
  header.kind = FrameKind::kRegister;
  header.slot = made.slot.value;
  EXPECT_EQ(tree.child().channel().control_down.try_push(header, encode_register(made, 4711)),
            PushResult::kPushed);
  tree.child().channel().control.wake();
  EXPECT_THAT(reply().answer.children[0].message, HasSubstr("is not sealed"));
}

// --- hostile children
// ------------------------------------------------------------------------------

class HostileReplyTest : public LeafRegistrationTest, public testing::WithParamInterface<Spoil> {};

TEST_P(HostileReplyTest, EndsItsChildWithTheReason) {
  auto raw = Mapping::map(tree.child().channel().fd(), sizeof(ChannelData), MapOptions{});
  ASSERT_TRUE(raw.ok());
  auto& data = *reinterpret_cast<ChannelData*>(raw->data());
  SpoilPlace place;
  place.ring = data.control_up_ring;
  if (GetParam() == Spoil::kReplay) place.sequence = 0xFFFF;
  spoil_ring(GetParam(), FrameKind::kRegisterReply, place);
  EXPECT_TRUE(tree.pump_until([&] { return tree.gone.contains(ChildIndex{0}); }));
  EXPECT_EQ(tree.down[ChildIndex{0}].reason(), Reason::kBadFrame);
}

INSTANTIATE_TEST_SUITE_P(Frames, HostileReplyTest, testing::ValuesIn(kSpoils));

}  // namespace
}  // namespace echelon
