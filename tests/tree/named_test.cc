// SPDX-License-Identifier: Apache-2.0
//
// Functions with names that are registered before start(), and callables that are looked up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include <echelon/echelon.h>

#include "named_functions.h"
#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Worker host_with_subs(const std::string& name = "host0") {
  return Worker({.level = 3, .name = name, .sub_workers = 1});
}

ECHELON_SUB("named path", [](Task& task) { return Place(task.path()); });
ECHELON_ORCH("named ask", [](Orchestrator& orch) {
  return orch.submit(orch.find_sub("named path")).result<Place>();
});
ECHELON_ORCH("named ask the library", [](Orchestrator& orch) {
  return orch.submit(orch.find_sub("library where")).result<Place>();
});
ECHELON_ORCH("named scale", [](Orchestrator& orch, TaskArgs& args) {
  orch.submit(orch.find_chip("scale"),
              Args().input(args.handle(0)).output(args.handle(1)).scalar(2.0f));
});

class NamedPod : public testing::Test {
 protected:
  NamedPod() : pod({.level = 4, .name = "pod0"}) {
    pod.add_worker(Worker({.level = 3, .name = "host0", .sub_workers = 1, .chips = {{"cpu", 0}}}));
  }
  std::string ask(OrchHandle callable) {
    return pod.run(
        [&](Orchestrator& orch) { return orch.submit(callable).result<Place>().text(); });
  }
  Worker pod;
};

// --- libraries before start() -------------------------------------------------------------------

TEST_F(NamedPod, ALibraryRegisteredBeforeStartIsInherited) {
  pod.register_library(ECHELON_TREE_LIBRARY);
  pod.register_sub("library where");
  const OrchHandle ask_it = pod.register_orch("named ask the library");
  EXPECT_EQ(ask(ask_it), "library: pod0/host0/sub0");
}

TEST_F(NamedPod, ItsFunctionsCanStillBeRegisteredInTheRunningTree) {
  pod.register_library(ECHELON_TREE_LIBRARY);
  pod.start();
  pod.register_sub("library where");
  const OrchHandle ask_it = pod.register_orch("named ask the library");
  EXPECT_EQ(ask(ask_it), "library: pod0/host0/sub0");
}

TEST_F(NamedPod, ALibraryThatIsInheritedCanBeRegisteredAgainInTheRunningTree) {
  pod.register_library(ECHELON_TREE_LIBRARY);
  pod.start();
  const LibraryHandle again = pod.register_library(ECHELON_TREE_LIBRARY);
  const SubHandle where = pod.register_sub("library where");
  pod.unregister(where);
  pod.unregister(again);
  pod.register_sub("library where");
  const OrchHandle ask_it = pod.register_orch("named ask the library");
  EXPECT_EQ(ask(ask_it), "library: pod0/host0/sub0");
}

TEST_F(NamedPod, ALibraryStaysForTheNextStart) {
  pod.register_library(ECHELON_TREE_LIBRARY);
  pod.register_sub("library where");
  const OrchHandle ask_it = pod.register_orch("named ask the library");
  for (int round = 0; round < 3; ++round) {
    pod.start();
    EXPECT_EQ(ask(ask_it), "library: pod0/host0/sub0");
    pod.close();
  }
}

TEST(NamedLibrary, WorkersOneAfterAnotherMayHaveTheSame) {
  for (int round = 0; round < 3; ++round) {
    Worker host = host_with_subs();
    host.register_library(ECHELON_TREE_LIBRARY);
    const SubHandle where = host.register_sub("library where");
    const Place place =
        host.run([&](Orchestrator& orch) { return orch.submit(where).result<Place>(); });
    EXPECT_EQ(place.text(), "library: host0/sub0");
  }
}

