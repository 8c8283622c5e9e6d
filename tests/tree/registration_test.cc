// SPDX-License-Identifier: Apache-2.0
//
// Callables that are registered while the tree runs (C2, C4, C7, C8): by name, as a library, as a
// chip image, on every level; and what is refused.
#include <echelon/echelon.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "named_functions.h"
#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::UnorderedElementsAre;

std::int64_t run_sub(Worker& worker, SubHandle handle, std::int64_t value) {
  return worker.run([&](Orchestrator& orch) {
    return orch.submit(handle, Args().scalar(value)).result<std::int64_t>();
  });
}

/// A pod with two hosts of one sub-worker each, whose orchestration functions submit what they are
/// handed.
class LatePod : public testing::Test {
 protected:
  LatePod() {
    pod.add_worker(host0);
    pod.add_worker(host1);
    pass_on = pod.register_orch("pass on", [](Orchestrator& orch, TaskArgs& args) {
      return orch.submit(args.callable<SubHandle>(0)).result<Place>();
    });
    pod.start();
  }

  std::string where(std::size_t host, SubHandle handle) {
    return pod.run([&](Orchestrator& orch) {
      return orch.submit(pass_on, Args().callable(handle), {.worker = orch.worker(host)})
          .result<Place>()
          .text();
    });
  }

  Worker pod{{.level = 4, .name = "pod0"}};
  Worker host0{{.level = 3, .name = "host0", .sub_workers = 1}};
  Worker host1{{.level = 3, .name = "host1", .sub_workers = 1}};
  OrchHandle pass_on;
};

// --- by name
// ---------------------------------------------------------------------------------------

TEST(LateRegistration, ASubFunctionOfARunningHostRunsInItsSubWorkers) {
  Worker host({.level = 3, .sub_workers = 2});
  host.start();
  EXPECT_EQ(run_sub(host, host.register_sub("late add"), 41), 42);
}

TEST(LateRegistration, BeforeStartANameIsInherited) {
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle add = host.register_sub("late add");
  EXPECT_EQ(run_sub(host, add, 1), 2);
  const Error error = thrown<InvalidArgument>([&] { host.unregister(add); });
  EXPECT_THAT(error.message(), HasSubstr("registered before start()"));
}

TEST_F(LatePod, APodWithoutSubWorkersRegistersOneAndBothItsHostsRunIt) {
  const SubHandle late = pod.register_sub("late where");
  EXPECT_EQ(where(0, late), "pod0/host0/sub0");
  EXPECT_EQ(where(1, late), "pod0/host1/sub0");
}

TEST_F(LatePod, OfOneHostItIsKnownThereAndNotAboveNorBeside) {
  const SubHandle late = host1.register_sub("late where");
  EXPECT_EQ(where(1, late), "pod0/host1/sub0");
  const Error beside = thrown<InvalidArgument>([&] { where(0, late); });
  EXPECT_EQ(beside.reason(), Reason::kForeignHandle);
  EXPECT_THAT(beside.message(),
              HasSubstr("registered neither on pod0/host0 nor on a Worker above"));
  const Error above =
      thrown<InvalidArgument>([&] { pod.run([&](Orchestrator& orch) { orch.submit(late); }); });
  EXPECT_EQ(above.reason(), Reason::kForeignHandle);
}

TEST_F(LatePod, AnOrchestrationFunctionRunsInTheWorkersBelow) {
  const OrchHandle late = pod.register_orch("late orch where");
  std::vector<std::string> seen;
  pod.run([&](Orchestrator& orch) {
    for (const std::size_t host : {0u, 1u}) {
      const auto task = orch.submit(late, {}, {.worker = orch.worker(host)});
      seen.push_back(task.result<Place>().text());
    }
  });
  EXPECT_THAT(seen, ElementsAre("pod0/host0", "pod0/host1"));
}

TEST(LateRegistration, ReachesTheBottomOfFiveLevels) {
  Worker cluster({.level = 6, .name = "w6"});
  Worker supernode({.level = 5, .name = "w5", .sub_workers = 1});
  Worker pod({.level = 4, .name = "w4"});
  Worker host({.level = 3, .name = "w3", .sub_workers = 1});
  pod.add_worker(host);
  supernode.add_worker(pod);
  cluster.add_worker(supernode);
  cluster.start();
  // Each level hands the handle on until it is at the host.
  const OrchHandle descend = cluster.register_orch("late descend");
  for (Worker* of : {&cluster, &supernode, &pod, &host}) {
    const SubHandle late = of->register_sub("late where");
    const Place place = cluster.run([&](Orchestrator& orch) {
      return orch.submit(descend, Args().callable(late).callable(descend)).result<Place>();
    });
    EXPECT_EQ(place.text(), "w6/w5/w4/w3/sub0") << of->name();
    of->unregister(late);
  }
}

