// SPDX-License-Identifier: Apache-2.0
//
// Who waits for whom: by tags and bytes, and by explicit edges.
#include <gtest/gtest.h>

#include <tuple>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

using enum TaskState;

/// Whether a second task, so tagged, waits for a first on the same bytes.
class TagPairs : public ::testing::TestWithParam<std::tuple<Tag, Tag, bool>> {};

TEST_P(TagPairs, OrderAsTheirTagsSay) {
  const auto [first, second, waits] = GetParam();
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).use(bytes_of(1, 0, 100), first).submit();
  const TaskId task = rig.task(run).use(bytes_of(1, 50, 150), second).submit();
  EXPECT_EQ(rig.state(task), waits ? kWaiting : kDispatched);
}

INSTANTIATE_TEST_SUITE_P(All, TagPairs,
                         ::testing::Values(std::tuple{Tag::kInput, Tag::kInput, false},
                                           std::tuple{Tag::kInput, Tag::kOutput, true},
                                           std::tuple{Tag::kInput, Tag::kInout, true},
                                           std::tuple{Tag::kInput, Tag::kOutputExisting, true},
                                           std::tuple{Tag::kOutput, Tag::kInput, true},
                                           std::tuple{Tag::kOutput, Tag::kOutput, true},
                                           std::tuple{Tag::kOutput, Tag::kInout, true},
                                           std::tuple{Tag::kOutput, Tag::kOutputExisting, true},
                                           std::tuple{Tag::kInout, Tag::kInput, true},
                                           std::tuple{Tag::kInout, Tag::kInout, true},
                                           std::tuple{Tag::kOutputExisting, Tag::kInput, true},
                                           std::tuple{Tag::kOutputExisting, Tag::kOutput, true},
                                           std::tuple{Tag::kOutputExisting, Tag::kOutputExisting,
                                                      true},
                                           std::tuple{Tag::kNoDep, Tag::kOutput, false},
                                           std::tuple{Tag::kOutput, Tag::kNoDep, false}));

TEST(Dependencies, DisjointBytesNeverWait) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).out(1, 0, 50).submit();
  EXPECT_EQ(rig.state(rig.task(run).out(1, 50, 100).submit()), kDispatched);
}

TEST(Dependencies, DisjointColumnsNeverWait) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).use(columns_of(1, 8, 16, 0, 4), Tag::kOutput).submit();
  EXPECT_EQ(rig.state(rig.task(run).use(columns_of(1, 8, 16, 8, 12), Tag::kOutput).submit()),
            kDispatched);
  EXPECT_EQ(rig.state(rig.task(run).use(columns_of(1, 8, 16, 3, 9), Tag::kInput).submit()),
            kWaiting);
}

TEST(Dependencies, APieceOfARowAvoidsOtherColumns) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).use(columns_of(1, 8, 16, 8, 12), Tag::kOutput).submit();
  // Row 3 is bytes 48 to 64; its columns 0 to 8 are free, 8 to 12 are not.
  EXPECT_EQ(rig.state(rig.task(run).in(1, 48, 56).submit()), kDispatched);
  EXPECT_EQ(rig.state(rig.task(run).in(1, 60, 72).submit()), kDispatched);
  EXPECT_EQ(rig.state(rig.task(run).in(1, 59, 60).submit()), kWaiting);
  EXPECT_EQ(rig.state(rig.task(run).in(1, 44, 57).submit()), kWaiting);
}

TEST(Dependencies, AnEmptyTensorOrdersNothing) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).out(1, 0, 100).submit();
  EXPECT_EQ(rig.state(rig.task(run).in(1, 50, 50).submit()), kDispatched);
}

TEST(Dependencies, BuffersOfOtherIssuersAreOthers) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  rig.task(run).out(1).submit();
  TensorDesc other = bytes_of(1, 0, 100);
  other.issuer = Uid{5};
  EXPECT_EQ(rig.state(rig.task(run).use(other, Tag::kInput).submit()), kDispatched);
  TensorDesc next_serial = bytes_of(1, 0, 100);
  next_serial.buffer = BufferId::make(1, 2);
  EXPECT_EQ(rig.state(rig.task(run).use(next_serial, Tag::kInput).submit()), kDispatched);
}

TEST(Dependencies, AWriterWaitsForAllReaders) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId a = rig.task(run).in(1, 0, 60).submit();
  const TaskId b = rig.task(run).in(1, 40, 100).submit();
  const TaskId writer = rig.task(run).out(1).submit();
  rig.finish(a);
  EXPECT_EQ(rig.state(writer), kWaiting);
  rig.finish(b);
  EXPECT_EQ(rig.state(writer), kDispatched);
}

