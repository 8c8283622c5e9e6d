// SPDX-License-Identifier: Apache-2.0
//
// Two hosts below one pod: functions run there and use what is there; errors, results, configs and
// deadlines cross whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "functions.h"
#include "remote_host.h"
#include "tree/process_set.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using tree_test::thrown;

class TwoHosts : public testing::Test {
 protected:
  TwoHosts()
      : left(pod.add_remote_worker(a.spec("left"))),
        right(pod.add_remote_worker(b.spec("right"))) {}

  SubmitOptions at(WorkerId worker) { return {.worker = worker}; }

  RemoteHost a, b;  // before anything has a thread
  Worker pod{{.level = 4}};
  const WorkerId left, right;
  Functions functions{pod};
};

TEST_F(TwoHosts, AFunctionRunsThereAndUsesTheHostsOwnSubWorker) {
  const auto [own, below] = pod.run([&](Orchestrator& orch) {
    return std::pair(orch.submit(functions.where_orch, {}, at(left)).result<Place>(),
                     orch.submit(functions.ask, {}, at(left)).result<Place>());
  });
  EXPECT_EQ(own.text(), "pod0/left");
  EXPECT_THAT(below.text(), testing::MatchesRegex("pod0/left/sub[01]"));
  EXPECT_NE(own.pid, below.pid);
  EXPECT_NE(own.pid, ::getpid());
}

TEST_F(TwoHosts, WhatASessionReturnsIsTrustedWhereItsSpecSaysSo) {
  RemoteWorkerSpec spec = b.spec("trusted");
  spec.trust_results = true;
  const WorkerId trusted = pod.add_remote_worker(spec);
  const WorkerId near = pod.add_worker(Worker({.level = 3, .name = "near"}));
  const auto is_trusted = [&](WorkerId worker) {
    return pod.run([&](Orchestrator& orch) {
      const TaskHandle task = orch.submit(functions.where_orch, {}, at(worker));
      task.wait();
      return task.result_is_trusted();
    });
  };
  EXPECT_FALSE(is_trusted(left));
  EXPECT_TRUE(is_trusted(trusted));
  EXPECT_TRUE(is_trusted(near));
  EXPECT_THROW(static_cast<void>(TaskHandle().result_is_trusted()), InvalidArgument);
}

TEST_F(TwoHosts, TasksWithoutAPlaceGoToBoth) {
  const std::set<std::string> paths = pod.run([&](Orchestrator& orch) {
    const std::vector<Args> none(2);
    std::set<std::string> seen;
    for (const TaskHandle& task : orch.submit_group(functions.where_orch, none)) {
      seen.insert(task.result<Place>().text());
    }
    return seen;
  });
  EXPECT_THAT(paths, UnorderedElementsAre("pod0/left", "pod0/right"));
}

TEST_F(TwoHosts, OneSessionServesAHundredTasksInTheSameProcesses) {
  std::set<pid_t> pids;
  for (int i = 0; i < 100; ++i) {
    pids.insert(pod.run([&](Orchestrator& orch) {
      return orch.submit(functions.where_orch, {}, at(right)).result<Place>().pid;
    }));
  }
  EXPECT_EQ(pids.size(), 1u);
}

TEST_F(TwoHosts, AnErrorBelowArrivesWhole) {
  const Error error = thrown<TaskFailed>([&] {
    pod.run([&](Orchestrator& orch) { orch.submit(functions.fail_below, {}, at(left)); });
  });
  EXPECT_EQ(error.message(), "std::runtime_error: the disk is full") << error.what();
  EXPECT_THAT(error.path(), testing::MatchesRegex("pod0/left/sub[01]"));
  EXPECT_EQ(error.callable(), "remote fail");
  EXPECT_EQ(error.reason(), Reason::kException);
  // The session goes on.
  EXPECT_EQ(pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.where_orch, {}, at(left)).result<Place>().text();
  }),
            "pod0/left");
}

