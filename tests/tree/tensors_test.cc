// SPDX-License-Identifier: Apache-2.0
//
// Tensors: views, loans over the levels, and the memory behind them (D3, D5, section 4).
#include <echelon/echelon.h>
#include <gmock/gmock.h>

#include <cstdint>
#include <numeric>
#include <vector>

#include "shared_words.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kMiB = 1 << 20;

std::vector<float> floats(const Tensor& tensor) {
  const auto view = tensor.data<const float>();
  std::vector<float> values;
  for (std::size_t i = 0; i < view.size(); ++i) values.push_back(view[i]);
  return values;
}

class HostTensors : public testing::Test {
 protected:
  HostTensors() {
    fill = host.register_sub("fill", [](Task& task) {
      const auto values = task.tensor<float>(0);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = task.scalar<float>(0);
    });
    add_one = host.register_sub("add_one", [](Task& task) {
      const auto values = task.tensor<float>(0);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] += 1.0f;
    });
    sum = host.register_sub("sum", [](Task& task) {
      const auto values = task.tensor<const float>(0);
      float total = 0;
      for (std::size_t i = 0; i < values.size(); ++i) total += values[i];
      return total;
    });
    hold_and_sum = host.register_sub("hold_and_sum", [this](Task& task) {
      words.wait_for(kGo);
      const auto values = task.tensor<const float>(0);
      return std::accumulate(values.begin(), values.end(), 0.0f);
    });
  }

  Tensor counted(Shape shape) {
    Tensor tensor = host.tensor<float>(std::move(shape));
    const auto all = tensor.data<float>();
    std::iota(all.begin(), all.end(), 0.0f);
    return tensor;
  }

  static constexpr std::size_t kGo = 0;
  SharedWords words;
  Worker host{{.level = 3, .sub_workers = 2, .memory_bytes_max = 128 * kMiB}};
  SubHandle fill, add_one, sum, hold_and_sum;
};

// --- geometry
// -------------------------------------------------------------------------------------

TEST_F(HostTensors, AreZeroAtFirst) {
  EXPECT_THAT(floats(host.tensor<float>({3, 5})), Each(0.0f));
}

