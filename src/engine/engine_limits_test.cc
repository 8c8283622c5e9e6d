// SPDX-License-Identifier: Apache-2.0
//
// Bounded tables: what is refused, what may be waited for, and that nothing leaks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

using enum TaskState;
using ::testing::HasSubstr;

TEST(Limits, TaskSlotsRunOutAndComeBack) {
  EngineLimits limits;
  limits.tasks_max = 4;
  EngineRig rig(limits);
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId first = rig.task(run).submit();
  for (int i = 0; i < 3; ++i) rig.task(run).submit();
  const auto refused = rig.task(run).try_submit();
  ASSERT_EQ(refused.status().reason(), Reason::kExhausted);
  EXPECT_EQ(refused.status().info().message,
            "all 4 task slots are used; most is held by run 1 (4 tasks not ended)");
  EXPECT_TRUE(rig.engine.can_wait_for_room());
  rig.finish(first);
  EXPECT_TRUE(rig.task(run).try_submit().ok());
}

TEST(Limits, TheScopeThatHoldsMostIsNamed) {
  EngineLimits limits;
  limits.tasks_max = 6;
  EngineRig rig(limits);
  rig.add_subs(1);
  const RunId run = rig.begin();
  const std::uint32_t epoch = rig.engine.open_scope(run, 0, "epoch").value();
  const std::uint32_t step = rig.engine.open_scope(run, epoch, "step").value();
  rig.task(run).submit();
  rig.task(run).scope(epoch).submit();
  for (int i = 0; i < 4; ++i) rig.task(run).scope(step).submit();
  EXPECT_EQ(rig.task(run).try_submit().status().info().message,
            "all 6 task slots are used; most is held by scope 'epoch/step' (4 tasks not ended)");
}

TEST(Limits, WhatOnlyReleasingARunCanFreeIsNotWaitedFor) {
  EngineLimits limits;
  limits.tasks_max = 2;
  EngineRig rig(limits);
  rig.add_subs(1);
  const RunId run = rig.begin();
  for (int i = 0; i < 2; ++i) rig.finish(rig.task(run).submit(), thrown("no"));
  EXPECT_EQ(rig.task(run).try_submit().status().reason(), Reason::kExhausted);
  EXPECT_FALSE(rig.engine.can_wait_for_room());
  rig.seal(run);
  rig.engine.release_run(run);
  EXPECT_TRUE(rig.task(rig.begin()).try_submit().ok());
}

TEST(Limits, BodyBytesRunOutAndComeBack) {
  EngineLimits limits;
  limits.body_bytes_max = 1000;
  EngineRig rig(limits);
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId first = rig.task(run).body(700).submit();
  EXPECT_EQ(rig.task(run).body(301).try_submit().status().reason(), Reason::kExhausted);
  EXPECT_TRUE(rig.engine.can_wait_for_room());
  EXPECT_TRUE(rig.task(run).body(300).try_submit().ok());
  rig.finish(first);
  EXPECT_TRUE(rig.task(run).body(301).try_submit().ok());
}

TEST(Limits, WhatCouldNeverFitIsNotWaitedFor) {
  EngineLimits limits;
  limits.body_bytes_max = 1000;
  EngineRig rig(limits);
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).submit();
  EXPECT_EQ(rig.task(run).body(1001).try_submit().status().reason(), Reason::kExhausted);
  EXPECT_FALSE(rig.engine.can_wait_for_room());
}

TEST(Limits, EdgesRunOutWithoutATrace) {
  EngineLimits limits;
  limits.edges_max = 3;
  EngineRig rig(limits);
  rig.add_subs(1);
  const RunId run = rig.begin();
  std::vector<TaskId> readers;
  for (int i = 0; i < 4; ++i) readers.push_back(rig.task(run).in(1).submit());
  EXPECT_EQ(rig.task(run).out(1).try_submit().status().reason(), Reason::kExhausted);
  EXPECT_TRUE(rig.engine.can_wait_for_room());
  EXPECT_EQ(rig.engine.counters().submitted, 4u);
  const TaskId reader = rig.task(run).in(1).submit();
  EXPECT_EQ(rig.state(reader), kDispatched) << "no writer stands there";
  for (const TaskId task : readers) rig.finish(task);
  const TaskId writer = rig.task(run).out(1).submit();
  rig.finish(reader);
  rig.finish(writer);
  EXPECT_EQ(rig.engine.counters().tasks_live, 0u);
}

TEST(Limits, AGroupThatFindsNoEdgesLeavesNoTrace) {
  EngineLimits limits;
  limits.edges_max = 1;
  EngineRig rig(limits);
  rig.add_subs(2);
  const RunId run = rig.begin();
  const TaskId first = rig.task(run).out(1).submit();
  std::vector<EngineRig::Builder> members(2, rig.task(run).in(1).out(2));
  std::vector<TaskId> ids;
  EXPECT_EQ(rig.submit_group(members, ids).reason(), Reason::kExhausted);
  rig.finish(first);
  EXPECT_EQ(rig.engine.counters().tasks_live, 0u);
  EXPECT_TRUE(rig.submit_group(members, ids).ok());
}

