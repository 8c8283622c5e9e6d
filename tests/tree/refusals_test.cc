// SPDX-License-Identifier: Apache-2.0
//
// What is refused, at the earliest call that can know, and with which words.
#include <echelon/echelon.h>
#include <gmock/gmock.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "thrown.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

ChipImage image(const char* kernel) {
  return ChipImage::from_file(ECHELON_TREE_KERNELS, kernel);
}

template <class Kind>
void expect_refused(const std::function<void()>& call, Reason reason,
                    const testing::Matcher<std::string>& words) {
  const Error error = thrown<Kind>(call);
  EXPECT_EQ(error.reason(), reason) << error.what();
  EXPECT_THAT(error.message(), words);
}

// --- making a tree
// --------------------------------------------------------------------------------

TEST(MakingATree, LevelsAre2To6) {
  for (const int level : {-1, 0, 1, 7}) {
    expect_refused<InvalidArgument>(
        [&] { Worker({.level = level}); }, Reason::kWrongLevel,
        "level " + std::to_string(level) +
            ": Workers stand at level 2 (a chip), 3 (a host), 4, 5 or 6");
  }
}

TEST(MakingATree, ChipsBelongToHosts) {
  for (const int level : {4, 5, 6}) {
    expect_refused<InvalidArgument>(
        [&] {
          Worker({.level = level, .chips = {{"cpu", 0}}});
        },
        Reason::kWrongLevel,
        AllOf(HasSubstr("chips belong to hosts (level 3)"), HasSubstr("use add_worker")));
  }
}

TEST(MakingATree, ALevel2WorkerIsOneChipAlone) {
  const auto words = HasSubstr("a level 2 Worker is one chip alone: exactly one chip");
  expect_refused<InvalidArgument>([] { Worker({.level = 2}); }, Reason::kWrongLevel, words);
  expect_refused<InvalidArgument>(
      [] {
        Worker({.level = 2, .chips = {{"cpu", 0}, {"cpu", 1}}});
      },
      Reason::kWrongLevel, words);
  expect_refused<InvalidArgument>(
      [] {
        Worker({.level = 2, .sub_workers = 1, .chips = {{"cpu", 0}}});
      },
      Reason::kWrongLevel, words);
}

TEST(MakingATree, ALevel2WorkerRunsChipKernelsOnly) {
  Worker chip({.level = 2, .chips = {{"cpu", 0}}});
  expect_refused<Error>([&] { chip.register_sub("f", [](Task&) {}); }, Reason::kWrongLevel,
                        "register_sub(\"f\"): a level 2 Worker is a chip alone and runs chip "
                        "kernels only");
  expect_refused<Error>([&] { chip.register_orch("g", [](Orchestrator&) {}); }, Reason::kWrongLevel,
                        HasSubstr("register_orch(\"g\")"));
  Worker child({.level = 3});
  expect_refused<InvalidArgument>([&] { chip.add_worker(child); }, Reason::kWrongLevel,
                                  HasSubstr("Workers below it need level 4 or more"));
}

TEST(MakingATree, NamesAndNumbersAreChecked) {
  expect_refused<InvalidArgument>([] { Worker({.level = 3, .name = "a/b"}); }, Reason::kBadArgument,
                                  HasSubstr("\"a/b\""));
  expect_refused<InvalidArgument>([] { Worker({.level = 3, .name = "a\x1b[31m"}); },
                                  Reason::kBadArgument,
                                  "the name \"a\\x1b[31m\" has control characters; leave them out");
  expect_refused<InvalidArgument>([] { Worker({.level = 3, .sub_workers = -1}); },
                                  Reason::kBadArgument, "-1 sub-workers: 0 to 256 are possible");
  expect_refused<InvalidArgument>([] { Worker({.level = 3, .sub_workers = 257}); },
                                  Reason::kBadArgument, StartsWith("257 sub-workers"));
}

TEST(MakingATree, AChildOfAWrongLevelIsRefused) {
  Worker host({.level = 3});
  Worker pod({.level = 4});
  Worker other({.level = 4, .name = "other"});
  Worker chip({.level = 2, .chips = {{"cpu", 0}}});
  expect_refused<InvalidArgument>([&] { host.add_worker(other); }, Reason::kWrongLevel,
                                  "add_worker: host0 is at level 3; Workers below it need level 4 "
                                  "or more");
  expect_refused<InvalidArgument>([&] { pod.add_worker(other); }, Reason::kWrongLevel,
                                  "add_worker: other is at level 4; below pod0 (level 4) belong "
                                  "levels 3 to 3");
  expect_refused<InvalidArgument>([&] { pod.add_worker(chip); }, Reason::kWrongLevel,
                                  HasSubstr("chip0 is at level 2"));
  expect_refused<InvalidArgument>([&] { pod.add_worker(pod); }, Reason::kWrongLevel,
                                  HasSubstr("pod0 is at level 4"));
}

