// SPDX-License-Identifier: Apache-2.0
//
// What is refused of tensors, at the earliest call that can know, and with which words.
#include <vector>

#include "refusals.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// --- tensors
// --------------------------------------------------------------------------------------

using Tensors = PodOfTwoHosts;

TEST_F(Tensors, OfAnotherWorkerAreRefused) {
  Worker other({.level = 3, .name = "other", .sub_workers = 1});
  const Tensor foreign = other.tensor<float>({4});
  expect_refused<InvalidArgument>(
      [&] { run([&](auto& o) { o.submit(sub, Args().input(foreign)); }); }, Reason::kForeignHandle,
      "tensor argument 0 belongs to another Worker: other, host memory");
}

TEST_F(Tensors, CapturedByAFunctionAreRefusedInAnotherProcess) {
  const Tensor captured = pod.tensor<float>({4});
  const SubHandle reads = pod.register_sub("reads", [=](Task&) { captured.data<const float>(); });
  expect_refused<InvalidArgument>([&] { run([&](auto& o) { o.submit(reads); }); },
                                  Reason::kForeignHandle,
                                  AllOf(HasSubstr("the tensor's memory is pod0's"),
                                        HasSubstr("pass the tensor as an argument")));
  pod.close();
  expect_refused<InvalidArgument>(
      [&] {
        run_at(0, [=, sub = sub](Orchestrator& o, TaskArgs&) {
          o.submit(sub, Args().input(captured));
        });
      },
      Reason::kForeignHandle,
      AllOf(HasSubstr("was captured by the function before start()"),
            HasSubstr("pass it as an argument")));
}

TEST_F(Tensors, ThatAreEmptyAreRefused) {
  expect_refused<InvalidArgument>(
      [&] { run([&](auto& o) { o.submit(sub, Args().input(Tensor())); }); }, Reason::kBadArgument,
      HasSubstr("submit: tensor argument 0 is empty"));
}

TEST_F(Tensors, OfAnotherDtypeOrRankAreRefused) {
  const Tensor x = pod.tensor<float>({4, 2});
  expect_refused<InvalidArgument>([&] { x.data<double>(); }, Reason::kWrongType,
                                  "the tensor is float32[4, 2], and was asked for as float64");
  expect_refused<InvalidArgument>(
      [&] { (x.data<float, 1>()); }, Reason::kWrongType,
      "the tensor float32[4, 2] has rank 2, and was asked for with rank 1");
  expect_refused<InvalidArgument>([&] { x.extent(2); }, Reason::kBadArgument,
                                  "dimension 2 of a tensor of rank 2");
  expect_refused<InvalidArgument>([&] { x.slice(0, 2, 5); }, Reason::kBadArgument,
                                  HasSubstr("slice [2, 5) of dimension 0 of float32[4, 2]"));
  expect_refused<InvalidArgument>(
      [&] {
        x.reshape({3, 3});
      },
      Reason::kBadArgument,
      AllOf(HasSubstr("float32[4, 2]"), HasSubstr("cannot be seen as float32[3, 3]")));
}

TEST_F(Tensors, OfAnImpossibleShapeAreRefused) {
  expect_refused<InvalidArgument>(
      [&] {
        pod.tensor<float>({2, -1});
      },
      Reason::kBadArgument, "float32[2, -1] has a negative extent");
  expect_refused<InvalidArgument>([&] { pod.tensor<float>(Shape(9, 1)); }, Reason::kBadArgument,
                                  HasSubstr("a tensor of rank 9; at most 8"));
  expect_refused<InvalidArgument>(
      [&] {
        pod.tensor<float>({1 << 30, 1 << 30});
      },
      Reason::kBadArgument, HasSubstr("is larger than 2^48 bytes"));
  const std::vector<float> three{1, 2, 3};
  expect_refused<InvalidArgument>([&] { pod.tensor<float>({4}, std::span<const float>(three)); },
                                  Reason::kBadArgument,
                                  "tensor: float32[4] needs 4 values, and 3 were given");
}

TEST_F(Tensors, LargerThanWhatTheWorkerMayHaveAreRefused) {
  Worker small({.level = 3, .sub_workers = 1, .memory_bytes_max = 1 << 20});
  const Error error = thrown<ResourceExhausted>([&] { small.tensor<float>({1 << 20}); });
  EXPECT_EQ(error.reason(), Reason::kExhausted);
}

TEST_F(Tensors, LentForReadingAreNotWrittenFurtherDown) {
  const Tensor x = pod.tensor<float>({4});
  expect_refused<InvalidArgument>(
      [&] {
        run_at(
            0,
            [sub = sub](Orchestrator& o, TaskArgs& args) {
              o.submit(sub, Args().output(args.handle(0)));
            },
            Args().input(x));
      },
      Reason::kWrongAccess,
      AllOf(HasSubstr("submit: tensor argument 0, float32[4]"),
            HasSubstr("is lent for reading only; tag it input")));
}

