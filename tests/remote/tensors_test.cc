// SPDX-License-Identifier: Apache-2.0
//
// Tensors in the memory of remote Workers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "functions.h"
#include "remote_host.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using tree_test::thrown;

constexpr std::size_t kCount = 1000;

class RemoteTensors : public testing::Test {
 protected:
  RemoteTensors()
      : left(pod.add_remote_worker(a.spec("left"))),
        right(pod.add_remote_worker(b.spec("right"))) {}

  std::vector<float> read(const Tensor& remote) {
    std::vector<float> values(remote.size());
    pod.copy_from(remote, std::span(values));
    return values;
  }
  Tensor filled(WorkerId worker, const std::vector<float>& values) {
    Tensor tensor = pod.remote_tensor<float>(worker, {static_cast<std::int64_t>(values.size())});
    pod.copy_to(tensor, std::span(values));
    return tensor;
  }

  RemoteHost a, b;
  Worker pod{{.level = 4}};
  const WorkerId left, right;
  Functions functions{pod};
};

TEST_F(RemoteTensors, AreZeroWhenMade) {
  EXPECT_THAT(read(pod.remote_tensor<float>(left, {kCount})), Each(0.0f));
}

TEST_F(RemoteTensors, BytesGoThereAndBack) {
  const std::vector<float> values = numbers(kCount);
  EXPECT_THAT(read(filled(left, values)), ElementsAreArray(values));
}

TEST_F(RemoteTensors, APartCanBeWrittenAndRead) {
  const Tensor tensor = filled(left, numbers(8));
  const std::vector<float> part = {-1.0f, -2.0f};
  pod.copy_to(tensor, std::span(part), 3);
  EXPECT_THAT(read(tensor), ElementsAre(1, 2, 3, -1, -2, 6, 7, 8));
  std::vector<float> two(2);
  pod.copy_from(tensor, std::span(two), 4);
  EXPECT_THAT(two, ElementsAre(-2, 6));
}

TEST_F(RemoteTensors, BeyondTheEndIsRefused) {
  const Tensor tensor = pod.remote_tensor<float>(left, {4});
  std::vector<float> two(2);
  const Error error = thrown<InvalidArgument>([&] { pod.copy_from(tensor, std::span(two), 3); });
  EXPECT_THAT(error.message(), HasSubstr("copy_from: bytes 12 to 20 of float32[4] of pod0/left, "
                                         "remote memory, which has 16"));
}

TEST_F(RemoteTensors, ATaskThereReadsAndWritesThem) {
  const Tensor x = filled(left, numbers(kCount));
  const Tensor y = pod.remote_tensor<float>(left, {kCount});
  pod.run([&](Orchestrator& orch) {
    orch.submit(functions.scale, Args().input(x).output(y).scalar(2.0f));
  });
  std::vector<float> expected = numbers(kCount);
  for (float& value : expected) value *= 2.0f;
  EXPECT_THAT(read(y), ElementsAreArray(expected));
}

TEST_F(RemoteTensors, AnOutputWithoutAPlaceIsMadeWhereTheTaskRuns) {
  std::vector<float> values(4);
  pod.run([&](Orchestrator& orch) {
    const TaskHandle task =
        orch.submit(functions.fill, Args().output<float>({4}).scalar(3.0f), {.worker = right});
    const Tensor here = orch.alloc<float>({4});
    orch.copy(here, task.output(0)).wait();
    const auto view = here.data<const float>();
    values.assign(view.begin(), view.end());
  });
  EXPECT_THAT(values, Each(3.0f));
}

TEST_F(RemoteTensors, CopiesInTheGraphAreOrderedByTags) {
  const Tensor here = pod.tensor<float>({kCount}, std::span<const float>(numbers(kCount)));
  const Tensor there = pod.remote_tensor<float>(left, {kCount});
  const Tensor back = pod.tensor<float>({kCount});
  pod.run([&](Orchestrator& orch) {
    orch.copy(there, here);
    orch.submit(functions.add_one, Args().inout(there));
    orch.submit(functions.add_one, Args().inout(there));
    orch.copy(back, there);
  });
  const auto view = back.data<const float>();
  EXPECT_THAT(std::vector<float>(view.begin(), view.end()),
              ElementsAreArray(numbers(kCount, 3.0f)));
}

TEST_F(RemoteTensors, ACopyThatIsLateEndsAloneAndItsTensorsAreGoodForMore) {
  constexpr std::int64_t kMany = 32 << 20;
  const Tensor here = pod.tensor<float>({kMany});
  const Tensor there = pod.remote_tensor<float>(left, {kMany});
  const auto session = [&] {
    return pod.run([&](Orchestrator& orch) {
      return orch.submit(functions.where_orch, {}, {.worker = left}).result<Place>().pid;
    });
  };
  const pid_t before = session();
  for (const auto& [to, from] : {std::pair(there, here), std::pair(here, there)}) {
    const Error error = thrown<DeadlineExceeded>([&] {
      pod.run([&](Orchestrator& orch) { orch.copy(to, from, {.deadline = 5ms}); });
    });
    EXPECT_EQ(error.info().cause, Cause::kDeadline) << error.what();
  }
  pod.run([&](Orchestrator& orch) { orch.copy(there, here); });
  EXPECT_EQ(session(), before);
}