TEST_F(TwoHosts, ADeadlineEndsWhatRunsThere) {
  const Error error = thrown<DeadlineExceeded>([&] {
    pod.run([&](Orchestrator& orch) {
      orch.submit(functions.spin_below, {}, {.worker = left, .deadline = 50ms});
    });
  });
  EXPECT_EQ(error.reason(), Reason::kDeadline) << error.what();
}

TEST_F(TwoHosts, ACancelledRunStopsWhatRunsThere) {
  pod.start();
  echelon::Run run =
      pod.submit([&](Orchestrator& orch) { orch.submit(functions.spin_below, {}, at(left)); });
  run.cancel();
  thrown<Cancelled>([&] { run.wait(); });
}

TEST_F(TwoHosts, TheTreeShowsThemWithTheirHostsAndChildren) {
  pod.start();
  const NodeInfo tree = pod.tree();
  ASSERT_EQ(tree.children.size(), 2u);
  for (const NodeInfo& host : tree.children) {
    EXPECT_EQ(host.kind, "worker");
    EXPECT_EQ(host.level, 3);
    EXPECT_EQ(host.state, "ready");
    EXPECT_FALSE(host.host.empty());
    EXPECT_GT(host.pid, 0);
    ASSERT_EQ(host.children.size(), 2u) << pod.describe();
    EXPECT_EQ(host.children[0].path, host.path + "/sub0");
    EXPECT_GT(host.children[0].pid, 0);
  }
}

TEST_F(TwoHosts, ATreeCanBeClosedAndStartedAgain) {
  // Its allocator has locks that a fork does not take, and gRPC's threads are there by then.
  if (tree_test::sanitized()) GTEST_SKIP() << "the sanitizer cannot fork beside gRPC's threads";
  const auto pid = [&] {
    return pod.run([&](Orchestrator& orch) {
      return orch.submit(functions.where_orch, {}, at(left)).result<Place>().pid;
    });
  };
  const pid_t first = pid();
  pod.close();
  EXPECT_NE(::kill(first, 0), 0);
  pod.start();
  EXPECT_NE(pid(), first);
}

TEST_F(TwoHosts, ACallableThatIsRegisteredLaterGoesThereToo) {
  pod.start();
  const OrchHandle late = pod.register_orch("remote late");
  const auto value = [&] {
    return pod.run(
        [&](Orchestrator& orch) { return orch.submit(late, {}, at(right)).result<int>(); });
  };
  EXPECT_EQ(value(), 41);
  pod.unregister(late);
  EXPECT_EQ(thrown<StaleHandle>(value).reason(), Reason::kStaleHandle);
}

TEST_F(TwoHosts, ALibraryThatIsRegisteredLaterGoesThereToo) {
  pod.start();
  pod.register_library(ECHELON_TREE_LIBRARY);
  const OrchHandle level = pod.register_orch("library orch");
  EXPECT_EQ(
      pod.run([&](Orchestrator& orch) { return orch.submit(level, {}, at(left)).result<int>(); }),
      3);
}

TEST(Remote, WhatADaemonDoesNotAllowIsRefusedLaterToo) {
  DaemonConfig config = loopback();
  config.allow = "";
  RemoteHost host(config);
  Worker pod({.level = 4});
  const WorkerId far = pod.add_remote_worker(host.spec("far"));
  const Functions functions(pod);
  pod.start();
  const Error library =
      thrown<RegistrationFailed>([&] { pod.register_library(ECHELON_TREE_LIBRARY); });
  EXPECT_THAT(library.what(), AllOf(HasSubstr("pod0/far"), HasSubstr("--allow library")));
  // By name it goes on.
  const OrchHandle late = pod.register_orch("remote late");
  EXPECT_EQ(pod.run([&](Orchestrator& orch) {
    return orch.submit(late, {}, {.worker = far}).result<int>();
  }),
            41);
}

