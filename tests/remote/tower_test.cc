// SPDX-License-Identifier: Apache-2.0
//
// A super-node over two pods over four hosts, each in a network of its own: the pods are sessions,
// and so are the hosts below them, which the pods start.
//
//   host 0: the program, L5      hosts 1, 2: pod0, pod1, L4      hosts 3 to 6: their hosts, L3
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "cli/network_namespaces.h"
#include "cli/temporary_folder.h"
#include "functions.h"
#include "remote/keys.h"
#include "remote_host.h"
#include "tree/process_set.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using testing::HasSubstr;
using tree_test::ProcessSet;
using tree_test::thrown;

constexpr int kPods = 2;
constexpr int kHostsOfPod = 2;
constexpr std::size_t kDaemons = kPods + kPods * kHostsOfPod;
constexpr int kPort = 7171;

using Places = std::array<Place, kHostsOfPod>;

// In a pod: what is asked of each of its hosts.
ECHELON_ORCH("tower ask each", [](Orchestrator& orch) {
  std::array<TaskHandle, kHostsOfPod> asked;
  for (int i = 0; i < kHostsOfPod; ++i) {
    asked[i] = orch.submit(orch.find_orch("remote ask"), {}, {.worker = orch.worker(i)});
  }
  Places places;
  for (int i = 0; i < kHostsOfPod; ++i) places[i] = asked[i].result<Place>();
  return places;
});
ECHELON_ORCH("tower add one", [](Orchestrator& orch, TaskArgs& args) {
  const Tensor x = args.handle(0);
  const std::int64_t part = x.extent(0) / kHostsOfPod;
  for (int i = 0; i < kHostsOfPod; ++i) {
    orch.submit(orch.find_orch("remote add one below"),
                Args().inout(x.slice(0, i * part, (i + 1) * part)), {.worker = orch.worker(i)});
  }
});
ECHELON_ORCH("tower fail", [](Orchestrator& orch) {
  orch.submit(orch.find_orch("remote fail below"), {}, {.worker = orch.worker(1)});
});
ECHELON_ORCH("tower pass late", [](Orchestrator& orch) {
  return orch.submit(orch.find_orch("remote late"), {}, {.worker = orch.worker(1)}).result<int>();
});
ECHELON_ORCH("tower wait", [](Orchestrator& orch) {
  orch.submit(orch.find_orch("remote spin below"), {}, {.worker = orch.worker(0)});
});

class Tower : public testing::Test {
 protected:
  void SetUp() override {
    auto made = cli::NetworkNamespaces::make(1 + kDaemons);
    if (!made.ok()) GTEST_SKIP() << made.status().info().message;
    network.emplace(std::move(made).value());
    const Status status = start_daemons();
    ASSERT_TRUE(status.ok()) << status.to_string();
    for (int pod = 0; pod < kPods; ++pod) pods[pod] = super.add_remote_worker(pod_spec(pod));
    functions.emplace(super);
    ask_each = super.register_orch("tower ask each");
  }

  std::string keys(const std::string& name) const { return folder->path() + "/" + name; }

  Status start_daemons() {
    ECHELON_ASSIGN_OR_RETURN(auto temporary, cli::TemporaryFolder::make("echelon-tower"));
    folder.emplace(std::move(temporary));
    ECHELON_RETURN_IF_ERROR(make_authority(keys("authority")));
    for (std::size_t host = 0; host <= kDaemons; ++host) {
      const std::string name = "at" + std::to_string(host);
      ECHELON_RETURN_IF_ERROR(
          issue_host_keys({keys("authority"), name, {network->address(host)}, keys(name)})
              .status());
      if (host == 0) continue;
      DaemonConfig config;
      config.listen = network->address(host) + ":" + std::to_string(kPort);
      config.tls_dir = keys(name);
      config.name = name;
      daemons.push_back(
          std::make_unique<RemoteHost>(config, [&, host] { return network->enter(host); }));
    }
    return {};
  }

