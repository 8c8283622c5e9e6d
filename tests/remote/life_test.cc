// SPDX-License-Identifier: Apache-2.0
//
// How remote Workers start, fail to start, die and end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "functions.h"
#include "remote_host.h"
#include "tree/process_set.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using tree_test::descendants_of;
using tree_test::eventually;
using tree_test::thrown;

bool alive(pid_t pid) {
  return ::kill(pid, 0) == 0;
}

TEST(RemoteStart, NobodyThereNamesTheAddress) {
  Worker pod({.level = 4});
  RemoteWorkerSpec spec;
  spec.address = "127.0.0.1:1";
  spec.name = "far";
  spec.connect_timeout = 500ms;
  pod.add_remote_worker(spec);
  const Error error = thrown<StartFailed>([&] { pod.start(); });
  EXPECT_THAT(error.message(), HasSubstr("127.0.0.1:1"));
  EXPECT_EQ(error.path(), "pod0/far");
}

TEST(RemoteStart, OneThatFailsEndsTheOthers) {
  RemoteHost host;
  Worker pod({.level = 4, .sub_workers = 1});
  pod.add_remote_worker(host.spec("left"));
  RemoteWorkerSpec spec = host.spec("right");
  spec.chips = {{"absent", 0}};
  pod.add_remote_worker(spec);
  const Error error = thrown<StartFailed>([&] { pod.start(); });
  EXPECT_THAT(error.path(), HasSubstr("pod0/right")) << error.what();
  EXPECT_FALSE(pod.started());
  // Of the daemon's processes its spawner is left, and nothing of the sessions.
  EXPECT_TRUE(eventually([&] { return descendants_of(host.pid()).size() == 1; }));
}

TEST(RemoteStart, TheDeadlineNamesEachThatIsPendingAndItsPhase) {
  RemoteHost quick;
  RemoteHost slow;
  slow.stop();
  Worker pod({.level = 4, .start_deadline = 500ms});
  pod.add_remote_worker(quick.spec("quick"));
  pod.add_remote_worker(slow.spec("slow"));
  const Error error = thrown<StartFailed>([&] { pod.start(); });
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("child pod0/slow not ready after 0.5 s: phase asking the daemon at " +
                              slow.address()),
                    testing::Not(HasSubstr("pod0/quick"))));
}

TEST(RemoteStart, ADaemonThatNeverAnswersIsGivenUpAfterTheTimeToConnect) {
  RemoteHost slow;
  slow.stop();
  Worker pod({.level = 4});
  RemoteWorkerSpec spec = slow.spec("slow");
  spec.connect_timeout = 300ms;
  pod.add_remote_worker(spec);
  const Error error = thrown<StartFailed>([&] { pod.start(); });
  EXPECT_THAT(error.message(), AllOf(HasSubstr(slow.address()), HasSubstr("0.3 s")));
  EXPECT_EQ(error.path(), "pod0/slow");
}

TEST(RemoteStart, AStartThatFailedCanBeTriedAgain) {
  // Its allocator has locks that a fork does not take, and gRPC's threads are there by then.
  if (tree_test::sanitized()) GTEST_SKIP() << "the sanitizer cannot fork beside gRPC's threads";
  RemoteHost host;
  Worker pod({.level = 4});
  RemoteWorkerSpec spec = host.spec("far");
  spec.memory_bytes_max = std::size_t{1} << 50;
  pod.add_remote_worker(spec);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(thrown<StartFailed>([&] { pod.start(); }).message(), HasSubstr("memory"));
  }
}

/// Longer than any patience of the transport's own.
constexpr auto kSilence = 16s;

TEST(RemoteSilence, ShorterThanItsLimitsIsSurvived) {
  RemoteHost host;
  Worker pod({.level = 4});
  RemoteWorkerSpec spec = host.spec("far");
  spec.health_deadline = spec.unresponsive_after = 2min;
  spec.lease = 3min;
  pod.add_remote_worker(spec);
  const Functions functions(pod);
  const auto session = [&] {
    return pod.run(
        [&](Orchestrator& orch) { return orch.submit(functions.where_orch).result<Place>().pid; });
  };
  const pid_t before = session();
  for (const pid_t pid : {host.pid(), before}) ::kill(pid, SIGSTOP);
  std::this_thread::sleep_for(kSilence);
  for (const pid_t pid : {host.pid(), before}) ::kill(pid, SIGCONT);
  EXPECT_EQ(session(), before);
}

