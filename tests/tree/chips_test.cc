// SPDX-License-Identifier: Apache-2.0
//
// Chips: kernels, tensors in their memory, copies, and a chip alone (C8, section 7).
#include <echelon/echelon.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Lt;

constexpr std::int64_t kMiB = 1 << 20;

ChipImage image(const char* kernel) {
  return ChipImage::from_file(ECHELON_CHIPS_KERNELS, kernel);
}

std::vector<float> floats(const Tensor& tensor) {
  const auto view = tensor.data<const float>();
  std::vector<float> values;
  for (std::size_t i = 0; i < view.size(); ++i) values.push_back(view[i]);
  return values;
}

/// Of a process, from /proc/PID/statm.
std::int64_t resident_bytes(std::int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  std::int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

class Chips : public testing::Test {
 protected:
  Tensor counted(Shape shape) {
    Tensor tensor = host.tensor<float>(std::move(shape));
    const auto all = tensor.data<float>();
    std::iota(all.begin(), all.end(), 0.0f);
    return tensor;
  }
  /// The elements of a chip's tensor.
  std::vector<float> fetched(const Tensor& tensor) {
    const Tensor here = host.tensor<float>(tensor.shape());
    host.run([&](Orchestrator& orch) { orch.copy(here, tensor); });
    return floats(here);
  }

  Worker host{{.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}, {"cpu", 1}}}};
};

// --- images
// ---------------------------------------------------------------------------------------

TEST_F(Chips, RunAKernelOfASharedObject) {
  const ChipHandle scale = host.register_chip("scale", image("scale"));
  const Tensor x = counted({4});
  const Tensor y = host.tensor<float>({4});
  host.run([&](Orchestrator& orch) { orch.submit(scale, Args().input(x).output(y).scalar(3.0f)); });
  EXPECT_THAT(floats(y), ElementsAre(0, 3, 6, 9));
}

TEST_F(Chips, RunAKernelCompiledFromSource) {
  const ChipHandle negate = host.register_chip("negate", ChipImage::from_source(R"(
        #include <echelon/chip_kernel.h>
        ECHELON_KERNEL(negate) {
          for (float& value : echelon::kernel::values<float>(args, context, 0)) value = -value;
        })",
                                                                                "negate"));
  const Tensor x = counted({4});
  host.run([&](Orchestrator& orch) { orch.submit(negate, Args().inout(x)); });
  EXPECT_THAT(floats(x), ElementsAre(0, -1, -2, -3));
}

TEST_F(Chips, SeveralKernelsOfOneImageAreToldApart) {
  const ChipHandle scale = host.register_chip("scale", image("scale"));
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Tensor x = counted({3});
  host.run([&](Orchestrator& orch) {
    orch.submit(increment, Args().inout(x));
    const auto scaled = orch.submit(scale, Args().input(x).output<float>({3}).scalar(10.0f));
    scaled.wait();
    EXPECT_THAT(floats(scaled.output(0)), ElementsAre(10, 20, 30));
  });
}

// --- host tensors
// ---------------------------------------------------------------------------------

TEST_F(Chips, AnInoutIsCopiedInAndBack) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Tensor x = counted({3});
  host.run([&](Orchestrator& orch) {
    for (int i = 0; i < 10; ++i) orch.submit(increment, Args().inout(x));
  });
  EXPECT_THAT(floats(x), ElementsAre(10, 11, 12));
}

TEST_F(Chips, TheOldBytesOfAnOutputNeverArrive) {
  const ChipHandle count = host.register_chip("count_77", image("count_77"));
  const Tensor x = host.tensor<float>({1024});
  for (float& value : x.data<float>()) value = 77.0f;
  const Tensor found = host.tensor<std::int64_t>({1});
  host.run([&](Orchestrator& orch) { orch.submit(count, Args().output(x).output(found)); });
  EXPECT_EQ(found.data<std::int64_t>()[0], 0);
}

TEST_F(Chips, AnExistingOutputKeepsWhatTheKernelDoesNotWrite) {
  const ChipHandle touch = host.register_chip("touch_first", image("touch_first"));
  const Tensor x = counted({4});
  host.run([&](Orchestrator& orch) { orch.submit(touch, Args().output_existing(x)); });
  EXPECT_THAT(floats(x), ElementsAre(1, 1, 2, 3));
}