TEST_F(TwoHosts, TheConfigOfATaskArrivesWhole) {
  CallConfig config;
  config.grid = {2, 3, 4};
  config.values["key"] = "value";
  const bool same = pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.config, {}, {.worker = left, .config = config}).result<bool>();
  });
  EXPECT_TRUE(same);
}

TEST_F(TwoHosts, AResultOfAMegabyteComesWhole) {
  const std::vector<std::byte> result = pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.large, {}, at(left)).result_bytes();
  });
  EXPECT_EQ(result, std::vector<std::byte>(kResultBytesMax, std::byte{7}));
}

TEST(Remote, AWorkerMayHaveChildrenHereAndThere) {
  RemoteHost host;
  Worker pod({.level = 4, .sub_workers = 1});
  Worker near({.level = 3, .name = "near", .sub_workers = 1});
  const WorkerId there = pod.add_remote_worker(host.spec("far"));
  const WorkerId here_id = pod.add_worker(near);
  const Functions functions(pod);
  const auto [far, close] = pod.run([&](Orchestrator& orch) {
    return std::pair(
        orch.submit(functions.where_orch, {}, {.worker = there}).result<Place>().text(),
        orch.submit(functions.where_orch, {}, {.worker = here_id}).result<Place>().text());
  });
  EXPECT_EQ(far, "pod0/far");
  EXPECT_EQ(close, "pod0/near");
}

TEST(Remote, AParentMayBeAProcessBelowTheProgram) {
  RemoteHost host;
  Worker supernode({.level = 5});
  Worker pod({.level = 4});
  pod.add_remote_worker(host.spec("far"));
  supernode.add_worker(pod);
  const Functions functions(supernode);
  const std::string path = supernode.run(
      [&](Orchestrator& orch) { return orch.submit(functions.pass_on).result<Place>().text(); });
  EXPECT_EQ(path, "supernode0/pod0/far");
  const NodeInfo tree = supernode.tree();
  EXPECT_EQ(tree.children.at(0).children.at(0).children.size(), 2u) << supernode.describe();
}

TEST(Remote, APodMayBeRemoteItself) {
  RemoteHost host;
  Worker supernode({.level = 5});
  RemoteWorkerSpec spec = host.spec("pod");
  spec.level = 4;
  supernode.add_remote_worker(spec);
  const Functions functions(supernode);
  const Place place =
      supernode.run([&](Orchestrator& orch) { return orch.submit(functions.ask).result<Place>(); });
  EXPECT_THAT(place.text(), testing::MatchesRegex("supernode0/pod/sub[01]"));
}

TEST(Remote, AFunctionWithStateOfTheProgramIsRefusedByNameThere) {
  RemoteHost host;
  Worker pod({.level = 4});
  const WorkerId there = pod.add_remote_worker(host.spec("far"));
  int captured = 0;
  const OrchHandle lambda = pod.register_orch("lambda", [&captured](Orchestrator&) { ++captured; });
  const Error error = thrown<Error>(
      [&] { pod.run([&](Orchestrator& orch) { orch.submit(lambda, {}, {.worker = there}); }); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("lambda"), HasSubstr("pod0/far")));
  EXPECT_EQ(captured, 0);
}

TEST(Remote, AChipThereRunsAKernel) {
  RemoteHost host;
  Worker pod({.level = 4});
  RemoteWorkerSpec spec = host.spec("far");
  spec.chips = {{"cpu", 0}};
  pod.add_remote_worker(spec);
  pod.register_chip("scale", ChipImage::from_file(ECHELON_TREE_KERNELS, "scale"));
  pod.start();
  const NodeInfo tree = pod.tree();
  ASSERT_EQ(tree.children.size(), 1u);
  ASSERT_EQ(tree.children[0].children.size(), 3u) << pod.describe();
  EXPECT_EQ(tree.children[0].children[2].kind, "chip");
}

}  // namespace
}  // namespace echelon::remote_test
