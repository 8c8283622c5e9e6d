// SPDX-License-Identifier: Apache-2.0
//
// Sixty-four sessions of one parent: processes of this machine, below one daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <set>
#include <string>
#include <vector>

#include "functions.h"
#include "remote_host.h"
#include "tree/process_set.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using namespace std::chrono_literals;
using tree_test::descendants_of;
using tree_test::eventually;
using tree_test::thrown;

constexpr int kSessions = 64;

class SixtyFour : public testing::Test {
 protected:
  SixtyFour() {
    for (int i = 0; i < kSessions; ++i) {
      RemoteWorkerSpec spec = daemon.spec("host" + std::to_string(i));
      spec.sub_workers = 0;
      // With time for a machine that starts so many processes at once.
      spec.connect_timeout = 60s;
      spec.health_deadline = 30s;
      spec.lease = 60s;
      workers.push_back(pod.add_remote_worker(spec));
    }
    where = pod.register_orch("remote where orch");
    pod.start();
  }

  TaskHandle ask(Orchestrator& orch, int session) {
    return orch.submit(where, {}, {.worker = workers[static_cast<std::size_t>(session)]});
  }
  std::vector<Place> ask_all() {
    return pod.run([&](Orchestrator& orch) {
      std::vector<TaskHandle> asked;
      for (int i = 0; i < kSessions; ++i) asked.push_back(ask(orch, i));
      std::vector<Place> places;
      for (TaskHandle& task : asked) places.push_back(task.result<Place>());
      return places;
    });
  }

  RemoteHost daemon;
  Worker pod{{.level = 4, .name = "pod0", .start_deadline = 120s}};
  std::vector<WorkerId> workers;
  OrchHandle where;
};

TEST_F(SixtyFour, EachIsAProcessOfItsOwnAndDoesItsTasks) {
  const std::vector<Place> places = ask_all();
  std::set<pid_t> pids;
  for (int i = 0; i < kSessions; ++i) {
    EXPECT_EQ(places[static_cast<std::size_t>(i)].text(), "pod0/host" + std::to_string(i));
    pids.insert(places[static_cast<std::size_t>(i)].pid);
  }
  EXPECT_EQ(pids.size(), std::size_t{kSessions});
}

TEST_F(SixtyFour, WhatIsRegisteredLateIsRegisteredInAllOfThem) {
  const OrchHandle late = pod.register_orch("remote late");
  pod.run([&](Orchestrator& orch) {
    for (const WorkerId worker : workers) {
      EXPECT_EQ(orch.submit(late, {}, {.worker = worker}).result<int>(), 41);
    }
  });
}

TEST_F(SixtyFour, OneThatStandsStillDelaysNoneOfTheOthers) {
  const std::vector<Place> places = ask_all();
  const pid_t slow = places[7].pid;
  ::kill(slow, SIGSTOP);
  echelon::Run waits = pod.submit([&](Orchestrator& orch) { ask(orch, 7); });
  pod.run([&](Orchestrator& orch) {
    for (int i = 0; i < kSessions; ++i) {
      if (i != 7) ask(orch, i);
    }
  });
  EXPECT_FALSE(waits.wait_for(0ms));
  ::kill(slow, SIGCONT);
  waits.wait();
}

TEST_F(SixtyFour, OneThatDiesIsMissedAlone) {
  const std::vector<Place> places = ask_all();
  ::kill(places[7].pid, SIGKILL);
  const Error error =
      thrown<ChildLost>([&] { pod.run([&](Orchestrator& orch) { ask(orch, 7); }); });
  EXPECT_EQ(error.path(), "pod0/host7");
  pod.run([&](Orchestrator& orch) {
    for (int i = 0; i < kSessions; ++i) {
      if (i != 7) ask(orch, i);
    }
  });
}

TEST_F(SixtyFour, CloseEndsThemAll) {
  ASSERT_GE(descendants_of(daemon.pid()).size(), std::size_t{kSessions});
  pod.close();
  EXPECT_TRUE(eventually([&] { return descendants_of(daemon.pid()).size() == 1; }));
}

}  // namespace
}  // namespace echelon::remote_test