TEST_F(HostTensors, AreFilledWithGivenValues) {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  EXPECT_THAT(floats(host.tensor<float>({2, 3}, values)), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(HostTensors, AnotherNumberOfValuesIsRefused) {
  const std::vector<float> values{1, 2, 3};
  const Error error = thrown<InvalidArgument>([&] { host.tensor<float>({2, 3}, values); });
  EXPECT_EQ(error.message(), "tensor: float32[2, 3] needs 6 values, and 3 were given");
}

TEST_F(HostTensors, OfRankZeroAreOneElement) {
  const Tensor x = host.tensor<float>({});
  EXPECT_EQ(x.rank(), 0u);
  EXPECT_EQ(x.size(), 1u);
  const float got = host.run([&](Orchestrator& orch) {
    orch.submit(fill, Args().output(x).scalar(2.5f));
    return orch.submit(sum, Args().input(x)).result<float>();
  });
  EXPECT_EQ(got, 2.5f);
  EXPECT_THAT(floats(x), ElementsAre(2.5f));
}

TEST_F(HostTensors, OfNoElementsArePassedOnAsOthers) {
  const Tensor x = host.tensor<float>({3, 0});
  EXPECT_EQ(x.bytes(), 0u);
  const float got = host.run([&](Orchestrator& orch) {
    orch.submit(fill, Args().output(x).scalar(1.0f));
    return orch.submit(sum, Args().input(x)).result<float>();
  });
  EXPECT_EQ(got, 0.0f);
}

TEST_F(HostTensors, HaveUpToEightDimensions) {
  const Tensor x = host.tensor<float>({1, 2, 1, 3, 1, 2, 1, 2});
  const float got = host.run([&](Orchestrator& orch) {
    orch.submit(fill, Args().output(x).scalar(1.0f));
    orch.submit(fill, Args().output(x.slice(3, 1, 2)).scalar(10.0f));
    return orch.submit(sum, Args().input(x)).result<float>();
  });
  EXPECT_EQ(got, 16.0f + 80.0f);
}

TEST_F(HostTensors, OfNineDimensionsAreRefused) {
  const Error error = thrown<InvalidArgument>([&] { host.tensor<float>(Shape(9, 1)); });
  EXPECT_EQ(error.message(), "a tensor of rank 9; at most 8 dimensions are possible");
}

TEST_F(HostTensors, OfANegativeExtentAreRefused) {
  const Error error = thrown<InvalidArgument>([&] { host.tensor<float>({4, -1}); });
  EXPECT_EQ(error.message(), "float32[4, -1] has a negative extent");
}

TEST_F(HostTensors, LargerThanAnyMemoryAreRefused) {
  const std::int64_t large = std::int64_t{1} << 40;
  const Error error = thrown<InvalidArgument>([&] { host.tensor<float>({large, large}); });
  EXPECT_THAT(error.message(), HasSubstr("is larger than 2^48 bytes"));
}

TEST_F(HostTensors, ASliceIsAViewWithGaps) {
  const Tensor column = counted({4, 4}).slice(1, 1, 3);
  const auto view = column.data<float>();
  EXPECT_FALSE(view.contiguous());
  EXPECT_EQ(view.extent(1), 2);
  EXPECT_EQ(view.stride(0), 4);
  EXPECT_EQ(view(2, 1), 10.0f);
  EXPECT_THAT(floats(column), ElementsAre(1, 2, 5, 6, 9, 10, 13, 14));
}

TEST_F(HostTensors, ASubSeesAViewWithGapsAsItWasGiven) {
  const Tensor x = counted({4, 4});
  host.run([&](Orchestrator& orch) { orch.submit(add_one, Args().inout(x.slice(1, 1, 2))); });
  EXPECT_THAT(floats(x), ElementsAre(0, 2, 2, 3, 4, 6, 6, 7, 8, 10, 10, 11, 12, 14, 14, 15));
}

TEST_F(HostTensors, ASliceOutsideOfItsTensorIsRefused) {
  const Tensor x = host.tensor<float>({4, 4});
  const Error error = thrown<InvalidArgument>([&] { x.slice(0, 2, 5); });
  EXPECT_EQ(error.message(),
            "slice [2, 5) of dimension 0 of float32[4, 4] of host0, host memory: 0 <= begin <= end "
            "<= 4");
  EXPECT_THAT(thrown<InvalidArgument>([&] { x.slice(0, 3, 2); }).message(), HasSubstr("[3, 2)"));
  EXPECT_THAT(thrown<InvalidArgument>([&] { x.slice(0, -1, 2); }).message(), HasSubstr("[-1, 2)"));
  EXPECT_EQ(thrown<InvalidArgument>([&] { x.slice(2, 0, 1); }).message(),
            "dimension 2 of a tensor of rank 2");
}

TEST_F(HostTensors, AnotherShapeSharesTheElements) {
  const Tensor x = counted({2, 3});
  x.reshape({3, 2}).data<float>()(2, 0) = 100.0f;
  EXPECT_THAT(floats(x), ElementsAre(0, 1, 2, 3, 100, 5));
}

TEST_F(HostTensors, AShapeOfAnotherSizeIsRefused) {
  const Tensor x = host.tensor<float>({2, 3});
  const Error error = thrown<InvalidArgument>([&] { x.reshape({7}); });
  EXPECT_EQ(error.message(),
            "float32[2, 3] of host0, host memory cannot be seen as float32[7]: it must be "
            "contiguous and of the same size");
}

TEST_F(HostTensors, AnotherShapeOfAViewWithGapsIsRefused) {
  const Tensor column = host.tensor<float>({4, 4}).slice(1, 0, 2);
  const Error error = thrown<InvalidArgument>([&] { column.reshape({8}); });
  EXPECT_THAT(error.message(), HasSubstr("it must be contiguous"));
}

TEST_F(HostTensors, ElementsOfAnotherTypeAreRefused) {
  const Tensor x = host.tensor<float>({2, 3});
  const Error error = thrown<InvalidArgument>([&] { x.data<double>(); });
  EXPECT_EQ(error.message(), "the tensor is float32[2, 3], and was asked for as float64");
  EXPECT_EQ(error.reason(), Reason::kWrongType);
}

TEST_F(HostTensors, AViewOfAnotherRankIsRefused) {
  const Tensor x = host.tensor<float>({2, 3});
  EXPECT_EQ((x.data<float, 2>().size()), 6u);
  const Error error = thrown<InvalidArgument>([&] { (void)x.data<float, 1>(); });
  EXPECT_THAT(error.message(), HasSubstr("float32[2, 3]"));
  EXPECT_EQ(error.reason(), Reason::kWrongType);
}

TEST_F(HostTensors, AnEmptyHandleIsRefusedWhereverItIsUsed) {
  const Tensor none;
  EXPECT_THAT(thrown<InvalidArgument>([&] { (void)none.shape(); }).message(),
              HasSubstr("this Tensor is empty"));
  EXPECT_THAT(thrown<InvalidArgument>([&] {
                host.run([&](Orchestrator& orch) { orch.submit(sum, Args().input(none)); });
              }).message(),
              HasSubstr("tensor argument 0 is empty"));
}

// --- outputs that submit() allocates
// --------------------------------------------------------------

TEST_F(HostTensors, AnOutputIsAllocatedBySubmitAndUsedBeforeItExists) {
  const float got = host.run([&](Orchestrator& orch) {
    const auto made = orch.submit(fill, Args().output<float>({4, 4}).scalar(2.0f));
    orch.submit(add_one, Args().inout(made.output(0)));
    return orch.submit(sum, Args().input(made.output(0))).result<float>();
  });
  EXPECT_EQ(got, 48.0f);
}

TEST_F(HostTensors, AnAllocatedOutputOutlivesItsRun) {
  const Tensor kept = host.run([&](Orchestrator& orch) {
    return orch.submit(fill, Args().output({3}, DType::kFloat32).scalar(2.0f)).output(0);
  });
  EXPECT_THAT(floats(kept), ElementsAre(2, 2, 2));
}

TEST_F(HostTensors, AllocatedOutputsAreCountedByThemselves) {
  const SubHandle two = host.register_sub("two", [](Task& task) {
    task.tensor<float>(1)[0] = task.tensor<const float>(0)[0];
    task.tensor<std::int32_t>(2)[0] = 7;
  });
  const Tensor x = counted({4}).slice(0, 3, 4);
  host.run([&](Orchestrator& orch) {
    const auto task =
        orch.submit(two, Args().input(x).output<float>({1}).output<std::int32_t>({1}));
    task.wait();
    EXPECT_EQ(task.output(0).data<const float>()[0], 3.0f);
    EXPECT_EQ(task.output(1).data<const std::int32_t>()[0], 7);
    EXPECT_EQ(thrown<InvalidArgument>([&] { task.output(2); }).message(),
              "output 2 of a task for which submit() allocated 2");
  });
}

TEST_F(HostTensors, AllocIsUsedAsAnyOther) {
  const float got = host.run([&](Orchestrator& orch) {
    const Tensor x = orch.alloc<float>({10});
    orch.submit(fill, Args().output(x).scalar(1.5f));
    return orch.submit(sum, Args().input(x)).result<float>();
  });
  EXPECT_EQ(got, 15.0f);
}

// --- copies within the host
// ------------------------------------------------------------------------

TEST_F(HostTensors, ACopyIsOrderedByItsTags) {
  const Tensor x = host.tensor<float>({8});
  const Tensor y = host.tensor<float>({8});
  const float got = host.run([&](Orchestrator& orch) {
    orch.submit(fill, Args().output(x).scalar(3.0f));
    orch.copy(y, x);
    orch.submit(fill, Args().output(x).scalar(5.0f));
    return orch.submit(sum, Args().input(y)).result<float>();
  });
  EXPECT_EQ(got, 24.0f);
}

TEST_F(HostTensors, ACopyBetweenViewsWithGapsMovesTheirElements) {
  const Tensor x = counted({3, 4});
  const Tensor y = host.tensor<float>({3, 4});
  host.run([&](Orchestrator& orch) { orch.copy(y.slice(1, 2, 4), x.slice(1, 0, 2)); });
  EXPECT_THAT(floats(y), ElementsAre(0, 0, 0, 1, 0, 0, 4, 5, 0, 0, 8, 9));
}

TEST_F(HostTensors, ACopyOntoItselfReadsWhatWasThereBefore) {
  constexpr std::int64_t kCount = 100'000;
  const Tensor x = counted({kCount});
  host.run(
      [&](Orchestrator& orch) { orch.copy(x.slice(0, 1, kCount), x.slice(0, 0, kCount - 1)); });
  const auto values = x.data<float>();
  EXPECT_EQ(values[0], 0.0f);
  for (std::size_t i = 1; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<float>(i - 1));
}

TEST_F(HostTensors, ACopyOfAnotherShapeIsRefused) {
  const Tensor x = host.tensor<float>({4});
  const Tensor y = host.tensor<float>({2, 2});
  const Error error =
      thrown<InvalidArgument>([&] { host.run([&](Orchestrator& orch) { orch.copy(y, x); }); });
  EXPECT_EQ(error.message(),
            "copy: float32[4] of host0, host memory cannot be copied to float32[2, 2] of host0, "
            "host memory: dtype and shape must be the same");
}

// --- the memory behind it
// -------------------------------------------------------------------------

TEST_F(HostTensors, AFreedHandleIsStaleInEveryCopy) {
  Tensor x = host.tensor<float>({4});
  const Tensor copy = x;
  const Tensor part = x.slice(0, 0, 2);
  x.free();
  for (const Tensor& stale : {x, copy, part}) {
    EXPECT_EQ(thrown<StaleHandle>([&] { (void)stale.data<float>(); }).message(),
              "stale handle: the tensor of host0, host memory was freed");
    EXPECT_THAT(thrown<StaleHandle>([&] {
                  host.run([&](Orchestrator& orch) { orch.submit(sum, Args().input(stale)); });
                }).message(),
                HasSubstr("the tensor of host0, host memory was freed"));
  }
}

TEST_F(HostTensors, FreeingTwiceDoesNothing) {
  Tensor x = host.tensor<float>({4});
  x.free();
  x.free();
  EXPECT_EQ(thrown<StaleHandle>([&] { (void)x.data<float>(); }).reason(), Reason::kStaleHandle);
}

TEST_F(HostTensors, ATaskInFlightKeepsWhatWasFreed) {
  host.start();
  const float got = host.run([&](Orchestrator& orch) {
    Tensor x = host.tensor<float>({1024});
    for (float& value : x.data<float>()) value = 1.0f;
    const auto held = orch.submit(hold_and_sum, Args().input(x), {.worker = orch.sub_worker(0)});
    x.free();
    const Tensor next = host.tensor<float>({1024});  // of the same size: would be given its memory
    orch.submit(fill, Args().output(next).scalar(9.0f), {.worker = orch.sub_worker(1)}).wait();
    words[kGo] = 1;
    return held.result<float>();
  });
  EXPECT_EQ(got, 1024.0f);
}

TEST_F(HostTensors, ATaskInFlightKeepsWhatNobodyElseHolds) {
  host.start();
  const float got = host.run([&](Orchestrator& orch) {
    const auto held = [&] {
      const Tensor x = host.tensor<float>({1024});
      for (float& value : x.data<float>()) value = 1.0f;
      return orch.submit(hold_and_sum, Args().input(x), {.worker = orch.sub_worker(0)});
    }();
    const Tensor next = host.tensor<float>({1024});
    orch.submit(fill, Args().output(next).scalar(9.0f), {.worker = orch.sub_worker(1)}).wait();
    words[kGo] = 1;
    return held.result<float>();
  });
  EXPECT_EQ(got, 1024.0f);
}

TEST_F(HostTensors, MemoryOfDroppedHandlesIsUsedAgain) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(host.tensor<float>({8 * kMiB}).bytes(), 32u << 20);
}

TEST_F(HostTensors, MemoryOfFreedTensorsIsUsedAgain) {
  std::vector<Tensor> handles;
  for (int i = 0; i < 20; ++i) {
    handles.push_back(host.tensor<float>({8 * kMiB}));
    handles.back().free();
  }
}

TEST_F(HostTensors, MemoryUsedAgainIsZero) {
  for (int i = 0; i < 4; ++i) {
    const Tensor x = host.tensor<float>({1024});
    EXPECT_THAT(x.data<float>().span(), Each(0.0f));
    for (float& value : x.data<float>()) value = 5.0f;
  }
}

TEST_F(HostTensors, MoreMemoryThanThereMayBeIsRefusedSayingWhoHoldsIt) {
  const Tensor held = host.tensor<float>({24 * kMiB});
  const Error error = thrown<ResourceExhausted>([&] { host.tensor<float>({16 * kMiB}); });
  EXPECT_EQ(error.reason(), Reason::kExhausted);
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("the host memory of host0 is used up"), HasSubstr("96"),
                    HasSubstr("128"), HasSubstr("free tensors, or raise the limit")));
}