class OneOfTwo : public testing::Test {
 protected:
  OneOfTwo()
      : left(pod.add_remote_worker(a.spec("left"))), right(pod.add_remote_worker(b.spec("right"))) {
    pod.start();
  }
  Place ask(WorkerId worker) {
    return pod.run([&](Orchestrator& orch) {
      return orch.submit(functions.where_orch, {}, {.worker = worker}).result<Place>();
    });
  }

  RemoteHost a, b;
  Worker pod{{.level = 4}};
  const WorkerId left, right;
  Functions functions{pod};
};

/// Sockets of `pid` that wait for connections.
std::size_t listening_of(pid_t pid) {
  std::set<std::string> waiting;  // inodes
  for (const char* table : {"/net/tcp", "/net/tcp6"}) {
    std::ifstream rows("/proc/" + std::to_string(pid) + table);
    for (std::string row; std::getline(rows, row);) {
      std::istringstream words(row);
      std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
      constexpr std::size_t kState = 3, kInode = 9;
      if (fields.size() > kInode && fields[kState] == "0A") waiting.insert(fields[kInode]);
    }
  }
  std::size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code failed;
    const std::string target = std::filesystem::read_symlink(entry, failed).string();
    if (!target.starts_with("socket:[")) continue;
    const std::size_t from = target.find('[') + 1;
    count += waiting.count(target.substr(from, target.size() - from - 1));
  }
  return count;
}

TEST_F(OneOfTwo, ASessionListensForItsLanesAlone) {
  const pid_t session = ask(left).pid;
  EXPECT_EQ(listening_of(a.pid()), 1u);
  EXPECT_TRUE(eventually([&] { return listening_of(session) == 0; }));
  EXPECT_EQ(ask(left).pid, session) << "and its lanes go on";
}

TEST_F(OneOfTwo, AKilledSessionFailsItsTasksAndTheOtherGoesOn) {
  const pid_t session = ask(left).pid;
  echelon::Run run = pod.submit(
      [&](Orchestrator& orch) { orch.submit(functions.spin_below, {}, {.worker = left}); });
  ::kill(session, SIGKILL);
  const Error error = thrown<ChildLost>([&] { run.wait(); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("pod0/left"), HasSubstr("SIGKILL")));
  EXPECT_EQ(ask(right).text(), "pod0/right");
}

TEST_F(OneOfTwo, AKilledDaemonFailsTheTasksOfItsSessions) {
  const pid_t session = ask(left).pid;
  echelon::Run run = pod.submit(
      [&](Orchestrator& orch) { orch.submit(functions.spin_below, {}, {.worker = left}); });
  a.kill();
  const Error error = thrown<ChildLost>([&] { run.wait(); });
  EXPECT_THAT(error.what(), HasSubstr("pod0/left"));
  EXPECT_EQ(ask(right).text(), "pod0/right");
  EXPECT_TRUE(eventually([&] { return !alive(session); }));
}

TEST_F(OneOfTwo, ASessionThatStandsStillFailsItsTasks) {
  const pid_t session = ask(left).pid;
  echelon::Run run = pod.submit(
      [&](Orchestrator& orch) { orch.submit(functions.spin_below, {}, {.worker = left}); });
  ::kill(session, SIGSTOP);
  const Error error = thrown<ChildLost>([&] { run.wait(); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("pod0/left"), HasSubstr("has not been heard for")));
  EXPECT_TRUE(eventually([&] { return !alive(session); }));
  EXPECT_EQ(ask(right).text(), "pod0/right");
}

ECHELON_SUB("remote killed", [](Task&) { ::raise(SIGKILL); });
ECHELON_ORCH("remote killed below",
             [](Orchestrator& orch) { orch.submit(orch.find_sub("remote killed")); });