  RemoteWorkerSpec spec_at(std::size_t host, const std::string& name) const {
    RemoteWorkerSpec spec;
    spec.address = network->address(host) + ":" + std::to_string(kPort);
    spec.name = name;
    spec.stage = Stage::kCopy;
    // With time for a machine that does much else.
    spec.connect_timeout = std::chrono::seconds(60);
    spec.health_deadline = std::chrono::seconds(30);
    spec.lease = std::chrono::seconds(60);
    return spec;
  }
  RemoteWorkerSpec pod_spec(int pod) const {
    RemoteWorkerSpec spec = spec_at(static_cast<std::size_t>(1 + pod), "pod" + std::to_string(pod));
    spec.level = 4;
    spec.tls_dir = keys("at0");
    for (int i = 0; i < kHostsOfPod; ++i) {
      const int host = 1 + kPods + pod * kHostsOfPod + i;
      spec.remote_workers.push_back(
          spec_at(static_cast<std::size_t>(host), "host" + std::to_string(i)));
      spec.remote_workers.back().sub_workers = 1;
    }
    return spec;
  }

  Places ask(WorkerId pod) {
    return super.run([&](Orchestrator& orch) {
      return orch.submit(ask_each, {}, {.worker = pod}).result<Places>();
    });
  }
  pid_t session_at(std::size_t host) const {
    return tree_test::descendants_of(daemons[host - 1]->pid()).at(1);
  }
  /// All that runs below a daemon's spawner.
  ProcessSet sessions_at(std::size_t host) const {
    const pid_t spawner = tree_test::descendants_of(daemons[host - 1]->pid()).at(0);
    return tree_test::watch_descendants_of(spawner);
  }

  std::optional<cli::NetworkNamespaces> network;
  std::optional<cli::TemporaryFolder> folder;
  std::vector<std::unique_ptr<RemoteHost>> daemons;
  Worker super{{.level = 5, .name = "super0", .start_deadline = std::chrono::seconds(120)}};
  std::array<WorkerId, kPods> pods;
  std::optional<Functions> functions;
  OrchHandle ask_each;
};

TEST_F(Tower, EachPodDispatchesToItsOwnHosts) {
  std::set<pid_t> pids;
  for (int pod = 0; pod < kPods; ++pod) {
    const Places places = ask(pods[pod]);
    for (int i = 0; i < kHostsOfPod; ++i) {
      EXPECT_EQ(places[i].text(),
                "super0/pod" + std::to_string(pod) + "/host" + std::to_string(i) + "/sub0");
      pids.insert(places[i].pid);
    }
  }
  EXPECT_EQ(pids.size(), std::size_t{kPods * kHostsOfPod});
}

TEST_F(Tower, TensorsGoDownAndComeBackByBothLevels) {
  const OrchHandle add_one = super.register_orch("tower add one");
  const Tensor x = super.tensor<float>({8}, std::span<const float>(numbers(8)));
  super.run([&](Orchestrator& orch) {
    for (int pod = 0; pod < kPods; ++pod) {
      orch.submit(add_one, Args().inout(x.slice(0, 4 * pod, 4 * pod + 4)), {.worker = pods[pod]});
    }
  });
  const auto view = x.data<const float>();
  EXPECT_THAT(std::vector<float>(view.begin(), view.end()),
              testing::ElementsAreArray(numbers(8, 2.0f)));
}

TEST_F(Tower, AnErrorAtTheBottomIsToldWithItsWholePath) {
  const OrchHandle fail = super.register_orch("tower fail");
  const Error error = thrown<Error>(
      [&] { super.run([&](Orchestrator& orch) { orch.submit(fail, {}, {.worker = pods[1]}); }); });
  EXPECT_EQ(error.path(), "super0/pod1/host1/sub0");
  EXPECT_THAT(error.message(), HasSubstr("the disk is full"));
}

TEST_F(Tower, AHostThatIsKilledFailsItsTaskAtTheTopAndTheOthersGoOn) {
  const OrchHandle wait = super.register_orch("tower wait");
  const Places before = ask(pods[0]);
  echelon::Run run =
      super.submit([&](Orchestrator& orch) { orch.submit(wait, {}, {.worker = pods[0]}); });
  ::kill(session_at(3), SIGKILL);
  const Error error = thrown<ChildLost>([&] { run.wait(); });
  EXPECT_EQ(error.path(), "super0/pod0/host0");
  EXPECT_THAT(error.what(), HasSubstr("SIGKILL"));
  EXPECT_EQ(ask(pods[1])[0].text(), "super0/pod1/host0/sub0");
  EXPECT_NE(before[0].pid, before[1].pid);
}

