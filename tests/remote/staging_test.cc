// SPDX-License-Identifier: Apache-2.0
//
// Local tensors given to tasks of remote Workers, with Stage::kCopy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "functions.h"
#include "remote_host.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using testing::Each;
using testing::ElementsAreArray;
using testing::HasSubstr;
using tree_test::thrown;

constexpr std::size_t kCount = 100'000;

class StagedTensors : public testing::Test {
 protected:
  StagedTensors() : worker(pod.add_remote_worker(copying(host))) {}

  static RemoteWorkerSpec copying(const RemoteHost& host) {
    RemoteWorkerSpec spec = host.spec("far");
    spec.stage = Stage::kCopy;
    return spec;
  }
  Tensor tensor(float first = 1.0f) {
    return pod.tensor<float>({kCount}, std::span<const float>(numbers(kCount, first)));
  }
  static std::vector<float> values(const Tensor& tensor) {
    const auto view = tensor.data<const float>();
    return {view.begin(), view.end()};
  }
  /// Bytes of tensors that went to the remote Worker and came from it, so far.
  std::pair<std::uint64_t, std::uint64_t> moved() {
    const NodeInfo info = pod.tree().children.at(0);
    return {info.bytes_in, info.bytes_out};
  }

  RemoteHost host;
  Worker pod{{.level = 4}};
  const WorkerId worker;
  Functions functions{pod};
};

TEST_F(StagedTensors, InputsGoDownAndOutputsComeBack) {
  const Tensor x = tensor();
  const Tensor y = pod.tensor<float>({kCount});
  pod.run([&](Orchestrator& orch) {
    orch.submit(functions.scale, Args().input(x).output(y).scalar(3.0f));
  });
  std::vector<float> expected = numbers(kCount);
  for (float& value : expected) value *= 3.0f;
  EXPECT_THAT(values(y), ElementsAreArray(expected));
}

TEST_F(StagedTensors, AnInoutGoesBothWays) {
  const Tensor x = tensor();
  pod.run([&](Orchestrator& orch) {
    for (int i = 0; i < 3; ++i) orch.submit(functions.add_one, Args().inout(x));
  });
  EXPECT_THAT(values(x), ElementsAreArray(numbers(kCount, 4.0f)));
}

TEST_F(StagedTensors, WaitingForTheTaskWaitsForWhatItWrote) {
  const Tensor x = tensor();
  pod.run([&](Orchestrator& orch) {
    const TaskHandle task = orch.submit(functions.add_one, Args().inout(x));
    task.wait();
    EXPECT_TRUE(task.done());
    EXPECT_EQ(x.data<const float>()[0], 2.0f);
  });
}

TEST_F(StagedTensors, AnOutputThatSubmitAllocatesIsLocal) {
  pod.run([&](Orchestrator& orch) {
    const TaskHandle task = orch.submit(functions.fill, Args().output<float>({4}).scalar(7.0f));
    task.wait();
    EXPECT_THAT(values(task.output(0)), Each(7.0f));
  });
}

TEST_F(StagedTensors, WhatCannotHaveChangedDoesNotTravelAgain) {
  const Tensor x = tensor();
  const Tensor y = pod.tensor<float>({kCount});
  const auto once = [&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.scale, Args().input(x).output(y).scalar(3.0f));
    });
  };
  once();
  const auto before = moved();
  once();
  const auto after = moved();
  EXPECT_EQ(after.first, before.first);  // neither the input nor the output's old bytes
  EXPECT_EQ(after.second - before.second, kCount * sizeof(float));
}

TEST_F(StagedTensors, AChangedTensorTravelsAgain) {
  const Tensor x = tensor();
  const Tensor y = pod.tensor<float>({kCount});
  const auto once = [&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.scale, Args().input(x).output(y).scalar(1.0f));
    });
  };
  once();
  const auto view = x.data<float>();
  for (int i = 0; i < 3; ++i) {
    // Through a view that was handed out once: nobody sees it being written.
    view[0] = 100.0f + static_cast<float>(i);
    once();
    EXPECT_EQ(y.data<const float>()[0], 100.0f + static_cast<float>(i));
  }
}

TEST_F(StagedTensors, AFailedRunLeavesNoCopyBehindThatCounts) {
  const Tensor x = tensor();
  thrown<TaskFailed>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.add_one, Args().inout(x));
      orch.submit(functions.fail_below);
    });
  });
  const std::vector<float> now = values(x);
  const Tensor y = pod.tensor<float>({kCount});
  pod.run([&](Orchestrator& orch) {
    orch.submit(functions.scale, Args().input(x).output(y).scalar(1.0f));
  });
  EXPECT_THAT(values(y), ElementsAreArray(now));
}

