// SPDX-License-Identifier: Apache-2.0
//
// Peers that write garbage, short, oversize, replayed and unasked-for frames into each ring of a
// channel: their tasks fail with the reason; parent and siblings go on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <string>
#include <tuple>

#include "base/mapping.h"
#include "process/last_words.h"
#include "process/test_tree.h"

namespace echelon {
namespace {

using testing::HasSubstr;

constexpr ChildIndex kHostile{0};
constexpr std::uint32_t kSibling = 1;

TestTree::Options two_children() {
  TestTree::Options options;
  options.children = 2;
  // No pings: the next frame of the control rings is the one that is spoiled.
  options.unresponsive_after = std::chrono::hours(24 * 365 * 50);
  return options;
}

std::string name_of(Spoil how) {
  switch (how) {
    case Spoil::kGarbage:
      return "Garbage";
    case Spoil::kShort:
      return "Short";
    case Spoil::kOversize:
      return "Oversize";
    case Spoil::kReplay:
      return "Replayed";
    case Spoil::kUnknown:
      return "Unasked";
  }
  return "";
}

enum class UpRing : std::uint64_t { kCompletion = 0, kControl = 1 };

class HostileChildTest : public testing::TestWithParam<std::tuple<Spoil, UpRing>> {};

TEST_P(HostileChildTest, FailsItsOwnTasksWithTheReasonAndNothingElse) {
  const auto [how, ring] = GetParam();
  TestTree tree(two_children());
  ASSERT_TRUE(tree.start());
  const TaskId last = tree.send(TestTask::kEmpty);
  ASSERT_TRUE(tree.pump_until_done(last));
  const TaskId running =
      tree.send(TestTask::kSpoilRing,
                {static_cast<std::uint64_t>(how), static_cast<std::uint64_t>(ring), last.value});
  const TaskId queued = tree.send(TestTask::kEmpty);
  ASSERT_TRUE(tree.pump_until([&] { return tree.gone.contains(kHostile); }));
  EXPECT_EQ(tree.down[kHostile].reason(), Reason::kBadFrame) << tree.down[kHostile].to_string();
  EXPECT_EQ(tree.down[kHostile].info().path, "root/child0");
  EXPECT_FALSE(tree.done.contains(running));
  EXPECT_FALSE(tree.done.contains(queued));
  EXPECT_EQ(tree.done[last].times, 1);
  tree.run(TestTask::kEcho, {1}, kSibling);
  EXPECT_FALSE(tree.child(kSibling).down());
  EXPECT_TRUE(tree.close().ok());
}

INSTANTIATE_TEST_SUITE_P(Rings, HostileChildTest,
                         testing::Combine(testing::ValuesIn(kSpoils),
                                          testing::Values(UpRing::kCompletion, UpRing::kControl)),
                         [](const auto& of) {
                           return name_of(std::get<0>(of.param)) +
                                  (std::get<1>(of.param) == UpRing::kCompletion ? "Completion"
                                                                                : "Control");
                         });

enum class DownRing { kTask, kControl };

class HostileParentTest : public testing::TestWithParam<std::tuple<Spoil, DownRing>> {
 protected:
  // Writes into the channel of child 0 beside its endpoint.
  static void spoil(TestTree& tree, Spoil how, DownRing ring) {
    ChannelParent& channel = tree.child().channel();
    auto raw = Mapping::map(channel.fd(), sizeof(ChannelData), MapOptions{});
    ASSERT_TRUE(raw.ok());
    auto& data = *reinterpret_cast<ChannelData*>(raw->data());
    SpoilPlace place;
    place.ring = ring == DownRing::kTask ? data.task_ring : data.control_down_ring;
    // Of the child's own kinds; a completion going down is nothing it can be asked for.
    const bool unasked = how == Spoil::kUnknown || how == Spoil::kReplay;
    if (how == Spoil::kReplay) place.sequence = 0xFFFF;
    FrameKind kind = ring == DownRing::kTask ? FrameKind::kSubTask : FrameKind::kPing;
    if (unasked) kind = FrameKind::kCompletion;
    spoil_ring(how, kind, place);
    (ring == DownRing::kTask ? channel.executor : channel.control).wake();
  }
};

TEST_P(HostileParentTest, EndsItsChildWithTheReasonAndNobodyElse) {
  const auto [how, ring] = GetParam();
  TestTree tree(two_children());
  ASSERT_TRUE(tree.start());
  spoil(tree, how, ring);
  if (ring == DownRing::kTask && how == Spoil::kShort) {
    // Its header is sound: the child answers that the body is not, which nobody asked for.
    ASSERT_TRUE(tree.pump_until([&] { return tree.gone.contains(kHostile); }));
    EXPECT_EQ(tree.down[kHostile].reason(), Reason::kBadFrame);
  } else {
    ASSERT_TRUE(tree.pump_until([&] { return tree.exits.contains(kHostile); }));
    EXPECT_EQ(WEXITSTATUS(tree.exits[kHostile].wait_status), 1);
    EXPECT_EQ(read_last_words(tree.child().channel()).reason(), Reason::kBadFrame);
    ASSERT_TRUE(tree.pump_until([&] { return tree.gone.contains(kHostile); }));
    EXPECT_EQ(tree.down[kHostile].reason(), Reason::kBadFrame);
  }
  tree.run(TestTask::kEcho, {1}, kSibling);
  EXPECT_TRUE(tree.close().ok());
}

INSTANTIATE_TEST_SUITE_P(Rings, HostileParentTest,
                         testing::Combine(testing::ValuesIn(kSpoils),
                                          testing::Values(DownRing::kTask, DownRing::kControl)),
                         [](const auto& of) {
                           return name_of(std::get<0>(of.param)) +
                                  (std::get<1>(of.param) == DownRing::kTask ? "Task" : "Control");
                         });

}  // namespace
}  // namespace echelon
