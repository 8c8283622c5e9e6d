// SPDX-License-Identifier: Apache-2.0
//
// The life of one task and of one run.
#include <gtest/gtest.h>

#include <array>

#include "engine/engine_rig.h"
#include "engine/task_table.h"

namespace echelon {
namespace {

using enum TaskState;

std::vector<std::byte> some_bytes(std::size_t count) {
  return std::vector<std::byte>(count, std::byte{7});
}

TEST(TaskStates, TheTableAllowsWhatTheHeaderSays) {
  const std::map<TaskState, std::vector<TaskState>> table = {
      {kBuilding, {kWaiting, kReady, kSkipped, kCancelled}},
      {kWaiting, {kReady, kSkipped, kCancelled, kFailed}},
      {kReady, {kDispatched, kSkipped, kCancelled, kFailed}},
      {kDispatched, {kRunning, kDone, kFailed, kCancelled, kReady}},
      {kRunning, {kDone, kFailed, kCancelled}},
      {kDone, {}},
      {kFailed, {}},
      {kSkipped, {}},
      {kCancelled, {}},
  };
  for (const auto& [from, allowed] : table)
    for (const auto& [to, unused] : table)
      EXPECT_EQ(may_move(from, to), std::find(allowed.begin(), allowed.end(), to) != allowed.end())
          << to_string(from) << " -> " << to_string(to);
}

TEST(TaskStates, ATaskWithNothingBeforeItIsDispatchedBySubmit) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId task = rig.task(run).submit();
  EXPECT_EQ(rig.state(task), kDispatched);
  EXPECT_EQ(rig.child({0}).held(), 1u);
  EXPECT_EQ(rig.engine.in_flight({0}), 1u);
  EXPECT_FALSE(rig.engine.idle());
}

TEST(TaskStates, ATakenTaskIsSeenAsRunning) {
  EngineRig rig;
  rig.add_subs(1);
  const TaskId task = rig.task(rig.begin()).submit();
  rig.child({0}).take();
  EXPECT_EQ(rig.state(task), kRunning);
}

TEST(TaskStates, ATaskBehindAnotherWaitsAndThenGoes) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId first = rig.task(run).out(1).submit();
  const TaskId second = rig.task(run).in(1).submit();
  EXPECT_EQ(rig.state(second), kWaiting);
  rig.finish(first);
  EXPECT_EQ(rig.state(first), kDone);
  EXPECT_EQ(rig.state(second), kDispatched);
  rig.finish(second);
  EXPECT_TRUE(rig.engine.idle());
}

TEST(TaskStates, ATaskWithoutRoomAtItsChildIsReady) {
  EngineRig rig;
  rig.add({.window = 1});
  const RunId run = rig.begin();
  rig.task(run).submit();
  EXPECT_EQ(rig.state(rig.task(run).submit()), kReady);
}

TEST(TaskStates, AnEndedTaskWithoutResultIsForgottenAndAnswersDone) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId old = rig.task(run).submit();
  rig.finish(old);
  EXPECT_EQ(rig.engine.counters().tasks_live, 0u);
  const TaskId next = rig.task(run).submit();
  EXPECT_NE(old, next);
  EXPECT_EQ(rig.state(old), kDone);
  EXPECT_EQ(rig.state(next), kDispatched);
}

TEST(TaskStates, AResultIsKeptUntilItsRunIsReleased) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId task = rig.task(run).submit();
  rig.finish(task, {}, some_bytes(3));
  EXPECT_EQ(rig.engine.task(task).result.size(), 3u);
  EXPECT_EQ(rig.engine.task(task).result[2], std::byte{7});
  rig.seal(run);
  EXPECT_EQ(rig.engine.task(task).result.size(), 3u);
  rig.engine.release_run(run);
  EXPECT_EQ(rig.engine.task(task).result.size(), 0u);
  EXPECT_EQ(rig.engine.counters().tasks_live, 0u);
}