TEST(Limits, TooManyTensorsAreRefused) {
  EngineLimits limits;
  limits.accesses_per_task_max = 2;
  EngineRig rig(limits);
  rig.add_subs(1);
  const auto result = rig.task(rig.begin(), "wide").in(1).in(2).in(3).try_submit();
  EXPECT_EQ(result.status().reason(), Reason::kTooLarge);
  EXPECT_THAT(result.status().info().message, HasSubstr("'wide' has 3 tensors; at most 2"));
}

TEST(Limits, RunsRunOut) {
  EngineLimits limits;
  limits.runs_max = 2;
  EngineRig rig(limits);
  const RunId first = rig.begin();
  rig.begin();
  EXPECT_EQ(rig.engine.begin_run({}, rig.now).status().reason(), Reason::kExhausted);
  rig.seal(first);
  rig.engine.release_run(first);
  EXPECT_TRUE(rig.engine.begin_run({}, rig.now).ok());
}

// --- scopes
// ---------------------------------------------------------------------------------------

struct Scopes : ::testing::Test {
  Scopes() { rig.add_subs(1); }
  std::uint32_t open(std::uint32_t parent, std::string_view name) {
    return rig.engine.open_scope(run, parent, name).value();
  }
  EngineRig rig;
  RunId run = rig.begin();
};

TEST_F(Scopes, CountTheirTasksAndThoseBelow) {
  const std::uint32_t outer = open(0, "outer");
  const std::uint32_t inner = open(outer, "inner");
  const TaskId task = rig.task(run).scope(inner).submit();
  rig.task(run).scope(outer).submit();
  rig.task(run).submit();
  EXPECT_EQ(rig.engine.scope_live(outer), 2u);
  EXPECT_EQ(rig.engine.scope_live(inner), 1u);
  rig.finish(task);
  EXPECT_EQ(rig.engine.scope_live(outer), 1u);
  EXPECT_EQ(rig.engine.scope_live(inner), 0u);
}

TEST_F(Scopes, ClosedOnesCountUntilTheirLastTaskEnds) {
  const std::uint32_t scope = open(0, "s");
  const TaskId task = rig.task(run).scope(scope).submit();
  rig.engine.close_scope(scope);
  EXPECT_EQ(rig.engine.scope_live(scope), 1u);
  rig.finish(task);
  EXPECT_EQ(rig.engine.scope_live(scope), 0u);
  EXPECT_EQ(rig.task(run).scope(scope).try_submit().status().reason(), Reason::kWrongState);
}

TEST_F(Scopes, OfAnotherRunAreRefused) {
  const std::uint32_t scope = open(0, "s");
  EXPECT_EQ(rig.task(rig.begin()).scope(scope).try_submit().status().reason(), Reason::kWrongState);
}

TEST_F(Scopes, AreForgottenWithTheirRun) {
  for (int i = 0; i < 10; ++i) open(open(0, "a"), "b");
  rig.seal(run);
  rig.engine.release_run(run);
  const RunId next = rig.begin();
  EXPECT_TRUE(rig.engine.open_scope(next, 0, "s").ok());
}

TEST(ScopeLimits, RunOutAndComeBack) {
  EngineLimits limits;
  limits.scopes_max = 2;
  EngineRig rig(limits);
  rig.add_subs(1);
  const RunId run = rig.begin();
  const std::uint32_t a = rig.engine.open_scope(run, 0, "a").value();
  rig.engine.open_scope(run, 0, "b").value();
  EXPECT_EQ(rig.engine.open_scope(run, 0, "c").status().reason(), Reason::kExhausted);
  EXPECT_FALSE(rig.engine.can_wait_for_room());
  const TaskId task = rig.task(run).scope(a).submit();
  rig.engine.close_scope(a);
  EXPECT_EQ(rig.engine.open_scope(run, 0, "c").status().reason(), Reason::kExhausted);
  EXPECT_TRUE(rig.engine.can_wait_for_room());
  rig.finish(task);
  EXPECT_TRUE(rig.engine.open_scope(run, 0, "c").ok());
}

// --- steady state
// ---------------------------------------------------------------------------------

TEST(SteadyState, GrowsNothing) {
  EngineRig rig;
  rig.add({.automatic = true});
  const RunId run = rig.begin();
  const auto round = [&] {
    for (std::uint32_t i = 0; i < 2000; ++i)
      rig.task(run).in(i % 64).out((i * 7) % 64).body(150).submit();
    while (!rig.engine.idle()) rig.poll();
  };
  round();
  const std::size_t grown = rig.engine.memory_bytes();
  for (int i = 0; i < 5; ++i) round();
  EXPECT_EQ(rig.engine.memory_bytes(), grown);
}

}  // namespace
}  // namespace echelon