TEST_F(OneOfTwo, AKilledSubWorkerThereFailsItsTaskAndItsSessionGoesOn) {
  pod.register_sub("remote killed");
  const OrchHandle killed = pod.register_orch("remote killed below");
  const pid_t session = ask(left).pid;
  const Error error = thrown<ChildLost>(
      [&] { pod.run([&](Orchestrator& orch) { orch.submit(killed, {}, {.worker = left}); }); });
  EXPECT_THAT(error.path(), testing::MatchesRegex("pod0/left/sub[01]"));
  EXPECT_EQ(error.info().signal, SIGKILL);
  EXPECT_EQ(error.callable(), "remote killed");
  EXPECT_EQ(ask(left).pid, session);
  const Place other = pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.ask, {}, {.worker = left}).result<Place>();
  });
  EXPECT_NE(other.text(), error.path()) << "its sibling works on";
}

TEST_F(OneOfTwo, TensorsOfADeadSessionAreStale) {
  const Tensor tensor = pod.remote_tensor<float>(left, {4});
  ::kill(ask(left).pid, SIGKILL);
  EXPECT_TRUE(eventually([&] {
    try {
      std::vector<float> values(4);
      pod.copy_from(tensor, std::span(values));
    } catch (const StaleHandle&) {
      return true;
    } catch (const ChildLost&) {}
    return false;
  }));
}

/// A parent in a process of its own: says which sessions it has, then stays until it is killed.
pid_t fork_parent(const RemoteWorkerSpec& spec, std::array<pid_t, 2>& pids) {
  std::array<int, 2> say{};
  if (::pipe(say.data()) != 0) return -1;
  const pid_t parent = ::fork();
  if (parent == 0) {
    Worker pod({.level = 4});
    pod.add_remote_worker(spec);
    const Functions functions(pod);
    const std::array<pid_t, 2> found = pod.run([&](Orchestrator& orch) {
      return std::array<pid_t, 2>{orch.submit(functions.where_orch).result<Place>().pid,
                                  orch.submit(functions.ask).result<Place>().pid};
    });
    if (::write(say[1], found.data(), sizeof(found)) < 0) ::_exit(1);
    for (;;) ::pause();
  }
  ::close(say[1]);
  if (::read(say[0], pids.data(), sizeof(pids)) != sizeof(pids)) ADD_FAILURE() << "no parent";
  ::close(say[0]);
  return parent;
}

TEST(RemoteParent, OneThatIsKilledEndsItsSessions) {
  RemoteHost host;
  std::array<pid_t, 2> pids{};
  const pid_t parent = fork_parent(host.spec("far"), pids);
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  for (const pid_t pid : pids) EXPECT_TRUE(eventually([&] { return !alive(pid); })) << pid;
}

TEST(RemoteParent, OneThatIsSilentForTheLeaseLosesItsSessions) {
  RemoteHost host;
  RemoteWorkerSpec spec = host.spec("far");
  spec.lease = 1s;
  spec.health_deadline = 500ms;
  std::array<pid_t, 2> pids{};
  const pid_t parent = fork_parent(spec, pids);
  ::kill(parent, SIGSTOP);
  for (const pid_t pid : pids) EXPECT_TRUE(eventually([&] { return !alive(pid); })) << pid;
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
}

TEST_F(OneOfTwo, CloseEndsTheSessionsAndWhatIsBelowThem) {
  const pid_t session = ask(left).pid;
  const pid_t sub = pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.ask, {}, {.worker = left}).result<Place>().pid;
  });
  pod.close();
  EXPECT_FALSE(alive(session));
  EXPECT_FALSE(alive(sub));
  for (const RemoteHost* host : {&a, &b}) EXPECT_EQ(descendants_of(host->pid()).size(), 1u);
}

TEST_F(OneOfTwo, CloseEndsASessionThatIsBusy) {
  const pid_t session = ask(left).pid;
  echelon::Run run = pod.submit(
      [&](Orchestrator& orch) { orch.submit(functions.spin_below, {}, {.worker = left}); });
  pod.close();
  EXPECT_FALSE(alive(session));
  thrown<Cancelled>([&] { run.wait(); });
}

}  // namespace
}  // namespace echelon::remote_test
