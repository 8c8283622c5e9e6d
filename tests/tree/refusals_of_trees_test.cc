// SPDX-License-Identifier: Apache-2.0
//
// What is refused of trees, registrations and images, at the earliest call that can know, and with
// which words.
#include <cstdlib>
#include <optional>
#include <string>

#include "refusals.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

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

}  // namespace
}  // namespace echelon::tree_test