TEST_F(RemoteTensors, FromOneHostToAnother) {
  const Tensor x = filled(left, numbers(kCount));
  const Tensor y = pod.remote_tensor<float>(right, {kCount});
  pod.run([&](Orchestrator& orch) { orch.copy(y, x); });
  EXPECT_THAT(read(y), ElementsAreArray(numbers(kCount)));
}

TEST_F(RemoteTensors, AreReachedByNobodyElse) {
  const Tensor tensor = pod.remote_tensor<float>(left, {4});
  EXPECT_THAT(thrown<Error>([&] { tensor.data<float>(); }).message(),
              AllOf(HasSubstr("pod0/left"), HasSubstr("copy_from()"), HasSubstr("copy_to()"),
                    HasSubstr("orch.copy()")));
  const Error error = thrown<InvalidArgument>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.add_one, Args().inout(tensor), {.worker = right});
    });
  });
  EXPECT_THAT(error.message(), HasSubstr("one of its tensors lies at pod0/left alone, but it must "
                                         "run at pod0/right"));
}

TEST_F(RemoteTensors, ALocalTensorIsRefusedWithTheWaysToDoIt) {
  const Tensor here = pod.tensor<float>({4});
  for (const bool placed : {true, false}) {
    const Error error = thrown<InvalidArgument>([&] {
      pod.run([&](Orchestrator& orch) {
        SubmitOptions options;
        if (placed) options.worker = left;
        orch.submit(functions.add_one, Args().inout(here), options);
      });
    });
    EXPECT_THAT(
        error.message(),
        AllOf(HasSubstr("tensor argument 0, float32[4] of pod0, host memory"),
              HasSubstr("remote_tensor()"), HasSubstr("orch.copy()"), HasSubstr("Stage::kCopy")));
  }
}

TEST_F(RemoteTensors, ACopyBetweenLocalTensorsNeedsAChildHere) {
  const Tensor x = pod.tensor<float>({4}, std::span<const float>(numbers(4)));
  const Tensor y = pod.tensor<float>({4});
  const Error error =
      thrown<InvalidArgument>([&] { pod.run([&](Orchestrator& orch) { orch.copy(y, x); }); });
  EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
  EXPECT_THAT(error.message(), HasSubstr("pod0 has no children here that could copy them"));
}

TEST(LocalTensors, GoToTheChildrenThatAreHere) {
  RemoteHost host;
  Worker pod({.level = 4});
  Worker near({.level = 3, .name = "near", .sub_workers = 1});
  pod.add_remote_worker(host.spec("far"));
  pod.add_worker(near);
  const Functions functions(pod);
  const Tensor x = pod.tensor<float>({4}, std::span<const float>(numbers(4)));
  const Tensor y = pod.tensor<float>({4});
  pod.run([&](Orchestrator& orch) {
    for (int i = 0; i < 10; ++i) orch.submit(functions.add_one, Args().inout(x));
    orch.copy(y, x);
  });
  const auto view = y.data<const float>();
  EXPECT_THAT(std::vector<float>(view.begin(), view.end()), ElementsAre(11, 12, 13, 14));
}

TEST_F(RemoteTensors, FreedMemoryIsGivenOutAgain) {
  // Each takes most of what the session has.
  RemoteHost c;
  Worker small({.level = 4});
  RemoteWorkerSpec spec = c.spec("small");
  spec.memory_bytes_max = 8 << 20;
  const WorkerId worker = small.add_remote_worker(spec);
  small.start();
  for (int i = 0; i < 5; ++i) {
    Tensor tensor = small.remote_tensor<float>(worker, {(6 << 20) / 4});
    EXPECT_THAT(thrown<ResourceExhausted>([&] {
                  small.remote_tensor<float>(worker, {(6 << 20) / 4});
                }).message(),
                HasSubstr("pod0/small"));
    tensor.free();
  }
}

TEST_F(RemoteTensors, EndWithTheirSession) {
  const Tensor tensor = pod.remote_tensor<float>(left, {4});
  pod.close();
  pod.start();
  std::vector<float> values(4);
  EXPECT_THAT(thrown<StaleHandle>([&] { pod.copy_from(tensor, std::span(values)); }).message(),
              HasSubstr("stale handle: pod0/left ended, and its memory with it"));
}

}  // namespace
}  // namespace echelon::remote_test
