// SPDX-License-Identifier: Apache-2.0
//
// What holds for a Worker on this host holds for one on another: one suite over both. Tensors lie
// where the Worker reaches them - in the pod's memory for a local one, in its own for a remote one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "functions.h"
#include "remote_host.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using tree_test::thrown;

constexpr std::int64_t kCount = 1000;

enum class Kind { kLocal, kRemote };

class Alike : public testing::TestWithParam<Kind> {
 protected:
  Alike() : left(add("left")), right(add("right")), functions(pod) { pod.start(); }

  bool remote() const { return GetParam() == Kind::kRemote; }
  WorkerId add(const std::string& name) {
    if (!remote()) return pod.add_worker(Worker({.level = 3, .name = name, .sub_workers = 2}));
    if (host == nullptr) host = std::make_unique<RemoteHost>();
    return pod.add_remote_worker(host->spec(name));
  }
  Tensor tensor(WorkerId worker, const std::vector<float>& values) {
    const auto count = static_cast<std::int64_t>(values.size());
    if (!remote()) return pod.tensor<float>({count}, std::span<const float>(values));
    const Tensor made = pod.remote_tensor<float>(worker, {count});
    pod.copy_to(made, std::span(values));
    return made;
  }
  std::vector<float> read(const Tensor& tensor) {
    std::vector<float> values(tensor.size());
    if (remote()) {
      pod.copy_from(tensor, std::span(values));
    } else {
      const auto view = tensor.data<const float>();
      values.assign(view.begin(), view.end());
    }
    return values;
  }
  static std::vector<float> zeros(std::size_t count) { return std::vector<float>(count); }

  std::unique_ptr<RemoteHost> host;
  Worker pod{{.level = 4}};
  const WorkerId left, right;
  Functions functions;
};

// --- dependencies

TEST_P(Alike, AReaderSeesWhatTheWriterBeforeItWrote) {
  const Tensor x = tensor(left, zeros(kCount));
  const Tensor y = tensor(left, zeros(kCount));
  pod.run([&](Orchestrator& orch) {
    orch.submit(functions.fill, Args().output(x).scalar(2.0f), {.worker = left});
    orch.submit(functions.scale, Args().input(x).output(y).scalar(3.0f), {.worker = left});
  });
  EXPECT_THAT(read(y), Each(6.0f));
}

TEST_P(Alike, AWriterWaitsForTheReadersBeforeIt) {
  const Tensor x = tensor(left, numbers(kCount));
  const Tensor y = tensor(left, zeros(kCount));
  pod.run([&](Orchestrator& orch) {
    orch.submit(functions.scale, Args().input(x).output(y).scalar(1.0f), {.worker = left});
    orch.submit(functions.fill, Args().output(x).scalar(-1.0f), {.worker = left});
  });
  EXPECT_THAT(read(y), ElementsAreArray(numbers(kCount)));
  EXPECT_THAT(read(x), Each(-1.0f));
}

TEST_P(Alike, TheLastOfSeveralWritersWins) {
  const Tensor x = tensor(left, zeros(kCount));
  pod.run([&](Orchestrator& orch) {
    for (int i = 1; i <= 20; ++i) {
      orch.submit(functions.fill, Args().output(x).scalar(static_cast<float>(i)), {.worker = left});
    }
  });
  EXPECT_THAT(read(x), Each(20.0f));
}

TEST_P(Alike, ALongChainOfUpdatesLosesNone) {
  const Tensor x = tensor(right, zeros(8));
  pod.run([&](Orchestrator& orch) {
    for (int i = 0; i < 100; ++i) {
      orch.submit(functions.add_one, Args().inout(x), {.worker = right});
    }
  });
  EXPECT_THAT(read(x), Each(100.0f));
}

TEST_P(Alike, WhatIsToldToComeAfterDoesSoWithoutTensors) {
  const Tensor x = tensor(left, zeros(4));
  pod.run([&](Orchestrator& orch) {
    const TaskHandle first =
        orch.submit(functions.fill, Args().output(x).scalar(5.0f), {.worker = left});
    orch.submit(functions.where_orch, {}, {.worker = right, .after = {first}}).wait();
    EXPECT_TRUE(first.done());
  });
}

// --- arguments and results

TEST_P(Alike, InlineBytesTravelWithTheTask) {
  const std::vector<std::byte> ones(1000, std::byte{1});
  const std::vector<std::byte> twos(10, std::byte{2});
  const auto sum = pod.run([&](Orchestrator& orch) {
    return orch
        .submit(functions.sum_below,
                Args().inline_bytes(std::span<const std::byte>(ones)).inline_bytes(std::span(twos)),
                {.worker = left})
        .result<std::uint64_t>();
  });
  EXPECT_EQ(sum, 1020u + 2 * 1000u);
}

TEST_P(Alike, AWholeMebibyteOfInlineBytesTravels) {
  const std::vector<std::byte> most(kInlineBytesMax, std::byte{1});
  const auto sum = pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.sum_below, Args().inline_bytes(std::span(most)), {.worker = left})
        .result<std::uint64_t>();
  });
  EXPECT_EQ(sum, kInlineBytesMax + 1000);
}