TEST(LateRegistration, GoesOnWhileRunsAreInFlight) {
  Worker host({.level = 3, .sub_workers = 2});
  const SubHandle spin = host.register_sub("spin", [](Task& task) {
    while (!task.cancelled()) std::this_thread::yield();
  });
  host.start();
  echelon::Run busy = host.submit([&](Orchestrator& orch) {
    for (const std::size_t sub : {0u, 1u}) orch.submit(spin, {}, {.worker = orch.sub_worker(sub)});
  });
  const SubHandle add = host.register_sub("late add");
  echelon::Run waiting =
      host.submit([&](Orchestrator& orch) { orch.submit(add, Args().scalar(1)); });
  EXPECT_FALSE(waiting.done());
  busy.cancel();
  EXPECT_THROW(waiting.wait(), Error);  // its scalar is an int, and the function wants more
  EXPECT_EQ(run_sub(host, add, 1), 2);
}

TEST(LateRegistration, ManyThreadsRegisterTheSameAndDifferentThingsAtOnce) {
  Worker host({.level = 3, .sub_workers = 2});
  host.start();
  std::vector<std::jthread> threads;
  std::array<SubHandle, 8> handles;
  for (std::size_t i = 0; i < handles.size(); ++i) {
    threads.emplace_back([&, i] {
      handles[i] = host.register_sub(i % 2 == 0 ? "late add" : "late twice");
      EXPECT_EQ(run_sub(host, handles[i], 10), i % 2 == 0 ? 11 : 20);
    });
  }
  threads.clear();
  EXPECT_EQ(handles[0].ref().serial, handles[2].ref().serial);
  EXPECT_NE(handles[0].ref().serial, handles[1].ref().serial);
}

// --- libraries and images
// --------------------------------------------------------------------------

TEST_F(LatePod, ALibraryIsShippedByContentAndItsFunctionsFoundByName) {
  // A copy that is gone before anything of it runs: its content was taken, not its path.
  const std::string copy =
      testing::TempDir() + "late_library_" + std::to_string(::getpid()) + ".so";
  {
    std::ifstream from(ECHELON_TREE_LIBRARY, std::ios::binary);
    std::ofstream(copy, std::ios::binary) << from.rdbuf();
  }
  const LibraryHandle library = pod.register_library(copy);
  ::unlink(copy.c_str());
  const SubHandle where_in = pod.register_sub("library where");
  EXPECT_EQ(where(1, where_in), "library: pod0/host1/sub0");
  const OrchHandle orch_in = pod.register_orch("library orch");
  EXPECT_EQ(pod.run([&](Orchestrator& orch) { return orch.submit(orch_in).result<int>(); }), 3);
  pod.unregister(library);
  pod.unregister(where_in);
  pod.unregister(orch_in);
}

TEST_F(LatePod, ALibraryThatWasUnregisteredMayComeAgain) {
  for (int round = 0; round < 5; ++round) {
    const LibraryHandle library = pod.register_library(ECHELON_TREE_LIBRARY);
    const SubHandle where_in = pod.register_sub("library where");
    EXPECT_EQ(where(0, where_in), "library: pod0/host0/sub0");
    pod.unregister(where_in);
    pod.unregister(library);
  }
}

TEST_F(LatePod, ALibraryThatLacksASymbolIsRefusedWithTheLoadersWords) {
  const auto error =
      thrown<RegistrationFailed>([&] { pod.register_library(ECHELON_TREE_BROKEN_LIBRARY); });
  EXPECT_THAT(error.message(), AllOf(HasSubstr("cannot be loaded"), HasSubstr("no_such_function")));
  // Both hosts and both sub-workers load it; the pod itself does not.
  EXPECT_THAT(error.others(), SizeIs(5));
}

