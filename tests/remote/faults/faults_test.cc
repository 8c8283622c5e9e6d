// SPDX-License-Identifier: Apache-2.0
//
// The table of faults (fault_table.h), row by row: the program and two hosts, each in a network of
// its own, mutual TLS between them.
//
// A bound holds on a machine that runs the processes of the test; what a busy one takes from them
// is theirs on top.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "remote/faults/fault_net.h"
#include "remote/faults/fault_table.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using testing::HasSubstr;
using tree_test::descendants_of;
using tree_test::eventually;
using tree_test::ForkedProcess;
using tree_test::ProcessSet;
using tree_test::thrown;
using Clock = std::chrono::steady_clock;

/// A machine may take so long from its processes. What comes at the next later bound of the
/// protocol - a connection that answers nothing, 10 s - is still told apart.
constexpr milliseconds kBusyMachine{4'000};

void print(const char* what, Clock::time_point since) {
  std::printf("%s after %.3f s\n", what,
              std::chrono::duration<double>(Clock::now() - since).count());
}

/// The left host: its daemon, and what is below that.
struct LeftProcesses {
  explicit LeftProcesses(pid_t pid_of_daemon) : daemon(pid_of_daemon) {
    spawner = descendants_of(daemon).at(0);
    for (const pid_t pid : descendants_of(spawner)) session_tree.push_back(pid);
    session = session_tree.at(0);
    sessions_spawner = descendants_of(session).at(0);
    sub = descendants_of(sessions_spawner).at(0);
  }

  pid_t of(Victim victim) const {
    switch (victim) {
      case Victim::kSession:
        return session;
      case Victim::kSessionsSpawner:
        return sessions_spawner;
      case Victim::kSubWorker:
        return sub;
      case Victim::kDaemon:
        return daemon;
      case Victim::kDaemonsSpawner:
        return spawner;
      case Victim::kProgram:
      case Victim::kLink:
        break;
    }
    return -1;
  }
  /// What is to be gone after the fault.
  ProcessSet doomed(Victim victim) const {
    ProcessSet set;
    if (victim == Victim::kSubWorker) {
      set.add(sub);
      return set;
    }
    for (const pid_t pid : session_tree) set.add(pid);
    if (victim == Victim::kDaemon || victim == Victim::kDaemonsSpawner) set.add(spawner);
    return set;
  }

  pid_t daemon, spawner, session, sessions_spawner, sub;
  std::vector<pid_t> session_tree;
};

class Faults : public testing::TestWithParam<FaultRow> {
 protected:
  const FaultRow& row() const { return GetParam(); }

  RemoteWorkerSpec left_spec() const {
    const bool by_proxy = row().kind == FaultKind::kProxy;
    RemoteWorkerSpec spec = by_proxy ? net.left_spec_by_proxy() : net.left_spec();
    if (row().times == Times::kUnanswered) spec.unresponsive_after = kUnresponsiveAfter;
    if (row().times != Times::kSilence) return spec;
    spec.health_deadline = kHealthDeadline;
    spec.lease = kLease;
    return spec;
  }

  void do_it(const LeftProcesses& left) {
    done_at = Clock::now();
    switch (row().kind) {
      case FaultKind::kKill:
        ::kill(left.of(row().victim), SIGKILL);
        break;
      case FaultKind::kStop:
        ::kill(left.of(row().victim), SIGSTOP);
        break;
      case FaultKind::kLink:
        net.set_left_link(false);
        break;
      case FaultKind::kProxy:
        net.proxy().misbehave(row().proxy, row().connections);
        break;
    }
  }

  void expect_heard(echelon::Run& run) {
    const Error error = thrown<ChildLost>([&] { run.wait(); });
    print("heard", done_at);
    EXPECT_LE(Clock::now() - done_at, row().heard.time + kBusyMachine);
    EXPECT_EQ(error.path(), row().path) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(row().says));
  }

  void expect_gone(const ProcessSet& doomed) {
    const auto left = row().gone.time + kBusyMachine - (Clock::now() - done_at);
    EXPECT_THAT(doomed.left_after(std::chrono::ceil<milliseconds>(left)), testing::IsEmpty());
    print("gone", done_at);
  }

  /// A new tree, from this process: sanitizers cannot fork beside gRPC's threads.
  void expect_another_start(FaultPod& tree) {
    if (tree_test::sanitized()) return;
    tree.pod.close();
    tree.pod.start();
    EXPECT_EQ(tree.where(tree.left).text(), "pod0/left");
  }

  FaultNet net;
  Clock::time_point done_at;
};

