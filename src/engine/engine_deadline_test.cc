// SPDX-License-Identifier: Apache-2.0
//
// Ends from above: deadlines and cancellation, on a clock that only the test moves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

using enum TaskState;
using ::testing::HasSubstr;

struct Deadlines : ::testing::Test {
  EngineRig rig;
  const MonotonicNs start = rig.now;
};

TEST_F(Deadlines, ATaskThatWaitsFailsAtOnce) {
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).out(1).submit();
  const TaskId late = rig.task(run, "late").in(1).deadline(start + 10 * kMs).submit();
  EXPECT_EQ(rig.engine.next_timer_ns(), start + 10 * kMs);
  rig.advance_to(start + 9 * kMs);
  EXPECT_EQ(rig.state(late), kWaiting);
  rig.advance_to(start + 10 * kMs);
  ASSERT_EQ(rig.state(late), kFailed);
  const ErrorInfo info = rig.engine.task(late).status.info();
  EXPECT_EQ(info.code, Code::kDeadlineExceeded);
  EXPECT_EQ(info.reason, Reason::kDeadline);
  EXPECT_EQ(info.cause, Cause::kDeadline);
  EXPECT_EQ(info.phase, Phase::kQueued);
  EXPECT_EQ(info.time_in_phase, std::chrono::milliseconds(10));
  EXPECT_EQ(info.callable, "late");
  EXPECT_EQ(info.message, "the deadline of 'late' passed before it could start");
  EXPECT_EQ(rig.engine.next_timer_ns(), 0u);
}

TEST_F(Deadlines, AReadyTaskFailsAtOnceAndLeavesTheQueue) {
  rig.add({.window = 1});
  const RunId run = rig.begin();
  const TaskId first = rig.task(run).submit();
  const TaskId late = rig.task(run).deadline(start + kMs).submit();
  const TaskId next = rig.task(run).submit();
  rig.advance_to(start + kMs);
  EXPECT_EQ(rig.state(late), kFailed);
  rig.finish(first);
  EXPECT_EQ(rig.state(next), kDispatched);
}

TEST_F(Deadlines, ATaskNotYetBegunIsTakenBack) {
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).submit();
  const TaskId late = rig.task(run).deadline(start + kMs).submit();
  rig.child({0}).take();
  rig.advance_to(start + kMs);
  EXPECT_EQ(rig.state(late), kFailed);
  EXPECT_EQ(rig.engine.task(late).status.info().phase, Phase::kQueued);
  EXPECT_EQ(rig.child({0}).held(), 1u);
}

TEST_F(Deadlines, ARunningTaskIsAskedThenItsProcessEnds) {
  rig.add({.reap_at_once = false});
  const RunId run = rig.begin();
  const TaskId stuck =
      rig.task(run, "stuck").use(bytes_of(1, 0, 9), Tag::kOutput, 5).deadline(start + kMs).submit();
  rig.child({0}).take();
  rig.advance_to(start + kMs);
  EXPECT_EQ(rig.state(stuck), kRunning);
  EXPECT_EQ(rig.child({0}).cancel_requests(), std::vector<TaskId>{stuck});
  EXPECT_EQ(rig.engine.next_timer_ns(), start + 6 * kMs);
  rig.advance_to(start + 6 * kMs);
  ASSERT_EQ(rig.state(stuck), kFailed) << "the caller need not wait for the death";
  EXPECT_TRUE(rig.child({0}).terminated());
  const ErrorInfo info = rig.engine.task(stuck).status.info();
  EXPECT_EQ(info.reason, Reason::kDeadline);
  EXPECT_EQ(info.phase, Phase::kRunning);
  EXPECT_EQ(info.path, "pod0/sub0");
  EXPECT_EQ(info.time_in_phase, std::chrono::milliseconds(6));
  EXPECT_TRUE(rig.releases.empty()) << "it may still write";
  rig.poll();
  EXPECT_TRUE(rig.releases.empty());
  rig.child({0}).reap();
  rig.poll();
  EXPECT_EQ(rig.releases, std::vector<std::uint64_t>{5});
  EXPECT_FALSE(rig.engine.child_live({0}));
}