TEST_F(Chips, AViewWithGapsIsGatheredAndScattered) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Tensor x = counted({3, 4});
  host.run([&](Orchestrator& orch) { orch.submit(increment, Args().inout(x.slice(1, 1, 3))); });
  EXPECT_THAT(floats(x), ElementsAre(0, 2, 3, 3, 4, 6, 7, 7, 8, 10, 11, 11));
}

TEST_F(Chips, AnInputIsNotWritten) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Tensor x = counted({3});
  const Error error = thrown<TaskFailed>(
      [&] { host.run([&](Orchestrator& orch) { orch.submit(increment, Args().input(x)); }); });
  EXPECT_THAT(error.message(), HasSubstr("tensor 0 is an input; the kernel writes it"));
  EXPECT_THAT(floats(x), ElementsAre(0, 1, 2));
}

TEST_F(Chips, TensorsWithoutElementsArePassedOn) {
  const ChipHandle scale = host.register_chip("scale", image("scale"));
  const Tensor x = host.tensor<float>({0});
  const Tensor y = host.tensor<float>({4, 0});
  host.run([&](Orchestrator& orch) { orch.submit(scale, Args().input(x).output(y).scalar(3.0f)); });
}

TEST_F(Chips, AreOrderedWithSubsByTheTags) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const SubHandle twice = host.register_sub("twice", [](Task& task) {
    for (float& value : task.tensor<float>(0)) value *= 2.0f;
  });
  const Tensor x = host.tensor<float>({8});
  float expected = 0;
  host.run([&](Orchestrator& orch) {
    for (int i = 0; i < 16; ++i) {
      orch.submit(increment, Args().inout(x), {.worker = orch.chip(i % 2)});
      orch.submit(twice, Args().inout(x));
      expected = (expected + 1) * 2;
    }
  });
  EXPECT_THAT(floats(x), Each(expected));
}

// --- chip tensors
// ---------------------------------------------------------------------------------

TEST_F(Chips, AChipTensorIsZeroAtFirst) {
  host.start();
  EXPECT_THAT(fetched(host.chip_tensor<float>(0, {2, 3})), Each(0.0f));
}

TEST_F(Chips, AChipTensorIsUsedInPlaceOverSeveralTasks) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  host.start();
  const Tensor x = host.chip_tensor<float>(1, {256 * 1024});
  host.run([&](Orchestrator& orch) {
    for (int i = 0; i < 20; ++i) orch.submit(increment, Args().inout(x));
  });
  const NodeInfo tree = host.tree();
  EXPECT_EQ(node_at(tree, "host0/chip1").tasks, 20u);
  EXPECT_EQ(node_at(tree, "host0/chip0").tasks, 0u);
  EXPECT_THAT(fetched(x), Each(20.0f));
}

TEST_F(Chips, ATaskGoesToTheChipThatHoldsItsTensor) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  host.start();
  const Tensor x = host.chip_tensor<float>(1, {4});
  const Error error = thrown<InvalidArgument>([&] {
    host.run([&](Orchestrator& orch) {
      orch.submit(increment, Args().inout(x));
      orch.submit(increment, Args().inout(x), {.worker = orch.chip(0)});
    });
  });
  EXPECT_THAT(error.message(), AllOf(HasSubstr("host0/chip0"), HasSubstr("host0/chip1")));
}

TEST_F(Chips, ATaskOfTensorsOnTwoChipsIsRefused) {
  const ChipHandle scale = host.register_chip("scale", image("scale"));
  host.start();
  const Tensor a = host.chip_tensor<float>(0, {4});
  const Tensor b = host.chip_tensor<float>(1, {4});
  const Error error = thrown<InvalidArgument>([&] {
    host.run(
        [&](Orchestrator& orch) { orch.submit(scale, Args().input(a).output(b).scalar(1.0f)); });
  });
  EXPECT_THAT(error.message(), AllOf(HasSubstr("host0/chip0"), HasSubstr("host0/chip1")));
}