TEST_P(Faults, AreHeardOfInTimeAndLeaveNothing) {
  SKIP_WITHOUT_NETWORK(net);
  FaultPod tree(left_spec(), net.right_spec());
  const LeftProcesses left(net.left().pid());
  ASSERT_EQ(tree.where(tree.left).pid, left.session);
  ASSERT_EQ(tree.sub(tree.left).pid, left.sub);
  const Tensor tensor = tree.pod.remote_tensor<float>(tree.left, {4});
  const Tensor here = tree.pod.tensor<float>({4});
  echelon::Run run = tree.wait_in_left();
  const ProcessSet doomed = left.doomed(row().victim);

  do_it(left);
  // Changed bytes are noticed where bytes pass.
  echelon::Run task = tree.pod.submit([&](Orchestrator& orch) {
    orch.submit(tree.functions.where_orch, {}, {.worker = tree.left});
  });
  echelon::Run copy = tree.pod.submit([&](Orchestrator& orch) { orch.copy(here, tensor); });
  expect_heard(run);
  expect_gone(doomed);
  EXPECT_EQ(tree.where(tree.right).text(), "pod0/right");
  if ((row().goes_on & kItsSession) != 0) {
    EXPECT_EQ(tree.where(tree.left).pid, left.session);
  } else {
    thrown<Error>([&] { task.wait(); });
  }
  net.proxy().misbehave(ProxyFault::kNone);
  if (row().kind == FaultKind::kLink) net.set_left_link(true);
  if ((row().goes_on & kItsDaemon) != 0) expect_another_start(tree);
}

class FaultsWithoutAWord : public Faults {};

TEST_P(FaultsWithoutAWord, LetWorkGoOnAndAreNoHindranceToAnEnd) {
  SKIP_WITHOUT_NETWORK(net);
  FaultPod tree(left_spec(), net.right_spec());
  const LeftProcesses left(net.left().pid());
  const Tensor tensor = tree.pod.remote_tensor<float>(tree.left, {4});
  const ProcessSet doomed = left.doomed(Victim::kSession);

  do_it(left);
  if (row().kind == FaultKind::kProxy) net.proxy().delay(100ms);
  echelon::Run run = tree.pod.submit([&](Orchestrator& orch) {
    orch.submit(tree.functions.fill, Args().output(tensor).scalar(1.0f), {.worker = tree.left});
  });
  if (row().kind == FaultKind::kLink) net.set_left_link(true);
  run.wait();
  std::vector<float> values(4);
  tree.pod.copy_from(tensor, std::span(values));
  EXPECT_THAT(values, testing::Each(1.0f));
  EXPECT_EQ(tree.where(tree.left).pid, left.session);
  EXPECT_EQ(tree.where(tree.right).text(), "pod0/right");

  tree.pod.close();
  EXPECT_THAT(doomed.left_after(tree_test::kPatience), testing::IsEmpty());
  // So that the daemon need not wait for it at its own end.
  if (row().kind == FaultKind::kStop) ::kill(left.of(row().victim), SIGCONT);
}

class FaultsOfTheProgram : public Faults {};

TEST_P(FaultsOfTheProgram, EndItsSessionsInTimeAndTheirDaemonsServeOn) {
  SKIP_WITHOUT_NETWORK(net);
  ForkedProcess program([&](const ForkedProcess::Ready& ready) {
    FaultPod tree(left_spec(), net.right_spec());
    echelon::Run run = tree.wait_in_left();
    ready();
    for (;;) ::pause();
  });
  ASSERT_TRUE(program.wait_until_ready());
  const LeftProcesses left(net.left().pid());
  const ProcessSet doomed = left.doomed(row().victim);
  done_at = Clock::now();
  ::kill(program.pid(), row().kind == FaultKind::kKill ? SIGKILL : SIGSTOP);
  expect_gone(doomed);
  FaultPod tree(net.left_spec(), net.right_spec());
  EXPECT_EQ(tree.where(tree.left).text(), "pod0/left");
}

std::vector<FaultRow> chosen(bool (*choose)(const FaultRow&)) {
  std::vector<FaultRow> rows;
  for (const auto all : {process_faults(), network_faults()}) {
    std::copy_if(all.begin(), all.end(), std::back_inserter(rows), choose);
  }
  return rows;
}

std::string name_of_row(const testing::TestParamInfo<FaultRow>& info) {
  return info.param.test;
}

INSTANTIATE_TEST_SUITE_P(OverNetworks, Faults, testing::ValuesIn(chosen([](const FaultRow& row) {
                           return row.says != nullptr;
                         })),
                         name_of_row);
INSTANTIATE_TEST_SUITE_P(OverNetworks, FaultsWithoutAWord,
                         testing::ValuesIn(chosen([](const FaultRow& row) {
                           return row.says == nullptr && row.victim != Victim::kProgram;
                         })),
                         name_of_row);
INSTANTIATE_TEST_SUITE_P(OverNetworks, FaultsOfTheProgram,
                         testing::ValuesIn(chosen([](const FaultRow& row) {
                           return row.victim == Victim::kProgram;
                         })),
                         name_of_row);

TEST(FaultTable, StandsInTheDocumentationAsItIsAsserted) {
  std::ifstream file(ECHELON_GUARANTEES_PAGE);
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(page, HasSubstr("\n" + table_text()));
}

}  // namespace
}  // namespace echelon::remote_test