TEST(LateRegistration, WhatIsNoLibraryIsRefusedBeforeItIsSent) {
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  EXPECT_THAT(thrown<InvalidArgument>([&] { host.register_library("/etc/hostname"); }).message(),
              HasSubstr("is no shared object"));
  EXPECT_THAT(thrown<InvalidArgument>([&] { host.register_library("/none.so"); }).message(),
              HasSubstr("cannot be read"));
}

TEST(LateRegistration, AChipImageIsLoadedByARunningChip) {
  Worker chip({.level = 2, .chips = {{"cpu", 0}}});
  chip.start();
  const ChipHandle scale =
      chip.register_chip("scale", ChipImage::from_file(ECHELON_TREE_KERNELS, "scale"));
  const std::vector<float> values{1, 2, 3};
  const Tensor x = chip.tensor<float>({3}, std::span<const float>(values));
  const Tensor y = chip.tensor<float>({3});
  chip.run([&](Orchestrator& orch) { orch.submit(scale, Args().input(x).output(y).scalar(2.0f)); });
  EXPECT_THAT(floats(y), ElementsAre(2, 4, 6));
  EXPECT_THAT(thrown<InvalidArgument>([&] { chip.register_sub("late add"); }).message(),
              HasSubstr("runs chip kernels only"));
}

TEST(LateRegistration, AChipImageReachesTheChipsOfAllHosts) {
  Worker pod({.level = 4, .name = "pod0"});
  Worker host({.level = 3, .name = "host0", .chips = {{"cpu", 0}, {"cpu", 1}}});
  pod.add_worker(host);
  const OrchHandle pass_on = pod.register_orch("pass on", [](Orchestrator& orch, TaskArgs& args) {
    const auto handle = args.callable<ChipHandle>(0);
    for (const std::size_t chip : {0u, 1u}) {
      const Tensor half = args.handle(0).slice(0, static_cast<std::int64_t>(chip) * 2,
                                               static_cast<std::int64_t>(chip) * 2 + 2);
      orch.submit(handle, Args().input(half).output(half).scalar(3.0f),
                  {.worker = orch.chip(chip)});
    }
  });
  pod.start();
  const ChipHandle scale =
      pod.register_chip("scale", ChipImage::from_file(ECHELON_TREE_KERNELS, "scale"));
  const std::vector<float> values{1, 2, 3, 4};
  const Tensor x = pod.tensor<float>({4}, std::span<const float>(values));
  pod.run([&](Orchestrator& orch) { orch.submit(pass_on, Args().callable(scale).inout(x)); });
  EXPECT_THAT(floats(x), ElementsAre(3, 6, 9, 12));
}

// --- what is refused
// -------------------------------------------------------------------------------

TEST_F(LatePod, ANameThatNoProcessKnowsIsRefusedByEachOfThemAndRegisteredNowhere) {
  const auto error = thrown<RegistrationFailed>([&] { pod.register_sub("no such name"); });
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("register_sub(\"no such name\"): 2 of 5 processes could not take it"),
                    HasSubstr("no function here is called ECHELON_SUB(\"no such name\")"),
                    HasSubstr("\"late add\"")));
  ASSERT_THAT(error.others(), SizeIs(5));
  const std::vector<std::string> failed{error.others()[0].path, error.others()[1].path};
  EXPECT_THAT(failed, UnorderedElementsAre("pod0/host0/sub0", "pod0/host1/sub0"));
  EXPECT_EQ(error.others()[2].code, Code::kOk);
  // Nothing of it stays: the same name may stand for something else, and its slot comes again.
  const SubHandle next = pod.register_sub("late where");
  EXPECT_EQ(where(0, next), "pod0/host0/sub0");
}

TEST(LateRegistration, WhatNobodyInTheSubtreeCanRunIsRefused) {
  Worker pod({.level = 4});
  Worker host({.level = 3});
  pod.add_worker(host);
  pod.start();
  const auto refused = [](auto&& call) {
    const Error error = thrown<InvalidArgument>(call);
    EXPECT_EQ(error.reason(), Reason::kNoEligibleChild);
    return error.message();
  };
  EXPECT_THAT(refused([&] { pod.register_sub("late add"); }), HasSubstr("has no sub-workers"));
  EXPECT_THAT(refused([&] { host.register_orch("late orch where"); }),
              HasSubstr("has no Workers below it"));
  EXPECT_THAT(refused([&] {
                pod.register_chip("scale", ChipImage::from_file(ECHELON_TREE_KERNELS, "scale"));
              }),
              HasSubstr("has no chips"));
}

