// SPDX-License-Identifier: Apache-2.0
//
// Which child a task goes to, and when it moves to another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

using enum TaskState;
using ::testing::HasSubstr;

std::vector<std::uint32_t> in_flight(const EngineRig& rig) {
  std::vector<std::uint32_t> counts;
  for (std::uint32_t i = 0; i < rig.children.size(); ++i)
    counts.push_back(rig.engine.in_flight({i}));
  return counts;
}

using Counts = std::vector<std::uint32_t>;

TEST(Placement, EachKindOfTaskGoesToItsKindOfChild) {
  EngineRig rig;
  rig.add({.kind = ChildKind::kSub});
  rig.add({.kind = ChildKind::kChip});
  rig.add({.kind = ChildKind::kWorker});
  const RunId run = rig.begin();
  rig.task(run).kind(TaskKind::kChip).submit();
  EXPECT_EQ(in_flight(rig), (Counts{0, 1, 0}));
  rig.task(run).kind(TaskKind::kOrch).submit();
  EXPECT_EQ(in_flight(rig), (Counts{0, 1, 1}));
  rig.task(run).kind(TaskKind::kSub).submit();
  EXPECT_EQ(in_flight(rig), (Counts{1, 1, 1}));
}

TEST(Placement, TheLeastLoadedIsChosenAndEqualsTakeTurns) {
  EngineRig rig;
  rig.add_subs(3);
  const RunId run = rig.begin();
  for (int i = 0; i < 4; ++i) rig.task(run).submit();
  EXPECT_EQ(in_flight(rig), (Counts{2, 1, 1}));
  for (int i = 0; i < 2; ++i) rig.task(run).submit();
  EXPECT_EQ(in_flight(rig), (Counts{2, 2, 2}));
}

TEST(Placement, AnExplicitWorkerIsKept) {
  EngineRig rig;
  rig.add_subs(2);
  const RunId run = rig.begin();
  for (int i = 0; i < 3; ++i) rig.task(run).at({1}).submit();
  EXPECT_EQ(in_flight(rig), (Counts{0, 3}));
}

TEST(Placement, WhereATaskRanIsKnownUntilItIsForgotten) {
  EngineRig rig;
  rig.add_subs(2);
  const RunId run = rig.begin();
  const TaskId task = rig.task(run).at({1}).out(1).submit();
  const TaskId behind = rig.task(run).in(1).submit();
  EXPECT_EQ(rig.engine.child_of(task), ChildIndex{1});
  EXPECT_EQ(rig.engine.child_of(behind), std::nullopt);
  const std::array result = {std::byte{7}};
  rig.finish(task, {}, result);
  EXPECT_EQ(rig.engine.child_of(task), ChildIndex{1});
  rig.finish(behind);
  EXPECT_EQ(rig.engine.child_of(behind), std::nullopt);
}

TEST(Placement, ATensorThatOneChildReachesDecides) {
  EngineRig rig;
  rig.add({.kind = ChildKind::kChip});
  rig.add({.kind = ChildKind::kChip});
  const RunId run = rig.begin();
  rig.task(run).kind(TaskKind::kChip).in(1).only_at({1}).submit();
  EXPECT_EQ(in_flight(rig), (Counts{0, 1}));
  rig.task(run).kind(TaskKind::kCopy).in(2).only_at({1}).out(3).submit();
  EXPECT_EQ(in_flight(rig), (Counts{0, 2}));
}

TEST(Placement, ACopyBetweenHostTensorsGoesAnywhere) {
  EngineRig rig;
  rig.add({.kind = ChildKind::kWorker});
  rig.add({.kind = ChildKind::kChip});
  const RunId run = rig.begin();
  rig.task(run).kind(TaskKind::kCopy).in(1).out(2).submit();
  rig.task(run).kind(TaskKind::kCopy).in(3).out(4).submit();
  EXPECT_EQ(in_flight(rig), (Counts{1, 1}));
}

TEST(Placement, TensorsThatNoOneChildReachesAreRefused) {
  EngineRig rig;
  rig.add({.kind = ChildKind::kChip});
  rig.add({.kind = ChildKind::kChip});
  const auto result = rig.task(rig.begin(), "mix")
                          .kind(TaskKind::kChip)
                          .in(1)
                          .only_at({0})
                          .out(2)
                          .only_at({1})
                          .try_submit();
  ASSERT_EQ(result.status().reason(), Reason::kNoEligibleChild);
  EXPECT_EQ(result.status().info().message,
            "no child can run 'mix': one of its tensors lies at pod0/chip1 alone, but it must run "
            "at pod0/chip0");
}

TEST(Placement, AKindThatNoChildRunsIsRefusedWithTheChildren) {
  EngineRig rig;
  rig.add_subs(1);
  rig.add({.kind = ChildKind::kWorker});
  const auto result = rig.task(rig.begin(), "gemm").kind(TaskKind::kChip).try_submit();
  ASSERT_EQ(result.status().reason(), Reason::kWrongKind);
  EXPECT_EQ(result.status().info().message,
            "no child of pod0 can run 'gemm' (chip task): sub0 runs sub-worker tasks; worker0 "
            "runs orchestration tasks");
}

TEST(Placement, AnExplicitWorkerOfTheWrongKindIsRefused) {
  EngineRig rig;
  rig.add_subs(1);
  const auto result = rig.task(rig.begin(), "gemm").kind(TaskKind::kChip).at({0}).try_submit();
  ASSERT_EQ(result.status().reason(), Reason::kWrongKind);
  EXPECT_EQ(result.status().info().message,
            "'gemm' must run at pod0/sub0, which cannot run it: sub0 runs sub-worker tasks");
}