TEST_F(HostTensors, OutputsBeyondTheMemoryAreRefusedWhereNothingInFlightCanFreeSome) {
  const Tensor held = host.tensor<float>({24 * kMiB});
  const Error error = thrown<ResourceExhausted>([&] {
    host.run([&](Orchestrator& orch) {
      const Scope scope = orch.scope("epoch");
      orch.submit(fill, Args().output<float>({16 * kMiB}).scalar(1.0f));
    });
  });
  EXPECT_THAT(error.message(), AllOf(HasSubstr("the host memory of host0 is used up"),
                                     HasSubstr("(asked for in scope epoch)")));
}

TEST_F(HostTensors, ADeadlineEndsTheWaitForMemory) {
  host.start();
  const ::echelon::Run other = host.submit([&](Orchestrator& orch) {
    const Tensor x = orch.alloc<float>({24 * kMiB});
    orch.submit(hold_and_sum, Args().input(x));
  });
  EXPECT_THROW(host.run([](Orchestrator& orch) { orch.alloc<float>({16 * kMiB}); },
                        {.deadline = std::chrono::milliseconds(20)}),
               DeadlineExceeded);
  words[kGo] = 1;
  other.wait();
}

TEST_F(HostTensors, SubmitWaitsForMemoryThatTasksInFlightWillFree) {
  float total = 0;
  host.run([&](Orchestrator& orch) {
    std::vector<TaskHandle> sums;
    for (int i = 0; i < 12; ++i) {  // three times what there is
      const auto made = orch.submit(fill, Args().output<float>({8 * kMiB}).scalar(1.0f)).output(0);
      sums.push_back(orch.submit(sum, Args().input(made.slice(0, 0, 16))));
    }
    for (const TaskHandle& task : sums) total += task.result<float>();
  });
  EXPECT_EQ(total, 12 * 16.0f);
}

TEST_F(HostTensors, ARunThatUsedUpTheMemoryLeavesTheWorkerUsable) {
  EXPECT_THROW(host.run([&](Orchestrator& orch) { orch.alloc<float>({64 * kMiB}); }),
               ResourceExhausted);
  const Tensor x = host.tensor<float>({8 * kMiB});
  host.run([&](Orchestrator& orch) { orch.submit(fill, Args().output(x).scalar(1.0f)); });
  EXPECT_EQ(x.data<float>()[8 * kMiB - 1], 1.0f);
}

TEST_F(HostTensors, OutliveTheClosedWorker) {
  const Tensor x = counted({4});
  host.start();
  host.close();
  EXPECT_THAT(floats(x), ElementsAre(0, 1, 2, 3));
}

TEST_F(HostTensors, AreGoodForTheWorkerThatWasStartedAgain) {
  const Tensor x = counted({4});
  host.start();
  host.close();
  host.start();
  host.run([&](Orchestrator& orch) { orch.submit(add_one, Args().inout(x)); });
  EXPECT_THAT(floats(x), ElementsAre(1, 2, 3, 4));
}

}  // namespace
}  // namespace echelon::tree_test