TEST_P(Alike, MoreInlineBytesAreRefusedSayingWhatToDo) {
  const std::vector<std::byte> most(kInlineBytesMax);
  const std::vector<std::byte> one(1);
  Args args;
  args.inline_bytes(std::span(most));
  const Error error = thrown<InvalidArgument>([&] { args.inline_bytes(std::span(one)); });
  EXPECT_EQ(error.reason(), Reason::kTooLarge);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("1 bytes beside 1048576"),
                                     HasSubstr("1048576 at most"), HasSubstr("tensor")));
}

TEST_P(Alike, LargeResultsArriveWhole) {
  const auto bytes = pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.large, {}, {.worker = left}).result_bytes();
  });
  EXPECT_EQ(bytes, std::vector<std::byte>(kResultBytesMax, std::byte{7}));
}

TEST_P(Alike, ManyAreInFlightAndEachHasItsOwnResult) {
  const auto sums = pod.run([&](Orchestrator& orch) {
    std::vector<TaskHandle> tasks;
    for (std::size_t i = 0; i < 200; ++i) {
      const std::vector<std::byte> bytes(i, std::byte{1});
      tasks.push_back(orch.submit(functions.sum_below, Args().inline_bytes(std::span(bytes)),
                                  {.worker = i % 2 == 0 ? left : right}));
    }
    std::vector<std::uint64_t> results;
    for (const TaskHandle& task : tasks) results.push_back(task.result<std::uint64_t>() - 1000);
    return results;
  });
  for (std::size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(sums[i], i);
}

TEST_P(Alike, AGroupRunsAtBoth) {
  const auto paths = pod.run([&](Orchestrator& orch) {
    const std::vector<Args> args(2);
    std::vector<std::string> places;
    for (const TaskHandle& task :
         orch.submit_group(functions.where_orch, args, {.workers = {left, right}})) {
      places.push_back(task.result<Place>().text());
    }
    return places;
  });
  EXPECT_THAT(paths, ElementsAre("pod0/left", "pod0/right"));
}

// --- fencing

TEST_P(Alike, AFreedTensorIsStale) {
  Tensor x = tensor(left, zeros(4));
  x.free();
  const Error error = thrown<StaleHandle>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.add_one, Args().inout(x), {.worker = left});
    });
  });
  EXPECT_EQ(error.reason(), Reason::kStaleHandle);
}

TEST_P(Alike, ATaskKeepsWhatWasFreedUntilItHasEnded) {
  Tensor x = tensor(left, numbers(kCount));
  const Tensor y = tensor(left, zeros(kCount));
  pod.run([&](Orchestrator& orch) {
    orch.submit(functions.scale, Args().input(x).output(y).scalar(2.0f), {.worker = left});
    x.free();
    // Would be given the same memory.
    for (int i = 0; i < 8; ++i) tensor(left, std::vector<float>(kCount, -1.0f));
  });
  EXPECT_EQ(read(y).back(), 2.0f * kCount);
}

TEST_P(Alike, ATensorOfAnotherPodIsForeign) {
  Worker other({.level = 4, .name = "other"});
  const Tensor x = other.tensor<float>({4});
  const Error error = thrown<InvalidArgument>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.add_one, Args().inout(x), {.worker = left});
    });
  });
  EXPECT_EQ(error.reason(), Reason::kForeignHandle);
}

// --- errors

TEST_P(Alike, AnErrorFarBelowArrivesWithItsWholePath) {
  const Error error = thrown<TaskFailed>([&] {
    pod.run([&](Orchestrator& orch) { orch.submit(functions.fail_below, {}, {.worker = right}); });
  });
  EXPECT_THAT(error.message(), HasSubstr("the disk is full"));
  EXPECT_THAT(error.path(), HasSubstr("pod0/right/sub"));
}

TEST_P(Alike, AFailedTaskSkipsWhatNeedsItAndNothingElse) {
  const Tensor x = tensor(left, zeros(4));
  const Tensor y = tensor(left, zeros(4));
  thrown<TaskFailed>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.fail_below, Args().inout(x), {.worker = left});
      orch.submit(functions.add_one, Args().inout(x), {.worker = left});
      orch.submit(functions.add_one, Args().inout(y), {.worker = left});
    });
  });
  EXPECT_THAT(read(x), Each(0.0f));
  EXPECT_THAT(read(y), Each(1.0f));
}

TEST_P(Alike, ACancelledRunEndsAndTheWorkerGoesOn) {
  const auto run = pod.submit(
      [&](Orchestrator& orch) { orch.submit(functions.spin_below, {}, {.worker = left}); });
  run.cancel();
  thrown<Cancelled>([&] { run.wait(); });
  const auto path = pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.where_orch, {}, {.worker = left}).result<Place>().text();
  });
  EXPECT_EQ(path, "pod0/left");
}

TEST_P(Alike, ADeadlineEndsWhatRuns) {
  const Error error = thrown<DeadlineExceeded>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.spin_below, {},
                  {.worker = left, .deadline = std::chrono::milliseconds(100)});
    });
  });
  EXPECT_THAT(error.path(), HasSubstr("pod0/left"));
}

INSTANTIATE_TEST_SUITE_P(Workers, Alike, testing::Values(Kind::kLocal, Kind::kRemote),
                         [](const testing::TestParamInfo<Kind>& kind) {
                           return kind.param == Kind::kLocal ? "Local" : "Remote";
                         });

}  // namespace
}  // namespace echelon::remote_test