TEST(TaskStates, AResultThatDoesNotFitFailsItsTask) {
  EngineLimits limits;
  limits.result_bytes_max = 10;
  EngineRig rig(limits);
  rig.add_subs(1);
  const TaskId task = rig.task(rig.begin()).submit();
  rig.finish(task, {}, some_bytes(11));
  EXPECT_EQ(rig.state(task), kFailed);
  EXPECT_EQ(rig.engine.task(task).status.reason(), Reason::kExhausted);
}

TEST(TaskStates, TheBodyReachesTheChild) {
  EngineRig rig;
  rig.add_subs(1);
  const TaskId task = rig.task(rig.begin()).body(20'000).submit();
  EXPECT_EQ(rig.child({0}).body(task).size(), 20'000u);
}

TEST(TaskStates, WhatAChildLeavesEmptyInAnErrorIsFilledIn) {
  EngineRig rig;
  rig.add_subs(2);
  const RunId run = rig.begin();
  const TaskId task = rig.task(run, "step").at({1}).submit();
  rig.now += 3 * kMs;
  rig.finish(task, thrown("no"));
  const ErrorInfo info = rig.engine.task(task).status.info();
  EXPECT_EQ(info.path, "pod0/sub1");
  EXPECT_EQ(info.callable, "step");
  EXPECT_EQ(info.phase, Phase::kRunning);
  EXPECT_EQ(info.time_in_phase, std::chrono::milliseconds(3));
  EXPECT_EQ(info.message, "no");
}

TEST(TaskStates, WhatAChildSaysOfADeeperErrorStays) {
  EngineRig rig;
  rig.add({.kind = ChildKind::kWorker});
  const TaskId task = rig.task(rig.begin(), "host").kind(TaskKind::kOrch).submit();
  ErrorInfo given = thrown("deep").info();
  given.path = "pod0/worker0/sub3";
  given.callable = "leaf";
  rig.finish(task, Status(given));
  const ErrorInfo info = rig.engine.task(task).status.info();
  EXPECT_EQ(info.path, "pod0/worker0/sub3");
  EXPECT_EQ(info.callable, "leaf");
}

// --- runs
// -----------------------------------------------------------------------------------------

TEST(Runs, ASealedRunEndsWithItsLastTask) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId task = rig.task(run).submit();
  rig.seal(run);
  EXPECT_FALSE(rig.end_of(run));
  EXPECT_FALSE(rig.engine.run_ended(run));
  rig.finish(task);
  ASSERT_TRUE(rig.end_of(run));
  EXPECT_TRUE(rig.end_of(run)->ok());
  EXPECT_TRUE(rig.engine.run_ended(run));
}

TEST(Runs, AnUnsealedRunGoesOnWithoutTasks) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.finish(rig.task(run).submit());
  EXPECT_FALSE(rig.end_of(run));
  rig.seal(run);
  EXPECT_TRUE(rig.end_of(run));
}

TEST(Runs, ASealedRunTakesNoMoreTasks) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).submit();
  rig.seal(run);
  EXPECT_EQ(rig.task(run).try_submit().status().reason(), Reason::kWrongState);
}

TEST(Runs, AReleasedRunTakesNoMoreTasks) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.seal(run);
  rig.engine.release_run(run);
  EXPECT_TRUE(rig.engine.run_ended(run));
  EXPECT_NE(rig.begin(), run);
  EXPECT_EQ(rig.task(run).try_submit().status().reason(), Reason::kWrongState);
}

TEST(Runs, TheFirstErrorIsRaisedAndTheOthersAreInIt) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId a = rig.task(run, "a").submit();
  const TaskId b = rig.task(run, "b").submit();
  rig.finish(b, thrown("first in time"));
  rig.finish(a, thrown("second in time"));
  rig.seal(run);
  const ErrorInfo info = rig.end_of(run)->info();
  EXPECT_EQ(info.message, "first in time");
  EXPECT_EQ(info.callable, "b");
  ASSERT_EQ(info.others.size(), 1u);
  EXPECT_EQ(info.others[0].message, "second in time");
}