TEST(MakingATree, AChildThatWasStartedIsRefused) {
  Worker pod({.level = 4});
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  const auto words = "add_worker: host0 has been started already; add it before";
  expect_refused<WrongState>([&] { pod.add_worker(host); }, Reason::kWrongState, words);
  host.close();
  expect_refused<WrongState>([&] { pod.add_worker(host); }, Reason::kWrongState, words);
}

TEST(MakingATree, ASecondParentIsRefused) {
  Worker pod({.level = 4});
  Worker cluster({.level = 6});
  Worker host({.level = 3});
  pod.add_worker(host);
  const auto words = "add_worker: host0 has a parent already (pod0/host0)";
  expect_refused<WrongState>([&] { cluster.add_worker(host); }, Reason::kWrongState, words);
  expect_refused<WrongState>([&] { pod.add_worker(host); }, Reason::kWrongState, words);
}

TEST(MakingATree, TwoChildrenOfOneNameAreRefused) {
  Worker pod({.level = 4});
  Worker first({.level = 3});
  Worker second({.level = 3});
  pod.add_worker(first);
  expect_refused<InvalidArgument>(
      [&] { pod.add_worker(second); }, Reason::kBadArgument,
      "add_worker: pod0 has a child called host0 already; give them names");
}

TEST(MakingATree, AddingToARunningTreeIsRefused) {
  Worker pod({.level = 4, .sub_workers = 1});
  Worker late({.level = 3});
  pod.start();
  expect_refused<WrongState>([&] { pod.add_worker(late); }, Reason::kWrongState,
                             "add_worker: pod0 is running; add children before start()");
}

TEST(MakingATree, AChildIsStartedByItsParentAlone) {
  Worker pod({.level = 4});
  Worker host({.level = 3, .sub_workers = 1});
  pod.add_worker(host);
  expect_refused<WrongState>(
      [&] { host.start(); }, Reason::kWrongState,
      "start: host0 is a child of pod0; call it on the Worker at the top of the tree");
  expect_refused<WrongState>([&] { host.run([](Orchestrator&) {}); }, Reason::kWrongState,
                             StartsWith("run: host0 is a child of"));
  expect_refused<WrongState>([&] { host.tensor<float>({1}); }, Reason::kWrongState,
                             StartsWith("tensor: host0 is a child of"));
}

TEST(MakingATree, ATreeIsStartedOnce) {
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  expect_refused<WrongState>([&] { host.start(); }, Reason::kWrongState,
                             "start: host0 is started already");
}

TEST(MakingATree, NothingIsSubmittedAfterClose) {
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  host.close();
  const auto words = "was closed; start() starts it again";
  expect_refused<WrongState>([&] { host.submit([](Orchestrator&) {}); }, Reason::kWrongState,
                             AllOf(StartsWith("submit: host0"), HasSubstr(words)));
  expect_refused<WrongState>([&] { host.run([](Orchestrator&) {}); }, Reason::kWrongState,
                             AllOf(StartsWith("run: host0"), HasSubstr(words)));
  host.start();
  host.run([](Orchestrator&) {});
}

// --- registering
// ----------------------------------------------------------------------------------

TEST(Registering, WhatCapturesIsRefusedAfterStart) {
  Worker pod({.level = 4, .sub_workers = 1});
  Worker host({.level = 3, .sub_workers = 1});
  pod.add_worker(host);
  pod.start();
  const auto words = AllOf(HasSubstr("the tree of"), HasSubstr("is running"),
                           HasSubstr("cannot be shipped to its processes; name it by ECHELON_"),
                           HasSubstr("(register_library), or register it before start()"));
  expect_refused<WrongState>([&] { pod.register_sub("late", [](Task&) {}); }, Reason::kWrongState,
                             AllOf(StartsWith("register_sub(\"late\")"), words));
  expect_refused<WrongState>([&] { host.register_orch("late", [](Orchestrator&) {}); },
                             Reason::kWrongState,
                             AllOf(StartsWith("register_orch(\"late\")"), words));
}

