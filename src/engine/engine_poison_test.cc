// SPDX-License-Identifier: Apache-2.0
//
// What a failure spoils, and what it leaves alone.
#include <gtest/gtest.h>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

using enum TaskState;

struct Poison : ::testing::Test {
  Poison() { rig.add_subs(1); }
  EngineRig rig;
  RunId run = rig.begin();
};

TEST_F(Poison, ReachesThoseThatNeedTheData) {
  const TaskId load = rig.task(run, "load").out(1).submit();
  const TaskId scale = rig.task(run, "scale").inout(1).submit();
  const TaskId sum = rig.task(run, "sum").in(1).submit();
  rig.finish(load, thrown("no such file"));
  EXPECT_EQ(rig.state(scale), kSkipped);
  EXPECT_EQ(rig.state(sum), kSkipped);
  const ErrorInfo info = rig.engine.task(sum).status.info();
  EXPECT_EQ(info.reason, Reason::kPoisoned);
  EXPECT_EQ(info.cause, Cause::kDependency);
  EXPECT_EQ(info.callable, "sum");
  EXPECT_EQ(info.message,
            "'sum' was not run, because it depends on 'load', which failed at pod0/sub0: no such "
            "file");
}

TEST_F(Poison, ReachesThoseAfterAnExplicitEdge) {
  const TaskId first = rig.task(run).submit();
  const TaskId second = rig.task(run).after(first).submit();
  rig.finish(first, thrown("no"));
  EXPECT_EQ(rig.state(second), kSkipped);
}

TEST_F(Poison, DoesNotReachThoseThatWriteAnew) {
  const TaskId first = rig.task(run).out(1).submit();
  const TaskId second = rig.task(run).out(1).submit();
  const TaskId reader = rig.task(run).in(1).submit();
  rig.finish(first, thrown("no"));
  EXPECT_EQ(rig.state(second), kDispatched);
  rig.finish(second);
  EXPECT_EQ(rig.state(reader), kDispatched);
}

TEST_F(Poison, DoesNotReachAWriterAfterAReader) {
  const TaskId reader = rig.task(run).in(1).submit();
  const TaskId writer = rig.task(run).out(1).submit();
  rig.finish(reader, thrown("no"));
  EXPECT_EQ(rig.state(writer), kDispatched);
}

TEST_F(Poison, DoesNotReachOtherBytes) {
  const TaskId bad = rig.task(run).out(1, 0, 50).submit();
  const TaskId other = rig.task(run).in(1, 50, 100).submit();
  rig.finish(bad, thrown("no"));
  rig.finish(other);
  EXPECT_EQ(rig.engine.counters().skipped, 0u);
}

TEST_F(Poison, APartWriterDoesNotNeedTheDataButItsReaderDoes) {
  const TaskId first = rig.task(run).out(1).submit();
  const TaskId part = rig.task(run).part(1, 0, 50).submit();
  const TaskId reader = rig.task(run).in(1).submit();
  rig.finish(first, thrown("no"));
  EXPECT_EQ(rig.state(part), kDispatched);
  EXPECT_EQ(rig.state(reader), kSkipped);
}

TEST_F(Poison, AFailedPartWriterSpoilsItsReaders) {
  const TaskId whole = rig.task(run).out(1).submit();
  const TaskId part = rig.task(run).part(1, 0, 50).submit();
  const TaskId reader = rig.task(run).in(1).submit();
  rig.finish(whole);
  rig.finish(part, thrown("no"));
  EXPECT_EQ(rig.state(reader), kSkipped);
}

TEST_F(Poison, StaysForLaterSubmitsOfTheRun) {
  rig.finish(rig.task(run).out(1).submit(), thrown("no"));
  EXPECT_EQ(rig.state(rig.task(run).in(1).submit()), kSkipped);
  EXPECT_EQ(rig.state(rig.task(run).inout(1, 90, 95).submit()), kSkipped);
  EXPECT_EQ(rig.state(rig.task(run).in(2).submit()), kDispatched);
}

TEST_F(Poison, IsLiftedWhereTheBytesAreWrittenAnew) {
  rig.finish(rig.task(run).out(1, 0, 100).submit(), thrown("no"));
  rig.finish(rig.task(run).out(1, 20, 60).submit());
  EXPECT_EQ(rig.state(rig.task(run).in(1, 20, 60).submit()), kDispatched);
  EXPECT_EQ(rig.state(rig.task(run).in(1, 0, 20).submit()), kSkipped);
  EXPECT_EQ(rig.state(rig.task(run).in(1, 59, 61).submit()), kSkipped);
}

