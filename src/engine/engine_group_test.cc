// SPDX-License-Identifier: Apache-2.0
//
// Gangs: together or not at all, and not starved.
#include <gtest/gtest.h>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

using enum TaskState;

struct Groups : ::testing::Test {
  std::vector<TaskId> group(std::vector<EngineRig::Builder> members) {
    std::vector<TaskId> ids;
    const Status status = rig.submit_group(members, ids);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return ids;
  }
  std::vector<TaskId> group_of(int size) {
    std::vector<EngineRig::Builder> members;
    for (int i = 0; i < size; ++i) members.push_back(rig.task(run, "member"));
    return group(members);
  }
  void expect_states(const std::vector<TaskId>& ids, TaskState state) {
    for (const TaskId id : ids) EXPECT_EQ(rig.state(id), state);
  }

  EngineRig rig;
  RunId run = rig.begin();
};

TEST_F(Groups, EachMemberHasAChildOfItsOwn) {
  rig.add_subs(3);
  const auto ids = group_of(3);
  expect_states(ids, kDispatched);
  for (std::uint32_t child = 0; child < 3; ++child) EXPECT_EQ(rig.engine.in_flight({child}), 1u);
}

TEST_F(Groups, WaitUntilAllTheirChildrenAreIdle) {
  rig.add_subs(2);
  const TaskId single = rig.task(run).submit();
  const auto ids = group_of(2);
  expect_states(ids, kReady);
  rig.finish(single);
  expect_states(ids, kDispatched);
}

TEST_F(Groups, WaitUntilAllTheirMembersAreReady) {
  rig.add_subs(3);
  const TaskId load = rig.task(run).out(1).at({2}).submit();
  const auto ids = group({rig.task(run), rig.task(run).in(1)});
  EXPECT_EQ(rig.state(ids[0]), kReady);
  EXPECT_EQ(rig.state(ids[1]), kWaiting);
  EXPECT_EQ(rig.engine.in_flight({0}), 0u);
  rig.finish(load);
  expect_states(ids, kDispatched);
}

TEST_F(Groups, SinglesThatComeLaterDoNotStarveThem) {
  rig.add_subs(2);
  std::vector<TaskId> singles;
  for (int i = 0; i < 2; ++i) singles.push_back(rig.task(run).submit());
  const auto ids = group_of(2);
  const TaskId late = rig.task(run).submit();
  rig.finish(singles[0]);
  EXPECT_EQ(rig.state(late), kReady) << "its child is reserved";
  rig.finish(singles[1]);
  expect_states(ids, kDispatched);
  EXPECT_EQ(rig.state(late), kDispatched) << "behind a member: the group has launched";
}

TEST_F(Groups, SinglesThatCameEarlierGoFirst) {
  rig.add({.window = 1});
  const TaskId running = rig.task(run).submit();
  const TaskId earlier = rig.task(run).submit();
  const auto ids = group_of(1);
  rig.finish(running);
  EXPECT_EQ(rig.state(earlier), kDispatched);
  expect_states(ids, kReady);
  rig.finish(earlier);
  expect_states(ids, kDispatched);
}

TEST_F(Groups, OfOtherKindsDoNotWaitForEachOther) {
  rig.add_subs(1);
  rig.add({.kind = ChildKind::kChip});
  const TaskId busy = rig.task(run).submit();
  const auto subs = group_of(1);
  const auto chips = group({rig.task(run).kind(TaskKind::kChip)});
  expect_states(subs, kReady);
  expect_states(chips, kDispatched);
  rig.finish(busy);
  expect_states(subs, kDispatched);
}

TEST_F(Groups, ASmallGroupDoesNotPassALargeOne) {
  rig.add_subs(2);
  const auto first = group_of(1);
  const auto large = group_of(2);
  const auto small = group_of(1);
  expect_states(first, kDispatched);
  expect_states(large, kReady);
  expect_states(small, kReady);
  rig.finish(first[0]);
  expect_states(large, kDispatched);
  expect_states(small, kReady);
}

TEST_F(Groups, MixKindsAndPlaces) {
  rig.add_subs(2);
  rig.add({.kind = ChildKind::kChip});
  const auto ids =
      group({rig.task(run), rig.task(run).at({0}), rig.task(run).kind(TaskKind::kCopy)});
  expect_states(ids, kDispatched);
  EXPECT_TRUE(rig.child({1}).holds(ids[0]));
  EXPECT_TRUE(rig.child({0}).holds(ids[1]));
  EXPECT_TRUE(rig.child({2}).holds(ids[2]));
}

TEST_F(Groups, LargerThanTheChildrenAreRefused) {
  rig.add_subs(2);
  std::vector<EngineRig::Builder> members(3, rig.task(run));
  std::vector<TaskId> ids;
  const Status status = rig.submit_group(members, ids);
  ASSERT_EQ(status.reason(), Reason::kNoEligibleChild);
  EXPECT_EQ(status.info().message,
            "a group of 3 tasks needs a live child of its own for each; 2 can run the first (sub "
            "task) and the places asked for differ from what there is");
  EXPECT_EQ(rig.engine.counters().tasks_live, 0u);
}