TEST(Registering, TwoOfOneNameAreRefused) {
  Worker host({.level = 3, .sub_workers = 1});
  host.register_sub("twice", [](Task&) {});
  expect_refused<InvalidArgument>(
      [&] { host.register_sub("twice", [](Task&) {}); }, Reason::kBadArgument,
      "register_sub: \"twice\" is registered here already; names are unique in a Worker");
  expect_refused<InvalidArgument>([&] { host.register_sub("", [](Task&) {}); },
                                  Reason::kBadArgument, "register_sub: the name is empty");
  expect_refused<InvalidArgument>(
      [&] { host.register_sub("a\nb", [](Task&) {}); }, Reason::kBadArgument,
      "register_sub: the name \"a\\x0ab\" has control characters; leave them out");
}

TEST(Registering, WhatNobodyCanRunIsRefusedByStart) {
  Worker pod({.level = 4});
  Worker host({.level = 3});
  pod.add_worker(host);
  pod.register_sub("lonely", [](Task&) {});
  expect_refused<InvalidArgument>(
      [&] { pod.start(); }, Reason::kNoEligibleChild,
      "register_sub(\"lonely\") on pod0: nobody can run it, as neither pod0 nor any Worker below "
      "it has sub-workers");
  Worker bare({.level = 3, .sub_workers = 1});
  bare.register_chip("kernel", image("fail"));
  expect_refused<InvalidArgument>(
      [&] { bare.start(); }, Reason::kNoEligibleChild,
      AllOf(StartsWith("register_chip(\"kernel\") on host0"), HasSubstr("has chips")));
}

// --- images
// ---------------------------------------------------------------------------------------

TEST(Images, OfFilesThatAreNoneAreRefused) {
  expect_refused<InvalidArgument>(
      [] { ChipImage::from_file("/nonexistent/kernel.so", "k"); }, Reason::kImage,
      AllOf(HasSubstr("/nonexistent/kernel.so"), HasSubstr("cannot be read")));
  expect_refused<InvalidArgument>([] { ChipImage::from_file("/proc/self/status", "k"); },
                                  Reason::kImage, HasSubstr("/proc/self/status"));
}

TEST(Images, AKernelThatIsNotThereIsRefusedWithThoseThatAre) {
  expect_refused<InvalidArgument>([] { image("scael"); }, Reason::kImage,
                                  AllOf(HasSubstr("has no kernel 'scael'; kernels it has:"),
                                        HasSubstr("scale"), HasSubstr("report_launch")));
}

TEST(Images, SourceThatDoesNotCompileIsRefusedInTheCompilersWords) {
  expect_refused<InvalidArgument>([] { ChipImage::from_source("int broken( {", "broken"); },
                                  Reason::kImage,
                                  AllOf(HasSubstr("does not compile"), HasSubstr("error")));
}

TEST(Images, WithoutACompilerItIsSaidWhichWereLookedFor) {
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", "/nonexistent", 1);
  ::unsetenv("ECHELON_CXX");
  expect_refused<InvalidArgument>(
      [] { ChipImage::from_source("int x;", "x"); }, Reason::kImage,
      AllOf(HasSubstr("no C++ compiler"), HasSubstr("c++"), HasSubstr("ECHELON_CXX")));
  ::setenv("PATH", path.c_str(), 1);
}

TEST(Images, OneThatDoesNotLoadFailsTheStartWithItsChipsWords) {
  const ChipImage image = ChipImage::from_source(
      "#include <echelon/chip_kernel.h>\n"
      "extern \"C\" void nowhere_to_be_found();\n"
      "ECHELON_KERNEL(calls) { nowhere_to_be_found(); }\n",
      "calls");
  Worker host({.level = 3, .chips = {{"cpu", 0}}});
  host.register_chip("calls", image);
  const Error error = thrown<StartFailed>([&] { host.start(); });
  EXPECT_EQ(error.path(), "host0/chip0");
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("the image does not load"), HasSubstr("nowhere_to_be_found")));
}

TEST(Images, AnUnknownDriverIsRefusedWithWhereItWasLookedFor) {
  Worker host({.level = 3, .chips = {{"warp9", 0}}});
  EXPECT_THAT(thrown<StartFailed>([&] { host.start(); }).message(),
              AllOf(HasSubstr("warp9"), HasSubstr("lib/echelon/drivers")));
}

TEST(Images, ANegativeDeviceIsRefused) {
  Worker host({.level = 3, .chips = {{"cpu", -1}}});
  EXPECT_EQ(thrown<StartFailed>([&] { host.start(); }).message(),
            "chip device -1: devices are counted from 0");
}

