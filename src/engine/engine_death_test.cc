// SPDX-License-Identifier: Apache-2.0
//
// The two steps of a child's death.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

using enum TaskState;
using ::testing::HasSubstr;

struct Deaths : ::testing::Test {
  void kill(std::uint32_t child) {
    rig.child({child}).die(killed("pod0/sub" + std::to_string(child)));
    rig.poll();
  }
  EngineRig rig;
  RunId run = rig.begin();
};

TEST_F(Deaths, ATakenTaskFailsWithTheCause) {
  rig.add_subs(1);
  const TaskId task = rig.task(run, "step").submit();
  rig.child({0}).take();
  rig.now += 4 * kMs;
  kill(0);
  ASSERT_EQ(rig.state(task), kFailed);
  const ErrorInfo info = rig.engine.task(task).status.info();
  EXPECT_EQ(info.code, Code::kUnavailable);
  EXPECT_EQ(info.reason, Reason::kChildDied);
  EXPECT_EQ(info.cause, Cause::kSignal);
  EXPECT_EQ(info.signal, 9);
  EXPECT_EQ(info.pid, 71);
  EXPECT_EQ(info.phase, Phase::kRunning);
  EXPECT_EQ(info.path, "pod0/sub0");
  EXPECT_EQ(info.callable, "step");
  EXPECT_EQ(info.time_in_phase, std::chrono::milliseconds(4));
}

TEST_F(Deaths, WhatWasPublishedBeforeIsDone) {
  rig.add_subs(1);
  const TaskId done = rig.task(run).submit();
  const TaskId lost = rig.task(run).submit();
  rig.child({0}).finish(done);
  rig.child({0}).take();
  kill(0);
  EXPECT_EQ(rig.state(done), kDone);
  EXPECT_EQ(rig.state(lost), kFailed);
}

TEST_F(Deaths, WhatWasQueuedGoesElsewhere) {
  rig.add_subs(2);
  const TaskId a = rig.task(run).submit();
  const TaskId b = rig.task(run).submit();
  const TaskId c = rig.task(run).submit();
  ASSERT_TRUE(rig.child({0}).holds(a) && rig.child({1}).holds(b) && rig.child({0}).holds(c));
  rig.child({0}).take();
  kill(0);
  EXPECT_EQ(rig.state(a), kFailed);
  EXPECT_TRUE(rig.child({1}).holds(c));
  EXPECT_EQ(rig.engine.in_flight({0}), 0u);
}

TEST_F(Deaths, WhatMustRunThereFailsAndSaysSo) {
  rig.add({.window = 1});
  rig.add_subs(1);
  rig.task(run).at({0}).submit();
  const TaskId fixed = rig.task(run, "pinned").at({0}).submit();
  rig.child({0}).take();
  kill(0);
  ASSERT_EQ(rig.state(fixed), kFailed);
  const ErrorInfo info = rig.engine.task(fixed).status.info();
  EXPECT_EQ(info.reason, Reason::kNoEligibleChild);
  EXPECT_EQ(info.message,
            "'pinned' must run at pod0/sub0, which cannot run it: sub0 is down: pod0/sub0 was "
            "killed by signal 9");
  const auto later = rig.task(run).at({0}).try_submit();
  EXPECT_EQ(later.status().reason(), Reason::kNoEligibleChild);
}

TEST_F(Deaths, PlacementAvoidsTheDead) {
  rig.add_subs(2);
  kill(0);
  for (int i = 0; i < 3; ++i) rig.task(run).submit();
  EXPECT_EQ(rig.engine.in_flight({1}), 3u);
}

TEST_F(Deaths, WithTheLastChildAllThatNeedItFails) {
  rig.add({.window = 1});
  rig.task(run).submit();
  const TaskId ready = rig.task(run, "ready").submit();
  rig.seal(run);
  rig.child({0}).take();
  kill(0);
  EXPECT_EQ(rig.state(ready), kFailed);
  EXPECT_THAT(rig.engine.task(ready).status.info().message,
              HasSubstr("no live child of pod0 can run 'ready' (sub task): sub0 is down"));
  EXPECT_TRUE(rig.end_of(run));
}