TEST_F(Poison, IsLiftedAlsoWhereTheNewWriterCameBeforeTheFailure) {
  const TaskId bad = rig.task(run).out(1, 0, 100).submit();
  const TaskId good = rig.task(run).out(1, 0, 50).submit();
  rig.finish(bad, thrown("no"));
  rig.finish(good);
  EXPECT_EQ(rig.state(rig.task(run).in(1, 0, 50).submit()), kDispatched);
  EXPECT_EQ(rig.state(rig.task(run).in(1, 0, 51).submit()), kSkipped);
}

TEST_F(Poison, IsNotLiftedByAPartWriter) {
  rig.finish(rig.task(run).out(1).submit(), thrown("no"));
  rig.finish(rig.task(run).part(1).submit());
  EXPECT_EQ(rig.state(rig.task(run).in(1).submit()), kSkipped);
}

TEST_F(Poison, ASkippedWriterSpoilsWhatItShouldHaveWritten) {
  const TaskId bad = rig.task(run).out(1).submit();
  const TaskId skipped = rig.task(run).in(1).out(2).submit();
  rig.finish(bad, thrown("no"));
  EXPECT_EQ(rig.state(skipped), kSkipped);
  EXPECT_EQ(rig.state(rig.task(run).in(2).submit()), kSkipped);
}

TEST_F(Poison, EndsWithItsRun) {
  rig.finish(rig.task(run).out(1).submit(), thrown("no"));
  rig.seal(run);
  EXPECT_EQ(rig.state(rig.task(rig.begin()).in(1).submit()), kDispatched);
}

TEST_F(Poison, AnotherRunThatComesLaterIsNotTouched) {
  rig.finish(rig.task(run).out(1).submit(), thrown("no"));
  EXPECT_EQ(rig.state(rig.task(rig.begin()).in(1).submit()), kDispatched);
  EXPECT_EQ(rig.state(rig.task(run).in(1).submit()), kSkipped);
}

TEST_F(Poison, AnotherRunThatWaitsForTheDataIsSkipped) {
  const TaskId writer = rig.task(run).out(1).submit();
  const TaskId reader = rig.task(rig.begin()).in(1).submit();
  rig.finish(writer, thrown("no"));
  EXPECT_EQ(rig.state(reader), kSkipped);
}

TEST_F(Poison, IndependentTasksGoOn) {
  const TaskId bad = rig.task(run).out(1).submit();
  const TaskId chain = rig.task(run).out(2).submit();
  const TaskId next = rig.task(run).in(2).submit();
  rig.finish(bad, thrown("no"));
  rig.finish(chain);
  EXPECT_EQ(rig.state(next), kDispatched);
}

TEST_F(Poison, SkippedTasksAreCountedInTheRunsError) {
  const TaskId bad = rig.task(run, "load").out(1).submit();
  for (int i = 0; i < 3; ++i) rig.task(run).in(1).submit();
  rig.seal(run);
  rig.finish(bad, thrown("no"));
  const ErrorInfo info = rig.end_of(run)->info();
  EXPECT_EQ(info.callable, "load");
  ASSERT_EQ(info.others.size(), 1u);
  EXPECT_EQ(info.others[0].reason, Reason::kPoisoned);
  EXPECT_EQ(info.others[0].message, "3 tasks were not run, because what they depend on failed");
}

TEST_F(Poison, ASkippedTaskLetsNobodyPassWhileThoseBeforeItRun) {
  // ENG-3: `c` writes where `a` still reads; between them stands `b`, which ends early.
  const TaskId bad = rig.task(run).out(1).submit();
  const TaskId a = rig.task(run, "a").in(2).submit();
  const TaskId b = rig.task(run, "b").in(1).out(2).submit();
  const TaskId c = rig.task(run, "c").out(2).submit();
  rig.finish(bad, thrown("no"));
  EXPECT_EQ(rig.state(b), kSkipped);
  EXPECT_EQ(rig.state(c), kWaiting);
  EXPECT_EQ(rig.state(rig.task(run, "d").out(2, 0, 10).submit()), kWaiting);
  rig.finish(a);
  EXPECT_EQ(rig.state(c), kDispatched);
}

TEST_F(Poison, ALongChainIsSkippedAtOnce) {
  const TaskId bad = rig.task(run).out(1).submit();
  TaskId last;
  for (int i = 0; i < 5000; ++i) last = rig.task(run).inout(1).submit();
  rig.seal(run);
  rig.finish(bad, thrown("no"));
  EXPECT_EQ(rig.state(last), kSkipped);
  EXPECT_TRUE(rig.end_of(run));
  rig.engine.release_run(run);
  EXPECT_EQ(rig.engine.counters().tasks_live, 0u);
}

}  // namespace
}  // namespace echelon