TEST_F(Tower, APodThatIsKilledTakesItsHostsSessionsWithIt) {
  ask(pods[0]);
  const std::array<ProcessSet, 3> doomed = {sessions_at(1), sessions_at(3), sessions_at(4)};
  ::kill(session_at(1), SIGKILL);
  for (const ProcessSet& set : doomed) {
    EXPECT_GT(set.size(), 0u);
    EXPECT_THAT(set.left_after(tree_test::kPatience), testing::IsEmpty());
  }
  EXPECT_EQ(ask(pods[1])[1].text(), "super0/pod1/host1/sub0");
}

TEST_F(Tower, WhatIsRegisteredLateReachesTheBottom) {
  ask(pods[0]);
  super.register_orch("remote late");
  const OrchHandle pass_late = super.register_orch("tower pass late");
  EXPECT_EQ(super.run([&](Orchestrator& orch) {
    return orch.submit(pass_late, {}, {.worker = pods[1]}).result<int>();
  }),
            41);
}

TEST_F(Tower, CloseEndsAllSessions) {
  ask(pods[0]);
  super.close();
  for (const auto& daemon : daemons) {
    EXPECT_TRUE(tree_test::eventually(
        [&] { return tree_test::descendants_of(daemon->pid()).size() == 1; }));
  }
}

// --- refusals
// -------------------------------------------------------------------------------------

class BelowAPod : public testing::Test {
 protected:
  BelowAPod() {
    pod.address = below.address = "127.0.0.1:1";
    pod.name = "pod0";
    pod.level = 4;
    below.name = "host0";
  }
  std::string refusal() {
    pod.remote_workers = {below};
    return thrown<InvalidArgument>([&] { super.add_remote_worker(pod); }).message();
  }

  Worker super{{.level = 5, .name = "super0"}};
  RemoteWorkerSpec pod, below;
};

TEST_F(BelowAPod, KeysOfThisHostAreNotForThat) {
  below.tls_dir = "keys";
  EXPECT_THAT(refusal(), HasSubstr("leave it empty"));
}

TEST_F(BelowAPod, ItsLevelIsBelowThePods) {
  below.level = 4;
  EXPECT_THAT(refusal(), HasSubstr("below pod0 (level 4) belong levels 3 to 3"));
}

TEST_F(BelowAPod, AHostHasNone) {
  pod.level = 3;
  EXPECT_THAT(refusal(), HasSubstr("Workers below it need level 4 or more"));
}

TEST_F(BelowAPod, NamesAreUnique) {
  pod.remote_workers = {below, below};
  EXPECT_THAT(thrown<InvalidArgument>([&] { super.add_remote_worker(pod); }).message(),
              HasSubstr("has a child called host0 already"));
}

TEST_F(BelowAPod, AnUnprotectedWayIsRefusedByTheSession) {
  RemoteHost middle;
  pod.address = middle.address();
  below.address = "192.0.2.1:7171";
  pod.remote_workers = {below};
  super.add_remote_worker(pod);
  const Error error = thrown<StartFailed>([&] { super.start(); });
  EXPECT_EQ(error.path(), "super0/pod0");
  EXPECT_THAT(error.message(), HasSubstr("nothing protects the way there"));
}

TEST_F(BelowAPod, OneThatIsNotThereIsToldAtTheTopWithItsAddress) {
  RemoteHost middle;
  pod.address = middle.address();
  pod.remote_workers = {below};
  super.add_remote_worker(pod);
  const Error error = thrown<StartFailed>([&] { super.start(); });
  EXPECT_EQ(error.path(), "super0/pod0/host0");
  EXPECT_THAT(error.message(), HasSubstr("127.0.0.1:1"));
}

}  // namespace
}  // namespace echelon::remote_test
