// SPDX-License-Identifier: Apache-2.0
//
// Tensors that cross a level are loans: usable as their tag allows, for as long as the task lasts;
// and whatever is made after the start reaches the processes started before (section 4, D6).
#include <echelon/echelon.h>
#include <gmock/gmock.h>

#include <cstdint>

#include "shared_words.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kMiB = 1 << 20;

class Loans : public testing::Test {
 protected:
  Loans() {
    pod.add_worker(host);
    fill = pod.register_sub("fill", [](Task& task) {
      const auto values = task.tensor<float>(0);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = task.scalar<float>(0);
    });
    sum = pod.register_sub("sum", [](Task& task) {
      const auto values = task.tensor<const float>(0);
      float total = 0;
      for (std::size_t i = 0; i < values.size(); ++i) total += values[i];
      return total;
    });
  }
  /// Runs an orchestration function at the host.
  void run_at_host(OrchHandle fn, const Args& args) {
    pod.run([&](Orchestrator& orch) { orch.submit(fn, args); });
  }

  SharedWords words;
  Worker pod{{.level = 4, .sub_workers = 1}};
  Worker host{{.level = 3,
               .sub_workers = 2,
               .chips = {{"cpu", 0}},
               .memory_bytes_max = std::size_t{64} * kMiB}};
  SubHandle fill, sum;
};

TEST_F(Loans, ASubBelowWritesTheTensorOfTheTop) {
  const OrchHandle lend = pod.register_orch("lend", [=, this](Orchestrator& orch, TaskArgs& args) {
    orch.submit(fill, Args().output(args.handle(0)).scalar(4.0f));
  });
  const Tensor x = pod.tensor<float>({100});
  run_at_host(lend, Args().output(x));
  EXPECT_THAT(x.data<float>().span(), Each(4.0f));
}

TEST_F(Loans, PartsOfALoanAreLentToSeveral) {
  const OrchHandle lend = pod.register_orch("lend", [=, this](Orchestrator& orch, TaskArgs& args) {
    for (int i = 0; i < 4; ++i) {
      orch.submit(fill, Args().output(args.handle(0).slice(0, i, i + 1)).scalar(1.0f * i));
    }
  });
  const Tensor x = pod.tensor<float>({4});
  run_at_host(lend, Args().output(x));
  EXPECT_THAT(x.data<float>().span(), ElementsAre(0, 1, 2, 3));
}

TEST_F(Loans, TheBorrowingFunctionSeesTheElementsItself) {
  const OrchHandle look = pod.register_orch("look", [](Orchestrator&, TaskArgs& args) {
    const auto values = args.handle(0).data<const float>();
    args.tensor<float>(1)[0] = values[0] + values[1];
  });
  const Tensor x = pod.tensor<float>({2});
  const Tensor y = pod.tensor<float>({1});
  x.data<float>()[0] = 3.0f;
  x.data<float>()[1] = 4.0f;
  run_at_host(look, Args().input(x).output(y));
  EXPECT_EQ(y.data<float>()[0], 7.0f);
}

TEST_F(Loans, TasksOfTheBorrowerAreOrderedByTheirTags) {
  const OrchHandle lend = pod.register_orch("lend", [=, this](Orchestrator& orch, TaskArgs& args) {
    float got = 0;
    for (int i = 0; i < 100; ++i) {
      orch.submit(fill, Args().output(args.handle(0)).scalar(1.0f * i));
      got += orch.submit(sum, Args().input(args.handle(0))).result<float>() - 10.0f * i;
    }
    return got;
  });
  const Tensor x = pod.tensor<float>({10});
  const float got = pod.run(
      [&](Orchestrator& orch) { return orch.submit(lend, Args().inout(x)).result<float>(); });
  EXPECT_EQ(got, 0.0f);
}