TEST(Runs, MoreErrorsThanAreKeptAreCounted) {
  EngineLimits limits;
  limits.errors_per_run_max = 2;
  EngineRig rig(limits);
  rig.add({.automatic = true, .function = [](auto&, auto&) { return thrown("no"); }});
  const RunId run = rig.begin();
  for (int i = 0; i < 8; ++i) rig.task(run).submit();
  rig.poll();
  rig.seal(run);
  const ErrorInfo info = rig.end_of(run)->info();
  ASSERT_EQ(info.others.size(), 3u);
  EXPECT_EQ(info.others[2].message, "and 5 more errors");
}

TEST(Runs, TheErrorOfTheFunctionComesFirst) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.finish(rig.task(run).submit(), thrown("task"));
  rig.seal(run, thrown("function"));
  EXPECT_EQ(rig.end_of(run)->info().message, "function");
  EXPECT_EQ(rig.end_of(run)->info().others.at(0).message, "task");
}

TEST(Runs, ATasksOwnErrorRaisedAgainByTheFunctionIsNotTwice) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId task = rig.task(run).submit();
  rig.finish(task, thrown("task"));
  rig.seal(run, rig.engine.task(task).status);
  EXPECT_EQ(rig.end_of(run)->info().message, "task");
  EXPECT_TRUE(rig.end_of(run)->info().others.empty());
}

TEST(Runs, AFailedRunLeavesTheOthersAlone) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId bad = rig.begin();
  const RunId good = rig.begin();
  const TaskId failing = rig.task(bad).out(1).submit();
  const TaskId fine = rig.task(good).out(2).submit();
  rig.seal(bad);
  rig.seal(good);
  rig.finish(failing, thrown("no"));
  EXPECT_FALSE(rig.end_of(bad)->ok());
  EXPECT_FALSE(rig.end_of(good));
  rig.finish(fine);
  EXPECT_TRUE(rig.end_of(good)->ok());
}

TEST(Runs, AListenerMayReleaseTheRunItIsToldOf) {
  struct Releasing final : EngineListener {
    void on_run_end(RunId run, std::uint64_t token, const Status&) override {
      tokens.push_back(token);
      engine->release_run(run);
    }
    void on_release(std::uint64_t) override {}
    Engine* engine = nullptr;
    std::vector<std::uint64_t> tokens;
  } listener;
  Engine engine("w", {}, listener);
  listener.engine = &engine;
  NullEndpoint child({0}, {});
  engine.add_child({"sub0", ChildKind::kSub, 16}, child);
  for (std::uint64_t token = 1; token <= 3; ++token) {
    const RunId run = engine.begin_run({0, token}, 1).value();
    TaskSpec spec;
    spec.run = run;
    ASSERT_TRUE(engine.submit(spec, 1).ok());
    engine.seal_run(run, {}, 1);
  }
  engine.poll(1);
  EXPECT_EQ(listener.tokens, (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_EQ(engine.counters().runs_live, 0u);
}

TEST(Runs, CountersTellWhatHappened) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId a = rig.task(run).out(1).submit();
  rig.task(run).in(1).submit();
  rig.finish(rig.task(run).submit());
  rig.finish(a, thrown("no"));
  const EngineCounters counters = rig.engine.counters();
  EXPECT_EQ(counters.submitted, 3u);
  EXPECT_EQ(counters.done, 1u);
  EXPECT_EQ(counters.failed, 1u);
  EXPECT_EQ(counters.skipped, 1u);
  EXPECT_EQ(counters.edges, 1u);
  EXPECT_EQ(counters.runs, 1u);
  EXPECT_EQ(counters.tasks_live, 2u);
}

TEST(Runs, PinsAreReleasedWhenTheirTaskHasEnded) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId a = rig.task(run).use(bytes_of(1, 0, 10), Tag::kOutput, 11).submit();
  const TaskId b = rig.task(run)
                       .use(bytes_of(1, 0, 10), Tag::kInput, 21)
                       .use(bytes_of(2, 0, 10), Tag::kNoDep, 22)
                       .submit();
  EXPECT_TRUE(rig.releases.empty());
  rig.finish(a);
  EXPECT_EQ(rig.releases, (std::vector<std::uint64_t>{11}));
  rig.finish(b);
  EXPECT_EQ(rig.releases.size(), 3u);
}

}  // namespace
}  // namespace echelon