TEST_F(Deaths, ATaskThatBecomesReadyAfterTheLastDeathFails) {
  rig.add_subs(1);
  rig.add({.kind = ChildKind::kChip});
  const TaskId chip = rig.task(run).kind(TaskKind::kChip).out(1).submit();
  const TaskId sub = rig.task(run).in(1).submit();
  kill(0);
  EXPECT_EQ(rig.state(sub), kWaiting);
  rig.finish(chip);
  EXPECT_EQ(rig.engine.task(sub).status.reason(), Reason::kNoEligibleChild);
}

TEST_F(Deaths, SubmitAfterTheLastDeathSaysWhy) {
  rig.add_subs(1);
  kill(0);
  const auto result = rig.task(run, "late").try_submit();
  ASSERT_EQ(result.status().reason(), Reason::kNoEligibleChild);
  EXPECT_EQ(result.status().info().cause, Cause::kSignal);
  EXPECT_EQ(result.status().info().message,
            "no live child of pod0 can run 'late' (sub task): sub0 is down: pod0/sub0 was killed "
            "by signal 9");
}

TEST_F(Deaths, TheReasonIsTheOneThatWasFound) {
  rig.add_subs(1);
  const TaskId task = rig.task(run).submit();
  rig.child({0}).take();
  rig.child({0}).die(
      Status::error(Code::kDataLoss, Reason::kBadFrame, "pod0/sub0 wrote a frame of kind 77"));
  rig.poll();
  EXPECT_EQ(rig.engine.task(task).status.reason(), Reason::kBadFrame);
}

TEST_F(Deaths, MemoryIsHeldUntilTheChildIsGone) {
  rig.add({.reap_at_once = false});
  rig.add_subs(1);
  rig.task(run).at({0}).use(bytes_of(1, 0, 100), Tag::kOutput, 5).submit();
  rig.child({0}).take();
  const TaskId writer = rig.task(run).at({1}).out(1).submit();
  kill(0);
  EXPECT_TRUE(rig.releases.empty());
  EXPECT_EQ(rig.state(writer), kWaiting) << "the dying process may still write there";
  rig.child({0}).reap();
  rig.poll();
  EXPECT_EQ(rig.releases, std::vector<std::uint64_t>{5});
  EXPECT_EQ(rig.state(writer), kDispatched);
}

TEST_F(Deaths, ARunMayBeReleasedBeforeTheChildIsGone) {
  rig.add({.reap_at_once = false});
  rig.task(run).use(bytes_of(1, 0, 100), Tag::kOutput, 5).submit();
  rig.seal(run);
  rig.child({0}).take();
  kill(0);
  ASSERT_TRUE(rig.end_of(run));
  rig.engine.release_run(run);
  EXPECT_EQ(rig.engine.counters().tasks_live, 1u);
  rig.child({0}).reap();
  rig.poll();
  EXPECT_EQ(rig.releases, std::vector<std::uint64_t>{5});
  EXPECT_EQ(rig.engine.counters().tasks_live, 0u);
}

TEST_F(Deaths, SiblingsGoOn) {
  rig.add_subs(2);
  const TaskId lost = rig.task(run).at({0}).submit();
  const TaskId fine = rig.task(run).at({1}).submit();
  rig.child({0}).take();
  rig.child({1}).take();
  kill(0);
  rig.finish(fine);
  EXPECT_EQ(rig.state(lost), kFailed);
  EXPECT_EQ(rig.state(fine), kDone);
}

TEST_F(Deaths, AChildThatReportsWhatItDidNotHoldIsEnded) {
  rig.add_subs(2);
  const TaskId elsewhere = rig.task(run).at({1}).submit();
  rig.task(run).at({0}).submit();
  rig.engine.on_completion({0}, Completion{elsewhere, {}, {}});
  rig.engine.on_completion({0}, Completion{TaskId{12345}, {}, {}});
  EXPECT_EQ(rig.state(elsewhere), kDispatched);
  rig.poll();
  EXPECT_TRUE(rig.child({0}).terminated());
  EXPECT_FALSE(rig.engine.child_live({0}));
  EXPECT_TRUE(rig.engine.child_live({1}));
}

TEST_F(Deaths, OfAChildThatWaitsForNothingTouchNothing) {
  rig.add_subs(2);
  const TaskId fine = rig.task(run).at({1}).submit();
  kill(0);
  EXPECT_EQ(rig.state(fine), kDispatched);
  rig.seal(run);
  rig.finish(fine);
  EXPECT_TRUE(rig.end_of(run)->ok());
}

}  // namespace
}  // namespace echelon