TEST_F(Loans, WhatIsLentForReadingIsNotWrittenBelow) {
  const OrchHandle lend = pod.register_orch("lend", [=, this](Orchestrator& orch, TaskArgs& args) {
    orch.submit(fill, Args().output(args.handle(0)).scalar(4.0f));
  });
  const Tensor x = pod.tensor<float>({100});
  const Error error = thrown<InvalidArgument>([&] { run_at_host(lend, Args().input(x)); });
  EXPECT_THAT(error.message(), HasSubstr("submit: tensor argument 0, float32[100]"));
  EXPECT_THAT(error.message(), HasSubstr("is lent for reading only; tag it input"));
  EXPECT_EQ(error.reason(), Reason::kWrongAccess);
  EXPECT_EQ(error.path(), "pod0/host0");
  EXPECT_THAT(x.data<float>().span(), Each(0.0f));
}

TEST_F(Loans, WhatIsLentForReadingIsNotWrittenByTheBorrowerItself) {
  const OrchHandle look = pod.register_orch(
      "look", [](Orchestrator&, TaskArgs& args) { args.handle(0).data<float>()[0] = 1.0f; });
  const Tensor x = pod.tensor<float>({1});
  const Error error = thrown<InvalidArgument>([&] { run_at_host(look, Args().input(x)); });
  EXPECT_EQ(error.reason(), Reason::kWrongAccess);
  EXPECT_EQ(x.data<float>()[0], 0.0f);
}

TEST_F(Loans, AHandleKeptBeyondItsTaskIsStale) {
  const OrchHandle keep = pod.register_orch("keep", [=, this](Orchestrator& orch, TaskArgs& args) {
    static Tensor kept;
    if (!kept.valid()) {
      kept = args.handle(0);
      return;
    }
    orch.submit(sum, Args().input(kept));
  });
  const Tensor x = pod.tensor<float>({4});
  run_at_host(keep, Args().input(x));
  const Error error = thrown<StaleHandle>([&] { run_at_host(keep, Args().input(x)); });
  EXPECT_EQ(error.message(), "stale handle: the tensor was lent to a task that has ended");
  EXPECT_EQ(error.path(), "pod0/host0");
}

TEST_F(Loans, ElementsOfAHandleKeptBeyondItsTaskAreRefused) {
  const OrchHandle keep = pod.register_orch("keep", [](Orchestrator&, TaskArgs& args) {
    static Tensor kept;
    if (kept.valid()) (void)kept.data<const float>();
    kept = args.handle(0);
  });
  const Tensor x = pod.tensor<float>({4});
  run_at_host(keep, Args().input(x));
  EXPECT_EQ(thrown<StaleHandle>([&] { run_at_host(keep, Args().input(x)); }).path(), "pod0/host0");
}

TEST_F(Loans, OnlyTheOwnerFreesIt) {
  const OrchHandle lend = pod.register_orch("lend", [](Orchestrator&, TaskArgs& args) {
    Tensor lent = args.handle(0);
    lent.free();
  });
  const Tensor x = pod.tensor<float>({100});
  const Error error = thrown<InvalidArgument>([&] { run_at_host(lend, Args().inout(x)); });
  EXPECT_THAT(error.message(), HasSubstr("free: float32[100] of the level above"));
  EXPECT_EQ(x.data<float>().size(), 100u);
}

TEST_F(Loans, ATensorOfTheBorrowersOwnIsGoneWithItsLastHandle) {
  const OrchHandle own = pod.register_orch("own", [=, this](Orchestrator& orch) {
    float got = 0;
    for (int i = 0; i < 10; ++i) {
      const Tensor x = orch.alloc<float>({8 * kMiB});  // half of what the host may have
      orch.submit(fill, Args().output(x.slice(0, 0, 4)).scalar(1.0f));
      got += orch.submit(sum, Args().input(x.slice(0, 0, 4))).result<float>();
    }
    return got;
  });
  EXPECT_EQ(pod.run([&](Orchestrator& orch) { return orch.submit(own).result<float>(); }), 40.0f);
}