TEST(Placement, AWorkerThatIsNotThereIsRefused) {
  EngineRig rig;
  rig.add_subs(1);
  const auto result = rig.task(rig.begin()).at({7}).try_submit();
  EXPECT_EQ(result.status().reason(), Reason::kBadArgument);
  EXPECT_THAT(result.status().info().message, HasSubstr("there is no child 7"));
}

TEST(Placement, TheWindowBoundsWhatAChildHolds) {
  EngineRig rig;
  rig.add({.window = 4});
  const RunId run = rig.begin();
  for (int i = 0; i < 10; ++i) rig.task(run).submit();
  EXPECT_EQ(in_flight(rig), (Counts{4}));
}

TEST(Placement, AChildWithoutRoomIsTriedAgainAfterACompletion) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId first = rig.task(run).submit();
  rig.child({0}).refuse_room();
  const TaskId second = rig.task(run).submit();
  EXPECT_EQ(rig.state(second), kReady);
  rig.child({0}).allow_room();
  rig.finish(first);
  EXPECT_EQ(rig.state(second), kDispatched);
}

TEST(Placement, AnIdleChildWithoutRoomIsTriedAgainAtTheNextPoll) {
  EngineRig rig;
  rig.add_subs(1);
  rig.child({0}).refuse_room();
  const TaskId task = rig.task(rig.begin()).submit();
  rig.poll();
  EXPECT_EQ(rig.state(task), kReady);
  rig.child({0}).allow_room();
  rig.poll();
  EXPECT_EQ(rig.state(task), kDispatched);
}

TEST(Placement, AChildWithoutRoomLeavesTheTaskToItsSiblings) {
  EngineRig rig;
  rig.add_subs(2);
  rig.child({0}).refuse_room();
  const TaskId task = rig.task(rig.begin()).submit();
  EXPECT_EQ(rig.state(task), kDispatched);
  EXPECT_EQ(in_flight(rig), (Counts{0, 1}));
}

TEST(Placement, OlderTasksGoFirstWhetherPlacedOrNot) {
  EngineRig rig;
  rig.add({.window = 1});
  const RunId run = rig.begin();
  const TaskId running = rig.task(run).submit();
  const TaskId free_first = rig.task(run).submit();
  const TaskId fixed = rig.task(run).at({0}).submit();
  const TaskId free_second = rig.task(run).submit();
  rig.finish(running);
  EXPECT_EQ(rig.state(free_first), kDispatched);
  rig.finish(free_first);
  EXPECT_EQ(rig.state(fixed), kDispatched);
  EXPECT_EQ(rig.state(free_second), kReady);
  rig.finish(fixed);
  EXPECT_EQ(rig.state(free_second), kDispatched);
}

// --- idle siblings
// --------------------------------------------------------------------------------

struct Stealing : ::testing::Test {
  Stealing() { rig.add_subs(2); }
  EngineRig rig;
  RunId run = rig.begin();
};

TEST_F(Stealing, AnIdleChildTakesTheNewestThatWaitsAtItsSibling) {
  std::vector<TaskId> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(rig.task(run).submit());  // 0 and 2 at child 0
  ASSERT_EQ(in_flight(rig), (Counts{2, 2}));
  const TaskId fifth = rig.task(run).submit();
  ASSERT_TRUE(rig.child({0}).holds(fifth));
  rig.child({0}).take();
  rig.finish(tasks[1]);
  EXPECT_EQ(in_flight(rig), (Counts{3, 1}));
  rig.finish(tasks[3]);
  EXPECT_EQ(in_flight(rig), (Counts{2, 1}));
  EXPECT_TRUE(rig.child({1}).holds(fifth));
  EXPECT_EQ(rig.engine.counters().recalled, 1u);
  rig.finish(fifth);
  EXPECT_TRUE(rig.child({1}).holds(tasks[2]));
}

TEST_F(Stealing, WhatMustRunThereStays) {
  const TaskId other = rig.task(run).at({1}).submit();
  rig.task(run).at({0}).submit();
  const TaskId fixed = rig.task(run).at({0}).submit();
  rig.finish(other);
  EXPECT_TRUE(rig.child({0}).holds(fixed));
  EXPECT_EQ(rig.engine.counters().recalled, 0u);
}

TEST_F(Stealing, WhatIsTakenStays) {
  const TaskId other = rig.task(run).at({1}).submit();
  rig.task(run).at({0}).submit();
  rig.task(run).submit();
  rig.task(run).submit();
  ASSERT_EQ(in_flight(rig), (Counts{2, 2}));
  while (rig.child({0}).take()) {}
  while (rig.child({1}).take()) {}
  rig.finish(other);
  EXPECT_EQ(in_flight(rig), (Counts{2, 1}));
  EXPECT_EQ(rig.engine.counters().recalled, 0u);
}

TEST_F(Stealing, OtherKindsOfChildrenDoNot) {
  EngineRig mixed;
  mixed.add({.kind = ChildKind::kSub});
  mixed.add({.kind = ChildKind::kChip});
  const RunId mixed_run = mixed.begin();
  const TaskId chip = mixed.task(mixed_run).kind(TaskKind::kChip).submit();
  mixed.task(mixed_run).submit();
  mixed.task(mixed_run).submit();
  mixed.finish(chip);
  EXPECT_EQ(in_flight(mixed), (Counts{2, 0}));
}

}  // namespace
}  // namespace echelon