TEST(Dependencies, AReaderOfTwoWritersWaitsForBoth) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId lower = rig.task(run).out(1, 0, 50).submit();
  const TaskId upper = rig.task(run).out(1, 50, 100).submit();
  const TaskId reader = rig.task(run).in(1, 0, 100).submit();
  rig.finish(upper);
  EXPECT_EQ(rig.state(reader), kWaiting);
  rig.finish(lower);
  EXPECT_EQ(rig.state(reader), kDispatched);
}

TEST(Dependencies, ANewerWriterTakesOverJustItsBytes) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId old = rig.task(run).out(1, 0, 100).submit();
  const TaskId middle = rig.task(run).out(1, 40, 60).submit();
  const std::uint64_t edges = rig.engine.counters().edges;
  const TaskId inner = rig.task(run).in(1, 40, 60).submit();
  EXPECT_EQ(rig.engine.counters().edges, edges + 1) << "the old writer is no longer asked";
  const TaskId left = rig.task(run).in(1, 30, 40).submit();
  const TaskId right = rig.task(run).in(1, 60, 70).submit();
  const TaskId across = rig.task(run).in(1, 30, 70).submit();
  rig.finish(old);
  EXPECT_EQ(rig.state(left), kDispatched);
  EXPECT_EQ(rig.state(right), kDispatched);
  EXPECT_EQ(rig.state(inner), kWaiting);
  EXPECT_EQ(rig.state(across), kWaiting);
  rig.finish(middle);
  EXPECT_EQ(rig.state(inner), kDispatched);
  EXPECT_EQ(rig.state(across), kDispatched);
}

TEST(Dependencies, AChainOfPartWritersMakesOneEdgeEach) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  for (int i = 0; i < 10; ++i) rig.task(run).part(1).submit();
  EXPECT_EQ(rig.engine.counters().edges, 9u);
  rig.task(run).in(1).submit();
  EXPECT_EQ(rig.engine.counters().edges, 19u) << "a reader needs what each of them wrote";
}

TEST(Dependencies, ATaskNeverWaitsForItself) {
  EngineRig rig;
  rig.add_subs(1);
  const TaskId task = rig.task(rig.begin()).in(1).out(1).inout(1, 20, 30).submit();
  EXPECT_EQ(rig.state(task), kDispatched);
}

TEST(Dependencies, TwoTensorsOfOnePredecessorMakeOneEdge) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId first = rig.task(run).out(1).out(2).submit();
  const TaskId second = rig.task(run).in(1).in(2).after(first).submit();
  EXPECT_EQ(rig.engine.counters().edges, 1u);
  rig.finish(first);
  EXPECT_EQ(rig.state(second), kDispatched);
}

TEST(Dependencies, ExplicitEdgesOrderTasksWithoutTensors) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId a = rig.task(run).submit();
  const TaskId b = rig.task(run).submit();
  const TaskId last = rig.task(run).after(a).after(b).submit();
  rig.finish(a);
  EXPECT_EQ(rig.state(last), kWaiting);
  rig.finish(b);
  EXPECT_EQ(rig.state(last), kDispatched);
}

TEST(Dependencies, AnEndedTaskMayStandInAfter) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const TaskId a = rig.task(run).submit();
  rig.finish(a);
  EXPECT_EQ(rig.state(rig.task(run).after(a).submit()), kDispatched);
}

TEST(Dependencies, RunsThatShareABufferAreOrdered) {
  EngineRig rig;
  rig.add_subs(1);
  const TaskId first = rig.task(rig.begin()).out(1).submit();
  const TaskId second = rig.task(rig.begin()).in(1).submit();
  EXPECT_EQ(rig.state(second), kWaiting);
  rig.finish(first);
  EXPECT_EQ(rig.state(second), kDispatched);
}

TEST(Dependencies, ABufferIsForgottenWithItsLastTask) {
  EngineRig rig;
  rig.add_subs(1);
  const RunId run = rig.begin();
  const std::size_t before = rig.engine.memory_bytes();
  for (std::uint32_t round = 0; round < 100; ++round)
    for (std::uint32_t i = 0; i < 50; ++i) {
      rig.finish(rig.task(run).out(round * 50 + i).submit());
    }
  EXPECT_LT(rig.engine.memory_bytes(), before + (1u << 20));
}

}  // namespace
}  // namespace echelon