TEST_F(Deadlines, ATaskThatStopsWhenAskedKeepsItsProcess) {
  rig.add_subs(1);
  const TaskId slow = rig.task(rig.begin()).deadline(start + kMs).submit();
  rig.child({0}).take();
  rig.advance_to(start + kMs);
  rig.finish(slow, thrown("stopped"));
  EXPECT_EQ(rig.engine.task(slow).status.reason(), Reason::kDeadline);
  rig.advance_to(start + 100 * kMs);
  EXPECT_FALSE(rig.child({0}).terminated());
  EXPECT_TRUE(rig.engine.child_live({0}));
}

TEST_F(Deadlines, ATaskThatEndsWellInTheGraceIsDone) {
  rig.add_subs(1);
  const TaskId slow = rig.task(rig.begin()).deadline(start + kMs).submit();
  rig.child({0}).take();
  rig.advance_to(start + kMs);
  rig.finish(slow);
  EXPECT_EQ(rig.state(slow), kDone);
}

TEST_F(Deadlines, AWorkerHasTheDeadlineItselfAndMoreTime) {
  rig.add({.kind = ChildKind::kWorker});
  const TaskId task = rig.task(rig.begin()).kind(TaskKind::kOrch).deadline(start + kMs).submit();
  rig.child({0}).take();
  rig.advance_to(start + kMs);
  EXPECT_TRUE(rig.child({0}).cancel_requests().empty());
  EXPECT_EQ(rig.engine.next_timer_ns(), start + 21 * kMs);
  ErrorInfo deeper;
  deeper.code = Code::kDeadlineExceeded;
  deeper.reason = Reason::kDeadline;
  deeper.path = "pod0/worker0";
  deeper.message = "still running: 'leaf' at pod0/worker0/sub1";
  rig.finish(task, Status(deeper));
  EXPECT_EQ(rig.engine.task(task).status.info().message, deeper.message);
}

TEST_F(Deadlines, AWorkerThatDoesNotAnswerIsEnded) {
  rig.add({.kind = ChildKind::kWorker});
  const TaskId task = rig.task(rig.begin()).kind(TaskKind::kOrch).deadline(start + kMs).submit();
  rig.child({0}).take();
  rig.advance_to(start + kMs);
  rig.advance_to(start + 21 * kMs);
  EXPECT_EQ(rig.state(task), kFailed);
  EXPECT_TRUE(rig.child({0}).terminated());
}

TEST(DeadlinesWithAKillGrace, TheCallerGoesOnFirstAndTheProcessEndsLater) {
  EngineRig rig(EngineLimits{.kill_grace_ns = 100 * kMs});
  const MonotonicNs start = rig.now;
  rig.add_subs(1);
  const TaskId stuck = rig.task(rig.begin()).deadline(start + kMs).submit();
  rig.child({0}).take();
  rig.advance_to(start + kMs);
  rig.advance_to(start + 6 * kMs);
  EXPECT_EQ(rig.state(stuck), kFailed);
  EXPECT_FALSE(rig.child({0}).terminated());
  EXPECT_EQ(rig.engine.next_timer_ns(), start + 106 * kMs);
  rig.advance_to(start + 106 * kMs);
  EXPECT_TRUE(rig.child({0}).terminated());
  EXPECT_EQ(rig.engine.next_timer_ns(), 0u);
}

TEST(DeadlinesWithAKillGrace, AProcessThatIsOnlySlowLives) {
  EngineRig rig(EngineLimits{.kill_grace_ns = 100 * kMs});
  const MonotonicNs start = rig.now;
  rig.add_subs(1);
  const RunId run = rig.begin(start + kMs);
  const TaskId slow = rig.task(run, "slow").use(bytes_of(1, 0, 9), Tag::kOutput, 5).submit();
  rig.seal(run);
  rig.child({0}).take();
  rig.advance_to(start + kMs);
  rig.advance_to(start + 6 * kMs);
  ASSERT_TRUE(rig.end_of(run));
  rig.engine.release_run(run);
  EXPECT_TRUE(rig.releases.empty()) << "it may still write";
  rig.now = start + 50 * kMs;
  rig.finish(slow);
  EXPECT_EQ(rig.releases, std::vector<std::uint64_t>{5});
  EXPECT_EQ(rig.engine.next_timer_ns(), 0u);
  rig.advance_to(start + 200 * kMs);
  EXPECT_FALSE(rig.child({0}).terminated());
}