TEST(Staged, CopiesThatNobodyUsesMakeRoom) {
  RemoteHost host;
  RemoteWorkerSpec spec = host.spec("far");
  spec.stage = Stage::kCopy;
  spec.memory_bytes_max = std::size_t{4} << 20;
  Worker pod({.level = 4});
  const WorkerId far = pod.add_remote_worker(spec);
  const Functions functions(pod);
  constexpr std::size_t kMost = 750'000;  // of 1 Mi
  for (int i = 0; i < 5; ++i) {
    const Tensor x = pod.tensor<float>({kMost});
    pod.run([&](Orchestrator& orch) { orch.submit(functions.add_one, Args().inout(x)); });
    EXPECT_EQ(x.data<const float>()[kMost - 1], 1.0f);
  }
  // Also for what the program asks for itself.
  EXPECT_NO_THROW(pod.remote_tensor<float>(far, {kMost}));
}

TEST_F(StagedTensors, OverlappingTensorsOfWhichOneIsWrittenAreRefused) {
  const Tensor x = tensor();
  const Error error = thrown<InvalidArgument>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.scale, Args().input(x).output(x).scalar(1.0f));
    });
  });
  EXPECT_THAT(error.message(), HasSubstr("tensor arguments 0 and 1 overlap"));
}

TEST_F(StagedTensors, ATaskCanRefuseIt) {
  const Tensor x = tensor();
  const Error error = thrown<InvalidArgument>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.add_one, Args().inout(x), {.stage = Stage::kRefuse});
    });
  });
  EXPECT_THAT(error.message(), HasSubstr("is not in the memory of"));
}

// --- groups

class StagedGroups : public testing::Test {
 protected:
  StagedGroups() : left(add("left", Stage::kCopy)), right(add("right", Stage::kRefuse)) {}

  WorkerId add(const std::string& name, Stage stage) {
    RemoteWorkerSpec spec = host.spec(name);
    spec.stage = stage;
    return pod.add_remote_worker(spec);
  }
  /// Two tasks of a group, each with half of `x`.
  void add_one(const Tensor& x, const GroupOptions& options) {
    const std::int64_t half = x.extent(0) / 2;
    pod.run([&](Orchestrator& orch) {
      const std::vector<Args> halves = {Args().inout(x.slice(0, 0, half)),
                                        Args().inout(x.slice(0, half, 2 * half))};
      for (const TaskHandle& task : orch.submit_group(functions.add_one, halves, options)) {
        task.wait();
      }
      EXPECT_THAT(values(x), ElementsAreArray(numbers(kCount, 2.0f)));
    });
  }
  Tensor tensor() { return pod.tensor<float>({kCount}, std::span<const float>(numbers(kCount))); }
  static std::vector<float> values(const Tensor& tensor) {
    const auto view = tensor.data<const float>();
    return {view.begin(), view.end()};
  }

  RemoteHost host;
  Worker pod{{.level = 4}};
  const WorkerId left, right;
  Functions functions{pod};
};

TEST_F(StagedGroups, HaveTheirTensorsCopiedThereAndBack) {
  add_one(tensor(), {.workers = {left, right}, .stage = Stage::kCopy});
}

TEST_F(StagedGroups, ArePlacedOnWorkersThatAreAllDifferent) {
  add_one(tensor(), {.stage = Stage::kCopy});
}

TEST_F(StagedGroups, OneWhoseWorkerRefusesIsRefusedWhole) {
  const Tensor x = tensor();
  const Error error = thrown<InvalidArgument>([&] { add_one(x, {.workers = {left, right}}); });
  EXPECT_THAT(error.message(), HasSubstr("is not in the memory of pod0/right"));
  EXPECT_THAT(values(x), ElementsAreArray(numbers(kCount)));
}

TEST_F(StagedGroups, MoreTasksThanWorkersAreRefused) {
  const Tensor x = tensor();
  const Error error = thrown<InvalidArgument>([&] {
    pod.run([&](Orchestrator& orch) {
      const std::vector<Args> three(3, Args().input(x));
      orch.submit_group(functions.where_orch, three, {.stage = Stage::kCopy});
    });
  });
  EXPECT_THAT(error.message(), HasSubstr("3 tasks, each on a Worker of its own, and pod0 has 2"));
}

TEST_F(StagedGroups, MembersThatUseTheSameElementsAreRefused) {
  const Tensor x = tensor();
  const Error error = thrown<InvalidArgument>([&] {
    pod.run([&](Orchestrator& orch) {
      const std::vector<Args> both = {Args().inout(x), Args().input(x)};
      orch.submit_group(functions.add_one, both, {.workers = {left, right}, .stage = Stage::kCopy});
    });
  });
  EXPECT_THAT(error.message(), HasSubstr("tasks 0 and 1 use the same elements"));
}

}  // namespace
}  // namespace echelon::remote_test