TEST_F(Chips, ASubIsNotGivenAChipTensor) {
  const SubHandle sub = host.register_sub("sub", [](Task&) {});
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4});
  const Error error = thrown<Error>(
      [&] { host.run([&](Orchestrator& orch) { orch.submit(sub, Args().input(x)); }); });
  EXPECT_EQ(error.reason(), Reason::kWrongKind);
  EXPECT_THAT(error.message(), HasSubstr("'sub' must run at host0/chip0, which cannot run it"));
}

TEST_F(Chips, PartsOfAChipTensorAreUsedInPlace) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4, 2});
  host.run([&](Orchestrator& orch) {
    orch.submit(increment, Args().inout(x.slice(0, 1, 3)));
    orch.submit(increment, Args().inout(x.slice(0, 2, 4)));
  });
  EXPECT_THAT(fetched(x), ElementsAre(0, 0, 1, 1, 2, 2, 1, 1));
}

TEST_F(Chips, AnOutputAllocatedOnAChipIsUsedBeforeItExists) {
  const ChipHandle scale = host.register_chip("scale", image("scale"));
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Tensor x = counted({4});
  const Tensor y = host.run([&](Orchestrator& orch) {
    const auto made = orch.submit(scale, Args().input(x).output<float>({4}).scalar(2.0f),
                                  {.worker = orch.chip(1)});
    orch.submit(increment, Args().inout(made.output(0)));
    return made.output(0);
  });
  EXPECT_THAT(y.describe(), HasSubstr("host0/chip1, chip memory"));
  EXPECT_THAT(fetched(y), ElementsAre(1, 3, 5, 7));
}

TEST_F(Chips, AChipTensorIsMadeInsideAnOrchestrationFunction) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Tensor x = host.run([&](Orchestrator& orch) {
    const Tensor made = orch.chip_tensor<float>(0, {3});
    orch.submit(increment, Args().inout(made));
    return made;
  });
  EXPECT_THAT(fetched(x), Each(1.0f));
}

TEST_F(Chips, HostCodeIsRefusedTheElementsOfAChipTensor) {
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4});
  const Error error = thrown<InvalidArgument>([&] { (void)x.data<float>(); });
  EXPECT_EQ(error.message(),
            "the tensor lies in the memory of host0/chip0, which host code does not reach: copy it "
            "with orch.copy(host_tensor, chip_tensor)");
}

TEST_F(Chips, AChipTensorOfAChipThatIsNotThereIsRefused) {
  host.start();
  EXPECT_EQ(thrown<InvalidArgument>([&] { host.chip_tensor<float>(2, {4}); }).message(),
            "host0 has 2 children of kind chip; number 2 was asked for");
}

TEST_F(Chips, AChipTensorIsStaleAfterClose) {
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4});
  host.close();
  EXPECT_EQ(thrown<StaleHandle>([&] { (void)x.data<float>(); }).message(),
            "stale handle: host0/chip0 ended, and its memory with it");
}

TEST_F(Chips, AChipTensorOfAnEarlierStartIsStale) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4});
  host.close();
  host.start();
  EXPECT_EQ(thrown<StaleHandle>([&] {
              host.run([&](Orchestrator& orch) { orch.submit(increment, Args().inout(x)); });
            }).reason(),
            Reason::kStaleHandle);
}

TEST_F(Chips, AFreedChipTensorIsStale) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  host.start();
  Tensor x = host.chip_tensor<float>(0, {4});
  x.free();
  EXPECT_EQ(thrown<StaleHandle>([&] {
              host.run([&](Orchestrator& orch) { orch.submit(increment, Args().inout(x)); });
            }).message(),
            "stale handle: the tensor of host0/chip0, chip memory was freed");
}

TEST_F(Chips, MemoryOfDroppedChipTensorsIsGivenBack) {
  const ChipHandle touch = host.register_chip("touch_first", image("touch_first"));
  host.start();
  const std::int64_t pid = pid_at(host.tree(), "host0/chip0");
  const std::int64_t before = resident_bytes(pid);
  for (int i = 0; i < 16; ++i) {
    const Tensor x = host.chip_tensor<float>(0, {8 * kMiB});
    host.run([&](Orchestrator& orch) { orch.submit(touch, Args().inout(x)); });
  }
  EXPECT_LT(resident_bytes(pid), before + 4 * 32 * kMiB);
}