// --- handles
// --------------------------------------------------------------------------------------

/// A pod of two hosts: the first with a chip, the second without.
class Handles : public testing::Test {
 protected:
  Handles() {
    pod.add_worker(host0);
    pod.add_worker(host1);
    sub = pod.register_sub("sub", [](Task&) {});
    chip = pod.register_chip("scale", image("scale"));
    orch = pod.register_orch("orch", [](Orchestrator&) {});
  }
  void run(const std::function<void(Orchestrator&)>& body) { pod.run(body); }
  /// Runs `body` with the Orchestrator of host `host`.
  void run_at(std::size_t host, const std::function<void(Orchestrator&, TaskArgs&)>& body,
              const Args& args = {}) {
    const OrchHandle there = pod.register_orch("there", body);
    if (!pod.started()) pod.start();
    pod.run(
        [&](Orchestrator& at_pod) { at_pod.submit(there, args, {.worker = at_pod.worker(host)}); });
  }

  Worker pod{{.level = 4, .sub_workers = 1}};
  Worker host0{{.level = 3, .name = "host0", .sub_workers = 2, .chips = {{"cpu", 0}}}};
  Worker host1{{.level = 3, .name = "host1", .sub_workers = 1}};
  SubHandle sub;
  ChipHandle chip;
  OrchHandle orch;
};

TEST_F(Handles, OfAnotherWorkerAreRefused) {
  Worker other({.level = 3, .name = "other", .sub_workers = 1, .chips = {{"cpu", 0}}});
  const SubHandle foreign_sub = other.register_sub("sub", [](Task&) {});
  const OrchHandle foreign_orch = other.register_orch("orch", [](Orchestrator&) {});
  const ChipHandle foreign_chip = other.register_chip("scale", image("scale"));
  const auto words = [](const char* kind) {
    return std::string("submit: the ") + kind +
           " handle was registered neither on pod0 nor on a Worker above it; register it there";
  };
  expect_refused<InvalidArgument>([&] { run([&](auto& o) { o.submit(foreign_sub); }); },
                                  Reason::kForeignHandle, words("sub"));
  expect_refused<InvalidArgument>([&] { run([&](auto& o) { o.submit(foreign_orch); }); },
                                  Reason::kForeignHandle, words("orch"));
  expect_refused<InvalidArgument>([&] { run([&](auto& o) { o.submit(foreign_chip); }); },
                                  Reason::kForeignHandle, words("chip"));
}

TEST_F(Handles, OfAWorkerBelowAreRefusedAbove) {
  const SubHandle below = host0.register_sub("below", [](Task&) {});
  expect_refused<InvalidArgument>(
      [&] { run([&](auto& o) { o.submit(below); }); }, Reason::kForeignHandle,
      HasSubstr("was registered neither on pod0 nor on a Worker above"));
}

TEST_F(Handles, OfASiblingAreRefused) {
  const SubHandle below = host0.register_sub("below", [](Task&) {});
  expect_refused<InvalidArgument>(
      [&] { run_at(1, [=](Orchestrator& o, TaskArgs&) { o.submit(below); }); },
      Reason::kForeignHandle,
      HasSubstr("was registered neither on pod0/host1 nor on a Worker above"));
}

TEST_F(Handles, RegisteredOnAWorkerInTheTreeAreValidInItsSubtree) {
  const SubHandle below = host0.register_sub("below", [](Task&) {});
  run_at(0, [=](Orchestrator& o, TaskArgs&) { o.submit(below); });
}

TEST_F(Handles, ThatAreEmptyAreRefused) {
  expect_refused<InvalidArgument>([&] { run([](auto& o) { o.submit(SubHandle()); }); },
                                  Reason::kBadArgument,
                                  "submit: the sub handle is empty; it comes from register_sub()");
  expect_refused<InvalidArgument>([&] { TaskHandle().wait(); }, Reason::kBadArgument,
                                  HasSubstr("this TaskHandle is empty"));
  expect_refused<InvalidArgument>([&] { echelon::Run().wait(); }, Reason::kBadArgument,
                                  HasSubstr("this Run is empty"));
}

TEST_F(Handles, AChipTaskIsRefusedByAHostWithoutChips) {
  const Error error = thrown<InvalidArgument>(
      [&] { run_at(1, [chip = chip](Orchestrator& o, TaskArgs&) { o.submit(chip); }); });
  EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
  EXPECT_EQ(error.path(), "pod0/host1");
  EXPECT_EQ(error.message(),
            "no child of pod0/host1 can run 'scale' (chip task): sub0 runs sub-worker tasks");
}