TEST_F(Tensors, LentForReadingAreNotWrittenByTheBorrower) {
  const Tensor x = pod.tensor<float>({4});
  expect_refused<InvalidArgument>(
      [&] {
        run_at(
            0, [](Orchestrator&, TaskArgs& args) { args.tensor<float>(0)[0] = 1; },
            Args().input(x));
      },
      Reason::kWrongAccess, HasSubstr("the tensor float32[4] may only be read here"));
}

TEST_F(Tensors, ThatWereFreedAreStale) {
  Tensor x = pod.tensor<float>({4});
  const Tensor copy = x;
  x.free();
  expect_refused<StaleHandle>([&] { copy.data<float>(); }, Reason::kStaleHandle,
                              HasSubstr("stale handle"));
  expect_refused<StaleHandle>([&] { run([&](auto& o) { o.submit(sub, Args().input(copy)); }); },
                              Reason::kStaleHandle, HasSubstr("stale handle"));
}

TEST_F(Tensors, FreedUnderATaskThatUsesThemStayUntilItEnds) {
  const SubHandle fill = pod.register_sub("fill", [](Task& task) {
    for (float& value : task.tensor<float>(0)) value = 2.0f;
  });
  const SubHandle add = pod.register_sub("add", [](Task& task) {
    float sum = 0;
    for (const float value : task.tensor<const float>(0)) sum += value;
    return sum;
  });
  Tensor x = pod.tensor<float>({1024});
  float sum = 0;
  run([&](Orchestrator& o) {
    o.submit(fill, Args().output(x));
    const TaskHandle added = o.submit(add, Args().input(x));
    x.free();
    const Tensor other = o.alloc<float>({1024});  // not of the same memory
    o.submit(fill, Args().output(other));
    sum = added.result<float>();
  });
  EXPECT_EQ(sum, 2048.0f);
}

TEST_F(Tensors, LentToATaskThatHasEndedAreStale) {
  auto kept = std::make_shared<std::optional<Tensor>>();
  const Tensor x = pod.tensor<float>({4});
  const OrchHandle keeps = pod.register_orch("keeps", [=](Orchestrator&, TaskArgs& args) {
    if (!*kept) {
      *kept = args.handle(0);
    } else {
      (*kept)->data<const float>();
    }
  });
  const auto keep = [&] {
    run([&](Orchestrator& o) { o.submit(keeps, Args().inout(x), {.worker = o.worker(0)}); });
  };
  keep();
  expect_refused<StaleHandle>(keep, Reason::kStaleHandle,
                              "stale handle: the tensor was lent to a task that has ended");
}

TEST_F(Tensors, OfAChipAreNotReadByTheHost) {
  Worker host({.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}, {"cpu", 1}}});
  const SubHandle nothing = host.register_sub("nothing", [](Task&) {});
  const ChipHandle scale = host.register_chip("scale", image("scale"));
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4});
  expect_refused<InvalidArgument>(
      [&] { x.data<float>(); }, Reason::kWrongAccess,
      AllOf(HasSubstr("lies in the memory of host0/chip0"), HasSubstr("copy it with orch.copy")));
  expect_refused<InvalidArgument>([&] { host.chip_tensor<float>(2, {4}); }, Reason::kBadArgument,
                                  HasSubstr("number 2 was asked for"));
  EXPECT_THAT(thrown<Error>([&] {
                host.run([&](Orchestrator& o) { o.submit(nothing, Args().input(x)); });
              }).message(),
              HasSubstr("host0/chip0"));
  expect_refused<InvalidArgument>(
      [&] {
        host.run([&](Orchestrator& o) {
          o.submit(scale, Args().input(x).output(x), {.worker = o.chip(1)});
        });
      },
      Reason::kNoEligibleChild,
      "no child can run 'scale': one of its tensors lies at host0/chip0 alone, but it must run at "
      "host0/chip1");
}

TEST_F(Tensors, OfAChipEndWithItsTree) {
  Worker host({.level = 3, .chips = {{"cpu", 0}}});
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4});
  host.close();
  host.start();
  const Tensor y = host.tensor<float>({4});
  expect_refused<StaleHandle>([&] { host.run([&](Orchestrator& o) { o.copy(y, x); }); },
                              Reason::kStaleHandle,
                              "stale handle: host0/chip0 ended, and its memory with it");
}

TEST_F(Tensors, OfDifferentShapesAreNotCopied) {
  const Tensor x = pod.tensor<float>({4});
  const Tensor y = pod.tensor<float>({5});
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.copy(y, x); }); }, Reason::kWrongType,
      AllOf(HasSubstr("float32[4] of pod0"), HasSubstr("cannot be copied to float32[5]")));
}

TEST_F(Tensors, AreNotSubmittedFromASub) {
  const SubHandle keeps = pod.register_sub("keeps", [](Task& task) { task.handle(0); });
  const Tensor x = pod.tensor<float>({4});
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(keeps, Args().input(x)); }); },
      Reason::kBadArgument, HasSubstr("handles of arguments are for orchestration functions"));
}

}  // namespace
}  // namespace echelon::tree_test