TEST(NamedLibrary, WhatCannotBeLoadedIsRefusedAtOnce) {
  Worker host = host_with_subs();
  EXPECT_THAT(thrown<InvalidArgument>([&] {
                host.register_library(ECHELON_TREE_BROKEN_LIBRARY);
              }).message(),
              AllOf(HasSubstr("cannot be loaded"), HasSubstr("no_such_function")));
  EXPECT_THAT(thrown<InvalidArgument>([&] { host.register_library("/etc/hostname"); }).message(),
              HasSubstr("is no shared object"));
  EXPECT_THAT(thrown<InvalidArgument>([&] { host.register_sub("library where"); }).message(),
              HasSubstr("no function here is called ECHELON_SUB(\"library where\")"));
}

TEST(NamedLibrary, AChipAloneTakesNone) {
  Worker chip({.level = 2, .chips = {{"cpu", 0}}});
  const auto error = thrown<InvalidArgument>([&] { chip.register_library(ECHELON_TREE_LIBRARY); });
  EXPECT_EQ(error.reason(), Reason::kWrongLevel);
  EXPECT_THAT(error.message(), HasSubstr("runs chip kernels only"));
}

TEST(NamedLibrary, OneFromBeforeStartIsNotUnregistered) {
  Worker host = host_with_subs();
  const LibraryHandle library = host.register_library(ECHELON_TREE_LIBRARY);
  host.start();
  EXPECT_THAT(thrown<InvalidArgument>([&] { host.unregister(library); }).message(),
              HasSubstr("was registered before start()"));
}

// --- looking up ---------------------------------------------------------------------------------

TEST_F(NamedPod, ANamedFunctionFindsWhatItSubmits) {
  pod.register_sub("named path");
  const OrchHandle ask_it = pod.register_orch("named ask");
  EXPECT_EQ(ask(ask_it), "pod0/host0/sub0");
}

TEST_F(NamedPod, WhatCameLaterIsFoundToo) {
  const OrchHandle ask_it = pod.register_orch("named ask");
  pod.start();
  const SubHandle path = pod.register_sub("named path");
  EXPECT_EQ(ask(ask_it), "pod0/host0/sub0");
  pod.unregister(path);
  // The host forgets it when it hears of it, which nobody waits for.
  const auto refused = [&] {
    try {
      ask(ask_it);
      return false;
    } catch (const Error& error) {
      return error.message().find("find_sub(\"named path\"): none is registered under this name") !=
             std::string::npos;
    }
  };
  EXPECT_TRUE(eventually(refused));
}

TEST_F(NamedPod, AChipKernelIsFound) {
  pod.register_chip("scale", ChipImage::from_file(ECHELON_TREE_KERNELS, "scale"));
  const OrchHandle scale = pod.register_orch("named scale");
  const std::vector<float> values{1, 2, 3};
  const Tensor x = pod.tensor<float>({3}, std::span<const float>(values));
  const Tensor y = pod.tensor<float>({3});
  pod.run([&](Orchestrator& orch) { orch.submit(scale, Args().input(x).output(y)); });
  EXPECT_THAT(floats(y), testing::ElementsAre(2, 4, 6));
}

TEST_F(NamedPod, TheProgramsOwnFunctionFindsOrchestrationFunctions) {
  pod.register_sub("named path");
  pod.register_orch("named ask");
  const Place place = pod.run(
      [](Orchestrator& orch) { return orch.submit(orch.find_orch("named ask")).result<Place>(); });
  EXPECT_EQ(place.text(), "pod0/host0/sub0");
}

TEST_F(NamedPod, WhatIsNotThereIsToldWithWhatIs) {
  pod.register_sub("a", [](Task&) {});
  pod.register_sub("b", [](Task&) {});
  const auto error = thrown<InvalidArgument>(
      [&] { pod.run([](Orchestrator& orch) { (void)orch.find_sub("c"); }); });
  EXPECT_EQ(error.code(), Code::kNotFound);
  EXPECT_EQ(error.message(),
            "find_sub(\"c\"): none is registered under this name on pod0 or on a Worker above it; "
            "there are \"a\", \"b\"");
}

}  // namespace
}  // namespace echelon::tree_test