TEST_F(Groups, TwoMembersAtOnePlaceAreRefused) {
  rig.add_subs(2);
  std::vector<EngineRig::Builder> members(2, rig.task(run).at({1}));
  std::vector<TaskId> ids;
  EXPECT_EQ(rig.submit_group(members, ids).reason(), Reason::kNoEligibleChild);
}

TEST_F(Groups, MembersDoNotWaitForEachOther) {
  rig.add_subs(2);
  const auto ids = group({rig.task(run).inout(1).in(2), rig.task(run).inout(2).in(1)});
  expect_states(ids, kDispatched);
  const TaskId later = rig.task(run).in(1).submit();
  rig.finish(ids[0]);
  EXPECT_EQ(rig.state(later), kDispatched);
}

TEST_F(Groups, WhatComesAfterMembersThatShareBytesWaitsForAll) {
  rig.add_subs(2);
  const auto ids = group({rig.task(run).out(1), rig.task(run).out(1)});
  const TaskId later = rig.task(run).in(1).submit();
  rig.finish(ids[1]);
  EXPECT_EQ(rig.state(later), kWaiting);
  rig.finish(ids[0]);
  EXPECT_EQ(rig.state(later), kDispatched);
}

TEST_F(Groups, AMemberThatIsSkippedTakesTheOthersWithIt) {
  rig.add_subs(2);
  const TaskId load = rig.task(run).out(1).submit();
  const auto ids = group({rig.task(run), rig.task(run).in(1)});
  rig.finish(load, thrown("no"));
  expect_states(ids, kSkipped);
  EXPECT_EQ(rig.engine.in_flight({0}) + rig.engine.in_flight({1}), 0u);
}

TEST_F(Groups, PoisonKnownAtSubmitSkipsThemAll) {
  rig.add_subs(2);
  rig.finish(rig.task(run).out(1).submit(), thrown("no"));
  expect_states(group({rig.task(run), rig.task(run).in(1)}), kSkipped);
}

TEST_F(Groups, AMemberThatFailsLeavesThoseThatRunAlone) {
  rig.add_subs(2);
  const auto ids = group_of(2);
  rig.finish(ids[0], thrown("no"));
  EXPECT_EQ(rig.state(ids[1]), kDispatched);
  rig.finish(ids[1]);
  EXPECT_EQ(rig.state(ids[1]), kDone);
}

TEST_F(Groups, AChildWithoutRoomHoldsAllBack) {
  rig.add_subs(2);
  rig.child({1}).refuse_room();
  const auto ids = group_of(2);
  expect_states(ids, kReady);
  EXPECT_EQ(rig.child({0}).held(), 0u) << "what was sent is taken back";
  rig.child({1}).allow_room();
  rig.poll();
  expect_states(ids, kDispatched);
}

TEST_F(Groups, AReservedChildThatDiesIsReplaced) {
  rig.add_subs(3);
  std::vector<TaskId> busy;
  for (int i = 0; i < 3; ++i) busy.push_back(rig.task(run).submit());
  const auto ids = group_of(2);  // reserves two of three
  rig.finish(busy[1]);
  rig.finish(busy[2]);
  EXPECT_EQ(rig.state(ids[0]), kReady);
  rig.child({0}).take();
  rig.child({0}).die(killed("pod0/sub0"));
  rig.poll();
  expect_states(ids, kDispatched);
}

TEST_F(Groups, ThatCanNeverLaunchFail) {
  rig.add_subs(2);
  rig.task(run).at({0}).submit();
  const auto ids = group_of(2);
  rig.child({1}).die(killed("pod0/sub1"));
  rig.poll();
  EXPECT_EQ(rig.state(ids[0]), kFailed);
  EXPECT_EQ(rig.engine.task(ids[0]).status.reason(), Reason::kNoEligibleChild);
  EXPECT_EQ(rig.state(ids[1]), kSkipped);
}

TEST_F(Groups, AMemberThatItsDeadChildNeverBeganStartsElsewhere) {
  rig.add_subs(3);
  const auto ids = group_of(2);
  ASSERT_TRUE(rig.child({0}).holds(ids[0]));
  rig.child({1}).take();
  rig.child({0}).die(killed("pod0/sub0"));
  rig.poll();
  EXPECT_TRUE(rig.child({2}).holds(ids[0]));
}

TEST_F(Groups, AreCancelledAsAWhole) {
  rig.add_subs(2);
  const TaskId busy = rig.task(run).submit();
  const auto ids = group_of(2);
  rig.child({0}).take();
  rig.engine.cancel_run(run, {}, rig.now);
  expect_states(ids, kCancelled);
  rig.finish(busy);
  EXPECT_EQ(rig.engine.in_flight({0}), 0u);
}

TEST_F(Groups, ManyAfterEachOtherLeaveNothing) {
  rig.add_subs(2);
  for (int i = 0; i < 50; ++i) {
    const auto ids = group({rig.task(run).inout(1), rig.task(run).inout(2)});
    for (const TaskId id : ids) rig.finish(id);
    for (const TaskId id : ids) EXPECT_EQ(rig.state(id), kDone);
  }
  EXPECT_EQ(rig.engine.counters().tasks_live, 0u);
}

}  // namespace
}  // namespace echelon