TEST_F(Deadlines, WhatWaitsBehindAKilledTaskGoesElsewhere) {
  rig.add_subs(2);
  const RunId run = rig.begin();
  const TaskId other = rig.task(run).at({1}).submit();
  rig.task(run).at({0}).deadline(start + kMs).submit();
  rig.child({1}).take();
  rig.child({0}).take();
  rig.task(run).submit();
  const TaskId behind = rig.task(run).submit();
  rig.advance_to(start + kMs);
  rig.advance_to(start + 6 * kMs);
  rig.poll();
  EXPECT_TRUE(rig.child({1}).holds(behind));
  EXPECT_EQ(rig.engine.in_flight({1}), 3u);
  rig.finish(other);
}

TEST_F(Deadlines, TheSoonerOfRunAndTaskCounts) {
  rig.add({.window = 1});
  const RunId run = rig.begin(start + 5 * kMs);
  rig.task(run).submit();
  rig.child({0}).take();
  const TaskId sooner = rig.task(run).deadline(start + 2 * kMs).submit();
  const TaskId later = rig.task(run).deadline(start + 50 * kMs).submit();
  rig.advance_to(start + 2 * kMs);
  EXPECT_EQ(rig.state(sooner), kFailed);
  EXPECT_EQ(rig.state(later), kReady);
  rig.advance_to(start + 5 * kMs);
  EXPECT_EQ(rig.state(later), kFailed);
}

TEST_F(Deadlines, TheDeadlineGoesDownWithTheTask) {
  std::vector<MonotonicNs> seen;
  rig.add({.automatic = true, .function = [&](const Dispatch& task, auto&) {
             seen.push_back(task.deadline_ns);
             return Status();
           }});
  const RunId run = rig.begin(start + 5 * kMs);
  rig.task(run).submit();
  rig.task(run).deadline(start + 2 * kMs).submit();
  rig.task(run).deadline(start + 9 * kMs).submit();
  rig.poll();
  EXPECT_EQ(seen, (std::vector<MonotonicNs>{start + 5 * kMs, start + 2 * kMs, start + 5 * kMs}));
}

TEST_F(Deadlines, ARunsErrorTellsWhatWasStillRunningWhere) {
  rig.add_subs(2);
  const RunId run = rig.begin(start + 30 * kMs);
  rig.task(run, "grind").at({0}).submit();
  rig.task(run, "next").at({0}).submit();
  rig.task(run, "wait").at({1}).out(1).submit();
  rig.task(run, "sum").in(1).submit();
  rig.seal(run);
  rig.child({0}).take();
  rig.child({1}).take();
  rig.advance_to(start + 30 * kMs);
  EXPECT_FALSE(rig.end_of(run));
  rig.advance_to(start + 35 * kMs);
  ASSERT_TRUE(rig.end_of(run)) << "within the grace of its children";
  const ErrorInfo info = rig.end_of(run)->info();
  EXPECT_EQ(info.code, Code::kDeadlineExceeded);
  EXPECT_EQ(info.reason, Reason::kDeadline);
  EXPECT_EQ(info.message,
            "the deadline of the run passed; still running: 'grind' at pod0/sub0 (running for 30 "
            "ms), 'next' at pod0/sub0 (queued for 30 ms), 'wait' at pod0/sub1 (running for 30 "
            "ms); 1 task was waiting");
  EXPECT_EQ(info.others.at(0).callable, "grind");
}

TEST_F(Deadlines, AnExpiredRunTakesNoMoreTasks) {
  rig.add_subs(1);
  const RunId run = rig.begin(start + kMs);
  rig.now = start + kMs;
  EXPECT_EQ(rig.task(run).try_submit().status().reason(), Reason::kDeadline);
  rig.advance_to(start + kMs);
  rig.seal(run);
  EXPECT_THAT(rig.end_of(run)->info().message, HasSubstr("nothing was running"));
}

TEST_F(Deadlines, ATaskWhoseDeadlineHasPassedIsRefused) {
  rig.add_subs(1);
  const auto result = rig.task(rig.begin()).deadline(start).try_submit();
  EXPECT_EQ(result.status().reason(), Reason::kDeadline);
}

TEST_F(Deadlines, TimeInPhaseBeginsWhenTheTaskAheadEnded) {
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId first = rig.task(run).submit();
  const TaskId second = rig.task(run).deadline(start + 20 * kMs).submit();
  rig.now = start + 15 * kMs;
  rig.finish(first);
  rig.child({0}).take();
  rig.advance_to(start + 20 * kMs);
  rig.advance_to(start + 25 * kMs);
  EXPECT_EQ(rig.engine.task(second).status.info().time_in_phase, std::chrono::milliseconds(10));
}