TEST_F(Handles, AChipTaskIsRefusedAtAPod) {
  const Error error =
      thrown<InvalidArgument>([&] { run([&](Orchestrator& o) { o.submit(chip); }); });
  EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("no child of pod0 can run 'scale'"),
                                     HasSubstr("host0 runs orchestration tasks")));
}

TEST_F(Handles, AnOrchestrationTaskIsRefusedAtAHost) {
  const Error error = thrown<InvalidArgument>(
      [&] { run_at(1, [orch = orch](Orchestrator& o, TaskArgs&) { o.submit(orch); }); });
  EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
  EXPECT_THAT(error.message(), HasSubstr("no child of pod0/host1 can run 'orch'"));
}

TEST_F(Handles, AChildOfTheWrongKindIsRefused) {
  const Error error = thrown<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.worker = o.worker(0)}); }); });
  EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
  EXPECT_EQ(error.message(),
            "'sub' must run at pod0/host0, which cannot run it: host0 runs orchestration tasks");
}

TEST_F(Handles, AChildThatIsNotThereIsRefused) {
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.worker = WorkerId{17}}); }); },
      Reason::kBadArgument, "there is no child 17: pod0 has 3");
  expect_refused<InvalidArgument>([&] { run([](Orchestrator& o) { o.sub_worker(4); }); },
                                  Reason::kBadArgument,
                                  HasSubstr("pod0 has 1 children of kind sub"));
}

TEST_F(Handles, AGroupLargerThanTheEligibleChildrenIsRefused) {
  const std::vector<Args> three(3);
  expect_refused<InvalidArgument>(
      [&] {
        run_at(0, [=, sub = sub](Orchestrator& o, TaskArgs&) { o.submit_group(sub, three); });
      },
      Reason::kNoEligibleChild,
      AllOf(HasSubstr("a group of 3 tasks needs a live child of its own for each"),
            HasSubstr("2 can run the first (sub task)")));
}

TEST_F(Handles, AGroupIsGivenOneWorkerATaskOrNone) {
  const std::vector<Args> two(2);
  expect_refused<InvalidArgument>(
      [&] {
        run_at(0, [=, sub = sub](Orchestrator& o, TaskArgs&) {
          o.submit_group(sub, two, {.workers = {o.sub_worker(0)}});
        });
      },
      Reason::kBadArgument, "submit_group: 1 workers for 2 tasks; give one a task, or none");
}

TEST_F(Handles, AGroupTwiceOnOneChildIsRefused) {
  const std::vector<Args> two(2);
  expect_refused<InvalidArgument>(
      [&] {
        run_at(0, [=, sub = sub](Orchestrator& o, TaskArgs&) {
          o.submit_group(sub, two, {.workers = {o.sub_worker(0), o.sub_worker(0)}});
        });
      },
      Reason::kNoEligibleChild, HasSubstr("needs a live child of its own for each"));
}

TEST_F(Handles, ATaskOfAnotherRunIsRefusedInAfter) {
  std::optional<TaskHandle> earlier;
  run([&](Orchestrator& o) { earlier = o.submit(sub); });
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.after = {*earlier}}); }); },
      Reason::kForeignHandle, HasSubstr("a task in `after` belongs to another run"));
}

TEST_F(Handles, ATaskOfAnEndedRunIsNotWaitedFor) {
  std::optional<TaskHandle> earlier;
  run([&](Orchestrator& o) { earlier = o.submit(sub); });
  EXPECT_TRUE(earlier->done());
  expect_refused<WrongState>([&] { earlier->wait(); }, Reason::kWrongState,
                             HasSubstr("the run that this task handle"));
}

TEST_F(Handles, AResultIsAskedForAsWhatItIs) {
  const SubHandle returns = pod.register_sub("returns", [](Task&) { return 7; });
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(returns).result<double>(); }); },
      Reason::kWrongType, "the result has 4 bytes, and was asked for as a type of 8");
}

// --- tensors
// --------------------------------------------------------------------------------------

using Tensors = Handles;

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

// --- sizes
// ----------------------------------------------------------------------------------------

using Sizes = Handles;