TEST(LateRegistration, WhatOnlyTheDeadCouldRunIsRefused) {
  Worker host({.level = 3, .sub_workers = 1});
  const SubHandle end = host.register_sub("end", [](Task&) { ::raise(SIGKILL); });
  host.start();
  thrown<ChildLost>([&] { host.run([&](Orchestrator& orch) { orch.submit(end); }); });
  const Error error =
      thrown<RegistrationFailed>([&] { host.register_sub("late add", RegisterOptions{}); });
  EXPECT_THAT(error.what(), HasSubstr("nobody can run it, as every process that could is dead"));
}

TEST(LateRegistration, WhatOnlyTheDeadBelowLiveHostsCouldRunIsRefused) {
  Worker pod({.level = 4, .name = "pod0"});
  Worker first({.level = 3, .name = "host0", .sub_workers = 1});
  Worker second({.level = 3, .name = "host1", .sub_workers = 1});
  const SubHandle end = pod.register_sub("end", [](Task&) { ::raise(SIGKILL); });
  const OrchHandle end_all =
      pod.register_orch("end all", [end](Orchestrator& orch) { orch.submit(end); });
  pod.add_worker(first);
  pod.add_worker(second);
  pod.start();
  const auto end_below = [&](std::size_t host) {
    thrown<ChildLost>([&] {
      pod.run(
          [&](Orchestrator& orch) { orch.submit(end_all, Args(), {.worker = orch.worker(host)}); });
    });
  };
  end_below(0);
  const SubHandle one_is_left = pod.register_sub("late where");
  pod.unregister(one_is_left);
  end_below(1);
  const Error error = thrown<RegistrationFailed>([&] { pod.register_sub("late add"); });
  EXPECT_THAT(error.what(), HasSubstr("nobody can run it, as every process that could is dead"));
  // The hosts themselves live, and what they run is taken.
  pod.register_orch("late orch where");
}

TEST(LateRegistration, ANameThatStandsForOtherContentIsRefused) {
  Worker host({.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}}});
  host.register_sub("late add", [](Task&) {});
  host.start();
  EXPECT_THAT(thrown<InvalidArgument>([&] { host.register_sub("late add"); }).message(),
              HasSubstr("was given a callable of this name before start()"));
  const auto image = [](const char* kernel) {
    return ChipImage::from_file(ECHELON_TREE_KERNELS, kernel);
  };
  const ChipHandle kernel = host.register_chip("kernel", image("scale"));
  EXPECT_THAT(
      thrown<InvalidArgument>([&] { host.register_chip("kernel", image("fail")); }).message(),
      HasSubstr("\"kernel\" is registered here already, with other content"));
  host.unregister(kernel);
  host.register_chip("kernel", image("fail"));
}

TEST(LateRegistration, AHandleReadAsAnotherKindIsRefusedBySubmit) {
  Worker host({.level = 3, .sub_workers = 1, .chips = {{"cpu", 0}}});
  host.start();
  const SubHandle add = host.register_sub("late add");
  const auto error = thrown<InvalidArgument>(
      [&] { host.run([&](Orchestrator& orch) { orch.submit(ChipHandle(add.ref())); }); });
  EXPECT_EQ(error.reason(), Reason::kWrongKind);
  EXPECT_THAT(error.message(), HasSubstr("is no chip callable"));
}

TEST(LateRegistration, OnlyTheProcessThatStartedTheTreeRegisters) {
  Worker pod({.level = 4, .sub_workers = 1});
  Worker host({.level = 3, .name = "host0", .sub_workers = 1});
  pod.add_worker(host);
  const SubHandle tries = pod.register_sub("tries", [&](Task&) { host.register_sub("late add"); });
  const auto error =
      thrown<Error>([&] { pod.run([&](Orchestrator& orch) { orch.submit(tries).wait(); }); });
  EXPECT_THAT(error.message(), HasSubstr("belongs to the process that this one was forked from"));
}

TEST(LateRegistration, AHandleDoesNotOutliveItsTree) {
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  const SubHandle add = host.register_sub("late add");
  host.close();
  host.start();
  const SubHandle again = host.register_sub("late twice");
  EXPECT_EQ(again.ref().number, add.ref().number);
  thrown<StaleHandle>([&] { run_sub(host, add, 1); });
  EXPECT_EQ(run_sub(host, again, 4), 8);
}

}  // namespace
}  // namespace echelon::tree_test