TEST_F(Chips, AChipTensorWithoutElementsIsPassedOn) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4, 0});
  host.run([&](Orchestrator& orch) { orch.submit(increment, Args().inout(x)); });
}

TEST_F(Chips, MoreThanAChipHoldsIsTheTasksFailure) {
  const ChipHandle touch = host.register_chip("touch_first", image("touch_first"));
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {std::int64_t{1} << 44});
  const Error error = thrown<ResourceExhausted>(
      [&] { host.run([&](Orchestrator& orch) { orch.submit(touch, Args().inout(x)); }); });
  EXPECT_EQ(error.path(), "host0/chip0");
  EXPECT_EQ(error.phase(), Phase::kStaging);
}

// --- copies
// ---------------------------------------------------------------------------------------

TEST_F(Chips, CopiesGoThereAndBackInTheOrderOfTheTags) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Tensor x = counted({4});
  const Tensor y = host.tensor<float>({4});
  host.run([&](Orchestrator& orch) {
    const Tensor there = orch.chip_tensor<float>(0, {4});
    orch.copy(there, x);
    orch.submit(increment, Args().inout(there));
    orch.copy(y, there);
    orch.submit(increment, Args().inout(there));
  });
  EXPECT_THAT(floats(y), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(floats(x), ElementsAre(0, 1, 2, 3));
}

TEST_F(Chips, ACopyFromOneChipToAnother) {
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Tensor x = counted({4});
  const Tensor y = host.tensor<float>({4});
  host.run([&](Orchestrator& orch) {
    const Tensor a = orch.chip_tensor<float>(0, {4});
    const Tensor b = orch.chip_tensor<float>(1, {4});
    orch.copy(a, x);
    orch.copy(b, a);
    orch.submit(increment, Args().inout(a));  // after the copy has read it
    orch.submit(increment, Args().inout(b));
    orch.submit(increment, Args().inout(b));
    orch.copy(y, b);
  });
  EXPECT_THAT(floats(y), ElementsAre(2, 3, 4, 5));
}

TEST_F(Chips, ACopyWithinOneChip) {
  const Tensor x = counted({4});
  const Tensor y = host.tensor<float>({4});
  host.run([&](Orchestrator& orch) {
    const Tensor a = orch.chip_tensor<float>(0, {4});
    const Tensor b = orch.chip_tensor<float>(0, {4});
    orch.copy(a, x);
    orch.copy(b, a);
    orch.copy(y, b);
  });
  EXPECT_THAT(floats(y), ElementsAre(0, 1, 2, 3));
}

TEST_F(Chips, CopiesOfViewsWithGapsMoveTheirElements) {
  const Tensor x = counted({3, 4});
  const Tensor y = host.tensor<float>({3, 4});
  host.run([&](Orchestrator& orch) {
    const Tensor a = orch.chip_tensor<float>(0, {3, 4});
    const Tensor b = orch.chip_tensor<float>(1, {3, 4});
    orch.copy(a.slice(1, 2, 4), x.slice(1, 0, 2));
    orch.copy(b.slice(1, 1, 3), a.slice(1, 2, 4));
    orch.copy(y.slice(1, 0, 3), b.slice(1, 0, 3));
  });
  EXPECT_THAT(floats(y), ElementsAre(0, 0, 1, 0, 0, 4, 5, 0, 0, 8, 9, 0));
}

TEST_F(Chips, ACopyBetweenOverlappingPartsOfAChipTensor) {
  const Tensor x = counted({6});
  const Tensor y = host.tensor<float>({6});
  host.run([&](Orchestrator& orch) {
    const Tensor a = orch.chip_tensor<float>(0, {6});
    orch.copy(a, x);
    orch.copy(a.slice(0, 1, 6), a.slice(0, 0, 5));
    orch.copy(y, a);
  });
  EXPECT_THAT(floats(y), ElementsAre(0, 0, 1, 2, 3, 4));
}