TEST_F(Sizes, ArgumentsLargerThanAFrameArrive) {
  CallConfig config;
  config.values["text"] = std::string(15'000, 'x');
  const SubHandle check = pod.register_sub("check", [](Task& task) {
    float sum = 0;
    for (std::size_t i = 0; i < task.tensor_count(); ++i) sum += task.tensor<const float>(i)[0];
    for (std::size_t i = 0; i < task.scalar_count(); ++i) {
      sum += static_cast<float>(task.scalar<int>(i));
    }
    return sum + static_cast<float>(task.config().values.at("text").size());
  });
  Args args;
  const std::vector<float> one{1.0f};
  for (int i = 0; i < 64; ++i) {
    args.input(pod.tensor<float>(Shape(8, 1), std::span<const float>(one))).scalar(2);
  }
  for (int i = 0; i < 20; ++i) {  // more than the ring would hold of them
    const float sum = pod.run(
        [&](Orchestrator& o) { return o.submit(check, args).result<float>(); }, {.config = config});
    EXPECT_EQ(sum, 64 + 128 + 15'000);
  }
}

TEST_F(Sizes, MoreArgumentsThanATaskMayHaveAreRefused) {
  const Tensor x = pod.tensor<float>({4});
  Args tensors;
  Args scalars;
  for (int i = 0; i < 65; ++i) {
    tensors.input(x);
    scalars.scalar(i);
  }
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, tensors); }); }, Reason::kTooLarge,
      "submit: 65 tensors and 0 scalars; at most 64 and 64 are possible");
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, scalars); }); }, Reason::kTooLarge,
      "submit: 0 tensors and 65 scalars; at most 64 and 64 are possible");
}

TEST_F(Sizes, AConfigLargerThanItMayBeIsRefused) {
  CallConfig config;
  config.values["text"] = std::string(70'000, 'x');
  const auto too_large = HasSubstr("at most 16384 bytes");
  expect_refused<InvalidArgument>([&] { pod.run([](Orchestrator&) {}, {.config = config}); },
                                  Reason::kTooLarge, too_large);
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.config = config}); }); },
      Reason::kTooLarge, too_large);
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.scope(std::string(20'000, 's')); }); }, Reason::kTooLarge,
      too_large);
}

TEST_F(Sizes, AGridWithoutBlocksIsRefused) {
  CallConfig config;
  config.grid = {4, 0, 1};
  expect_refused<InvalidArgument>(
      [&] { run([&](Orchestrator& o) { o.submit(sub, {}, {.config = config}); }); },
      Reason::kBadArgument, HasSubstr("a grid of 4 x 0 x 1 blocks; each must be at least 1"));
}

TEST_F(Sizes, AResultLargerThanItMayBeIsRefused) {
  const SubHandle large = pod.register_sub("large", [](Task& task) {
    task.set_result_bytes(std::vector<std::byte>(task.scalar<std::size_t>(0)));
  });
  const auto bytes_of = [&](std::size_t bytes) {
    return pod.run([&](Orchestrator& o) {
      return o.submit(large, Args().scalar(bytes)).result_bytes().size();
    });
  };
  EXPECT_EQ(bytes_of(kResultBytesMax), kResultBytesMax);
  expect_refused<InvalidArgument>([&] { bytes_of(kResultBytesMax + 1); }, Reason::kBadArgument,
                                  HasSubstr("a result of 1048577 bytes; at most 1048576"));
}

// --- waiting
// --------------------------------------------------------------------------------------

TEST(Waiting, ForARunFromInsideATaskIsRefused) {
  Worker host({.level = 3, .sub_workers = 1});
  auto run = std::make_shared<echelon::Run>();
  const SubHandle waits = host.register_sub("waits", [run](Task&) { run->wait(); });
  *run = host.submit([](Orchestrator&) {});
  host.close();
  host.start();  // the sub-worker inherits the handle
  expect_refused<WrongState>([&] { host.run([&](Orchestrator& o) { o.submit(waits); }); },
                             Reason::kWrongState,
                             AllOf(HasSubstr("this Run belongs to another process"),
                                   HasSubstr("a task cannot wait for the run that it is part of")));
}

TEST(Waiting, ForAnotherRunInsideAnOrchestrationFunctionWorks) {
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle seven = host.register_sub("seven", [](Task&) { return 7; });
  const int value = host.run([&](Orchestrator&) {
    const auto inner = host.submit([&](Orchestrator& o) { return o.submit(seven).result<int>(); });
    return inner.result<int>();
  });
  EXPECT_EQ(value, 7);
}

}  // namespace
}  // namespace echelon::tree_test