TEST_F(Loans, AHostThatUsesUpItsOwnMemoryIsNamed) {
  const OrchHandle own =
      pod.register_orch("own", [](Orchestrator& orch) { orch.alloc<float>({32 * kMiB}); });
  const Error error = thrown<ResourceExhausted>([&] { run_at_host(own, {}); });
  EXPECT_THAT(error.message(), HasSubstr("the host memory of pod0/host0 is used up"));
  EXPECT_EQ(error.path(), "pod0/host0");
}

TEST_F(Loans, ATensorOfAnotherLevelIsNotTakenFromAClosure) {
  const Tensor x = pod.tensor<float>({4});
  const OrchHandle capture = pod.register_orch(
      "capture", [=, this](Orchestrator& orch) { orch.submit(sum, Args().input(x)); });
  const Error error = thrown<InvalidArgument>([&] { run_at_host(capture, {}); });
  EXPECT_THAT(error.message(),
              HasSubstr("tensor argument 0 was captured by the function before start()"));
}

TEST_F(Loans, MemoryMadeAfterTheStartReachesSubsAtEveryDepth) {
  const OrchHandle lend = pod.register_orch("lend", [=, this](Orchestrator& orch, TaskArgs& args) {
    orch.submit(fill, Args().output(args.handle(0)).scalar(2.0f));
  });
  pod.start();
  const Tensor x = pod.tensor<float>({20 * kMiB});  // more than a pool has at first
  const float got = pod.run([&](Orchestrator& orch) {
    orch.submit(lend, Args().output(x));
    return orch.submit(sum, Args().input(x.slice(0, 20 * kMiB - 8, 20 * kMiB))).result<float>();
  });
  EXPECT_EQ(got, 16.0f);
  EXPECT_EQ(x.data<float>()[0], 2.0f);
}

TEST_F(Loans, MemoryMadeAfterTheStartReachesChips) {
  const ChipHandle scale =
      pod.register_chip("scale", ChipImage::from_file(ECHELON_TREE_KERNELS, "scale"));
  const OrchHandle lend = pod.register_orch("lend", [=](Orchestrator& orch, TaskArgs& args) {
    orch.submit(scale, Args().input(args.handle(0)).output(args.handle(1)).scalar(2.0f));
  });
  pod.start();
  const Tensor x = pod.tensor<float>({20 * kMiB});
  const Tensor y = pod.tensor<float>({20 * kMiB});
  x.data<float>()[20 * kMiB - 1] = 21.0f;
  run_at_host(lend, Args().input(x).output(y));
  EXPECT_EQ(y.data<float>()[20 * kMiB - 1], 42.0f);
}

TEST_F(Loans, MemoryOfAHostMadeLaterReachesItsOwnChildren) {
  const OrchHandle own = pod.register_orch("own", [=, this](Orchestrator& orch) {
    const Tensor small = orch.alloc<float>({4});
    const Tensor large = orch.alloc<float>({10 * kMiB});
    orch.submit(fill, Args().output(small).scalar(1.0f), {.worker = orch.sub_worker(0)});
    orch.submit(fill, Args().output(large).scalar(1.0f), {.worker = orch.sub_worker(1)});
    return orch.submit(sum, Args().input(large.slice(0, 0, 8)), {.worker = orch.sub_worker(0)})
        .result<float>();
  });
  pod.start();
  EXPECT_EQ(pod.run([&](Orchestrator& orch) { return orch.submit(own).result<float>(); }), 8.0f);
}

TEST_F(Loans, ACopyRunsAtAWorkerThatHasNothingElse) {
  Worker bare({.level = 4, .name = "bare"});
  Worker only({.level = 3, .name = "only"});
  bare.add_worker(only);
  const Tensor x = bare.tensor<float>({4});
  const Tensor y = bare.tensor<float>({4});
  for (float& value : x.data<float>()) value = 6.0f;
  bare.run([&](Orchestrator& orch) { orch.copy(y, x); });
  EXPECT_THAT(y.data<float>().span(), Each(6.0f));
}

}  // namespace
}  // namespace echelon::tree_test