// --- launches
// -------------------------------------------------------------------------------------

TEST_F(Chips, EveryBlockOfTheGridIsRunOnce) {
  const ChipHandle mark = host.register_chip("mark_blocks", image("mark_blocks"));
  const Tensor out = host.tensor<std::int32_t>({24});
  const Tensor cores = host.tensor<std::int32_t>({24});
  CallConfig config;
  config.grid = {2, 3, 4};
  config.cores = 2;
  host.run([&](Orchestrator& orch) {
    orch.submit(mark, Args().inout(out).output(cores), {.config = config});
  });
  EXPECT_THAT(out.data<std::int32_t>().span(), Each(1));
  EXPECT_THAT(cores.data<std::int32_t>().span(), Each(testing::AllOf(testing::Ge(0), Lt(2))));
}

TEST_F(Chips, OneCoreRunsAllBlocksWhereOneIsAskedFor) {
  const ChipHandle mark = host.register_chip("mark_blocks", image("mark_blocks"));
  const Tensor out = host.tensor<std::int32_t>({64});
  const Tensor cores = host.tensor<std::int32_t>({64});
  CallConfig config;
  config.grid = {64, 1, 1};
  config.cores = 1;
  host.run([&](Orchestrator& orch) {
    orch.submit(mark, Args().inout(out).output(cores), {.config = config});
  });
  EXPECT_THAT(out.data<std::int32_t>().span(), Each(1));
  EXPECT_THAT(cores.data<std::int32_t>().span(), Each(0));
}

// --- failures
// -------------------------------------------------------------------------------------

TEST_F(Chips, AKernelThatThrowsIsToldWithItsPathAndPhaseAndTheChipGoesOn) {
  const ChipHandle throws = host.register_chip("throws", image("throws"));
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  host.start();
  const std::int64_t pid = pid_at(host.tree(), "host0/chip1");
  const Error error = thrown<TaskFailed>([&] {
    host.run([&](Orchestrator& orch) { orch.submit(throws, {}, {.worker = orch.chip(1)}); });
  });
  EXPECT_THAT(error.message(), HasSubstr("too hot"));
  EXPECT_EQ(error.path(), "host0/chip1");
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.cause(), Cause::kException);
  EXPECT_EQ(error.callable(), "throws");
  EXPECT_EQ(error.pid(), pid);
  const Tensor x = counted({2});
  host.run([&](Orchestrator& orch) {
    orch.submit(increment, Args().inout(x), {.worker = orch.chip(1)});
  });
  EXPECT_THAT(floats(x), ElementsAre(1, 2));
}

TEST_F(Chips, AnInoutOfAKernelThatThrowsIsLeftAsItWas) {
  const ChipHandle throws = host.register_chip("throws", image("throws"));
  const Tensor x = counted({3});
  EXPECT_THROW(host.run([&](Orchestrator& orch) { orch.submit(throws, Args().inout(x)); }),
               TaskFailed);
  EXPECT_THAT(floats(x), ElementsAre(0, 1, 2));
}

TEST_F(Chips, AKernelThatCrashesIsToldWithItsStackAndTheOtherChipGoesOn) {
  if (sanitized()) GTEST_SKIP() << "the sanitizer handles this signal itself";
  const ChipHandle crashes = host.register_chip("crashes", image("crashes"));
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  const Error error = thrown<ChildLost>([&] {
    host.run([&](Orchestrator& orch) { orch.submit(crashes, {}, {.worker = orch.chip(0)}); });
  });
  EXPECT_EQ(error.path(), "host0/chip0");
  EXPECT_EQ(error.phase(), Phase::kRunning);
  EXPECT_EQ(error.cause(), Cause::kSignal);
  EXPECT_EQ(error.info().signal, SIGSEGV);
  EXPECT_THAT(error.message(), HasSubstr("SIGSEGV"));
  EXPECT_THAT(error.remote_traceback(), HasSubstr("crashes"));
  const Tensor x = counted({2});
  host.run([&](Orchestrator& orch) { orch.submit(increment, Args().inout(x)); });
  EXPECT_THAT(floats(x), ElementsAre(1, 2));
}