TEST_F(Deadlines, LeaveNoTimerBehind) {
  rig.add_subs(1);
  const RunId run = rig.begin(start + 99 * kMs);
  for (int i = 0; i < 100; ++i) rig.finish(rig.task(run).deadline(start + 50 * kMs).submit());
  EXPECT_EQ(rig.engine.next_timer_ns(), start + 99 * kMs);
  rig.seal(run);
  EXPECT_EQ(rig.engine.next_timer_ns(), 0u);
}

// --- cancellation
// ---------------------------------------------------------------------------------

struct Cancelling : ::testing::Test {
  void cancel() { rig.engine.cancel_run(run, {}, rig.now); }
  EngineRig rig;
  RunId run = rig.begin();
};

TEST_F(Cancelling, EndsAtOnceWhatHasNotBegun) {
  rig.add({.window = 2});
  const TaskId running = rig.task(run).out(1).submit();
  const TaskId queued = rig.task(run).submit();
  const TaskId ready = rig.task(run).submit();
  const TaskId waiting = rig.task(run).in(1).submit();
  rig.child({0}).take();
  rig.seal(run);
  cancel();
  EXPECT_EQ(rig.state(queued), kCancelled);
  EXPECT_EQ(rig.state(ready), kCancelled);
  EXPECT_EQ(rig.state(waiting), kCancelled);
  EXPECT_EQ(rig.state(running), kRunning);
  EXPECT_EQ(rig.child({0}).cancel_requests(), std::vector<TaskId>{running});
  EXPECT_FALSE(rig.end_of(run));
  rig.finish(running, thrown("interrupted"));
  EXPECT_EQ(rig.state(running), kCancelled);
  const ErrorInfo info = rig.end_of(run)->info();
  EXPECT_EQ(info.code, Code::kCancelled);
  EXPECT_EQ(info.reason, Reason::kCancelled);
  EXPECT_TRUE(info.others.empty());
}

TEST_F(Cancelling, ATaskThatEndsWellNonethelessIsDone) {
  rig.add_subs(1);
  const TaskId running = rig.task(run).submit();
  rig.child({0}).take();
  rig.seal(run);
  cancel();
  rig.finish(running);
  EXPECT_EQ(rig.state(running), kDone);
  EXPECT_EQ(rig.end_of(run)->reason(), Reason::kCancelled);
}

TEST_F(Cancelling, AnErrorThatCameFirstStaysTheFirst) {
  rig.add_subs(1);
  rig.finish(rig.task(run).submit(), thrown("no"));
  cancel();
  rig.seal(run);
  EXPECT_EQ(rig.end_of(run)->reason(), Reason::kException);
}

TEST_F(Cancelling, TheRunTakesNoMoreTasks) {
  rig.add_subs(1);
  cancel();
  EXPECT_EQ(rig.task(run).try_submit().status().reason(), Reason::kCancelled);
}

TEST_F(Cancelling, OtherRunsGoOnAndAreStillOrdered) {
  rig.add_subs(1);
  const RunId other = rig.begin();
  const TaskId reader = rig.task(run).in(1).submit();
  rig.task(run).out(1).after(reader).submit();
  const TaskId writer = rig.task(other).out(1).submit();
  rig.child({0}).take();
  cancel();
  EXPECT_EQ(rig.state(writer), kWaiting) << "the reader still runs";
  rig.finish(reader);
  EXPECT_EQ(rig.state(writer), kDispatched);
}

TEST_F(Cancelling, TwiceIsAsOnce) {
  rig.add_subs(1);
  rig.task(run).submit();
  cancel();
  cancel();
  rig.seal(run);
  EXPECT_TRUE(rig.end_of(run)->info().others.empty());
}

TEST_F(Cancelling, ADeadlineStillEndsWhatDoesNotStop) {
  rig.add_subs(1);
  const TaskId stuck = rig.task(run).deadline(rig.now + kMs).submit();
  rig.child({0}).take();
  rig.seal(run);
  cancel();
  const MonotonicNs start = rig.now;
  rig.advance_to(start + kMs);
  rig.advance_to(start + 6 * kMs);
  EXPECT_EQ(rig.state(stuck), kFailed);
  EXPECT_TRUE(rig.end_of(run));
}

}  // namespace
}  // namespace echelon