TEST_F(Chips, TensorsOfAChipThatDiedAreRefusedSayingSo) {
  const ChipHandle crashes = host.register_chip("crashes", image("crashes"));
  const ChipHandle increment = host.register_chip("increment", image("increment"));
  host.start();
  const Tensor x = host.chip_tensor<float>(0, {4});
  EXPECT_THROW(
      host.run([&](Orchestrator& orch) { orch.submit(crashes, {}, {.worker = orch.chip(0)}); }),
      ChildLost);
  const Error error = thrown<Error>(
      [&] { host.run([&](Orchestrator& orch) { orch.submit(increment, Args().inout(x)); }); });
  EXPECT_THAT(error.message(), HasSubstr("chip0"));
}

// --- a chip alone
// ---------------------------------------------------------------------------------

class ChipAlone : public testing::Test {
 protected:
  Worker chip{{.level = 2, .chips = {{"cpu", 0}}}};
};

TEST_F(ChipAlone, RunsKernels) {
  const ChipHandle increment = chip.register_chip("increment", image("increment"));
  const Tensor x = chip.tensor<float>({3});
  chip.run([&](Orchestrator& orch) { orch.submit(increment, Args().inout(x)); });
  EXPECT_THAT(floats(x), ElementsAre(1, 1, 1));
}

TEST_F(ChipAlone, HoldsTensorsInItsMemory) {
  const ChipHandle increment = chip.register_chip("increment", image("increment"));
  const Tensor y = chip.tensor<float>({3});
  chip.start();
  const Tensor x = chip.chip_tensor<float>(0, {3});
  chip.run([&](Orchestrator& orch) {
    orch.submit(increment, Args().inout(x), {.worker = orch.chip(0)});
    orch.copy(y, x);
  });
  EXPECT_THAT(floats(y), ElementsAre(1, 1, 1));
}

TEST_F(ChipAlone, RefusesSubs) {
  EXPECT_EQ(thrown<Error>([&] { chip.register_sub("sub", [](Task&) {}); }).message(),
            "register_sub(\"sub\"): a level 2 Worker is a chip alone and runs chip kernels only");
}

TEST_F(ChipAlone, RefusesOrchestrationFunctions) {
  EXPECT_EQ(thrown<Error>([&] { chip.register_orch("orch", [](Orchestrator&) {}); }).message(),
            "register_orch(\"orch\"): a level 2 Worker is a chip alone and runs chip kernels only");
}

TEST_F(ChipAlone, RefusesSubWorkersAndSecondChips) {
  constexpr const char* kMessage =
      "a level 2 Worker is one chip alone: exactly one chip, and no sub-workers";
  const auto make = [](WorkerOptions options) { const Worker worker(std::move(options)); };
  const ChipSpec one{"cpu", 0}, two{"cpu", 1};
  for (const WorkerOptions& options :
       {WorkerOptions{.level = 2, .sub_workers = 1, .chips = {one}},
        WorkerOptions{.level = 2, .chips = {one, two}}, WorkerOptions{.level = 2}}) {
    EXPECT_EQ(thrown<InvalidArgument>([&] { make(options); }).message(), kMessage);
  }
}

TEST_F(ChipAlone, RefusesChildrenAndParents) {
  Worker host({.level = 3});
  EXPECT_THAT(thrown<InvalidArgument>([&] { chip.add_worker(host); }).message(),
              HasSubstr("chip0 is at level 2; Workers below it need level 4 or more"));
  Worker pod({.level = 4});
  EXPECT_THAT(thrown<InvalidArgument>([&] { pod.add_worker(chip); }).message(),
              HasSubstr("chip0 is at level 2"));
}

TEST_F(ChipAlone, IsToldInTheTree) {
  chip.start();
  const NodeInfo tree = chip.tree();
  EXPECT_EQ(tree.level, 2);
  ASSERT_EQ(tree.children.size(), 1u);
  EXPECT_EQ(tree.children[0].kind, "chip");
  EXPECT_EQ(tree.children[0].state, "ready");
}

}  // namespace
}  // namespace echelon::tree_test
