// SPDX-License-Identifier: Apache-2.0
//
// A daemon and real session processes, without a transport. Each case is a process of its own whose
// fork precedes any thread.
#include "remote/daemon.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/syscall.h"
#include "process/sanitizers.h"
#include "remote/testing/test_session.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;

constexpr std::uint64_t kMiB = 1 << 20;

DaemonOptions test_options() {
  DaemonOptions options;
  options.host = "node7";
  options.rules.sessions_max = 2;
  options.rules.memory_bytes_max = 4 * kMiB;
  options.session_main = test_session_main;
  options.encode_manifest = test_manifest_bytes;
  return options;
}

bool process_gone(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return true;
  const auto bracket = line.rfind(") ");
  return bracket != std::string::npos && (line[bracket + 2] == 'Z' || line[bracket + 2] == 'X');
}

template <class Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

class DaemonTest : public testing::Test {
 protected:
  explicit DaemonTest(DaemonOptions options = test_options())
      : daemon_(Daemon::start(std::move(options)).value()) {}

  std::shared_ptr<TestTicket> open(const SessionManifest& manifest, std::uint64_t call = 1) {
    auto ticket = std::make_shared<TestTicket>();
    const Status opened = daemon_->open_session(call, manifest, ticket);
    EXPECT_TRUE(opened.ok()) << opened.to_string();
    return ticket;
  }
  Status refusal(const SessionManifest& manifest) {
    return daemon_->open_session(99, manifest, std::make_shared<TestTicket>());
  }
  /// Its memory and its place are free again.
  bool until_forgotten() {
    return eventually([this] { return daemon_->session_count() == 0; });
  }

  std::unique_ptr<Daemon> daemon_;
};

TEST_F(DaemonTest, ASessionIsReadyWithWhatItSaidAndWhatTheDaemonKnows) {
  const auto ticket = open(test_manifest("ready"));
  ASSERT_TRUE(ticket->until_ready());
  const SessionReady ready = ticket->said();
  EXPECT_EQ(ready.session, 1u);
  EXPECT_EQ(ready.address, "127.0.0.1:4711");
  EXPECT_EQ(ready.token, kTestToken);
  EXPECT_EQ(ready.pool, Uid{77});
  EXPECT_EQ(ready.host, "node7");
  EXPECT_EQ(ready.memory_bytes_max, kMiB);
  EXPECT_FALSE(process_gone(static_cast<pid_t>(ready.pid)));
}

TEST_F(DaemonTest, AFailedStartIsToldInItsOwnWordsWhole) {
  const auto ticket = open(test_manifest("fail"));
  ASSERT_TRUE(ticket->until_ended());
  const ErrorInfo why = ticket->why().info();
  EXPECT_EQ(why.code, Code::kNotFound);
  EXPECT_EQ(why.reason, Reason::kDriver);
  EXPECT_EQ(why.message, "chip0: there is no device 9");
  EXPECT_EQ(why.path, "pod0/fail");
  EXPECT_EQ(why.host, "node7");
  EXPECT_GT(why.pid, 0);
  ASSERT_EQ(why.others.size(), 1u);
  EXPECT_EQ(why.others[0].message, "and so did chip1");
  EXPECT_TRUE(until_forgotten());
}

TEST_F(DaemonTest, ACrashAtStartNamesTheSignal) {
  if (kSanitized) GTEST_SKIP() << "the signal is the sanitizer's own";
  const auto ticket = open(test_manifest("crash"));
  ASSERT_TRUE(ticket->until_ended());
  const ErrorInfo why = ticket->why().info();
  EXPECT_EQ(why.cause, Cause::kSignal);
  EXPECT_EQ(why.signal, SIGSEGV);
  EXPECT_EQ(why.path, "pod0/crash");
  EXPECT_THAT(why.message, HasSubstr("SIGSEGV"));
  EXPECT_THAT(why.traceback, HasSubstr("#0")) << "its last words";
}

TEST_F(DaemonTest, AnExitAtStartNamesTheCodeAndWhatItWroteLast) {
  const auto ticket = open(test_manifest("exit"));
  ASSERT_TRUE(ticket->until_ended());
  const ErrorInfo why = ticket->why().info();
  EXPECT_EQ(why.cause, Cause::kExit);
  EXPECT_EQ(why.exit_code, 3);
  EXPECT_THAT(why.message, HasSubstr("a word before the end"));
}

TEST_F(DaemonTest, AHangAtStartEndsAtTheDeadlineWithItsPhase) {
  SessionManifest manifest = test_manifest("hang");
  manifest.start_deadline = 200ms;
  const auto ticket = open(manifest);
  ASSERT_TRUE(ticket->until_ended());
  EXPECT_THAT(ticket->phases(), Contains("opening device"));
  const ErrorInfo why = ticket->why().info();
  EXPECT_EQ(why.code, Code::kDeadlineExceeded);
  EXPECT_EQ(why.reason, Reason::kStartFailed);
  EXPECT_EQ(why.host, "node7");
  EXPECT_THAT(why.message, HasSubstr("pod0/hang not ready after 0.2 s: phase opening device"));
  EXPECT_TRUE(process_gone(static_cast<pid_t>(why.pid))) << "told when nothing of it is left";
}

TEST_F(DaemonTest, OneThatIsReadyWithoutSayingWhereIsEnded) {
  const auto ticket = open(test_manifest("mute"));
  ASSERT_TRUE(ticket->until_ended());
  EXPECT_EQ(ticket->why().reason(), Reason::kBadFrame);
  EXPECT_THAT(ticket->why().info().message, HasSubstr("did not say where its lanes listen"));
}

TEST_F(DaemonTest, OneThatFailsWithoutAWordIsEnded) {
  const auto ticket = open(test_manifest("sulk"));
  ASSERT_TRUE(ticket->until_ended());
  EXPECT_FALSE(ticket->why().ok());
  EXPECT_EQ(ticket->why().info().path, "pod0/sulk");
  EXPECT_TRUE(until_forgotten());
  EXPECT_TRUE(open(test_manifest("ready"))->until_ready()) << "and the daemon serves on";
}

TEST_F(DaemonTest, TheDeathOfAReadySessionIsTold) {
  const auto ticket = open(test_manifest("ready"));
  ASSERT_TRUE(ticket->until_ready());
  ASSERT_EQ(::kill(static_cast<pid_t>(ticket->said().pid), SIGKILL), 0);
  ASSERT_TRUE(ticket->until_ended());
  const ErrorInfo why = ticket->why().info();
  EXPECT_EQ(why.reason, Reason::kChildDied);
  EXPECT_EQ(why.cause, Cause::kSignal);
  EXPECT_EQ(why.signal, SIGKILL);
  EXPECT_EQ(why.pid, ticket->said().pid);
  EXPECT_EQ(why.host, "node7");
  EXPECT_TRUE(until_forgotten());
  EXPECT_EQ(ticket->ends(), 1);
}

TEST_F(DaemonTest, ASessionThatStopsAnsweringIsEnded) {
  SessionManifest manifest = test_manifest("ready");
  manifest.unresponsive_after = 200ms;
  const auto ticket = open(manifest);
  ASSERT_TRUE(ticket->until_ready());
  ASSERT_EQ(::kill(static_cast<pid_t>(ticket->said().pid), SIGSTOP), 0);
  ASSERT_TRUE(ticket->until_ended());
  EXPECT_EQ(ticket->why().reason(), Reason::kUnresponsive);
  EXPECT_TRUE(until_forgotten());
}

TEST_F(DaemonTest, WhenItsParentIsGoneASessionEnds) {
  const auto ticket = open(test_manifest("ready"));
  ASSERT_TRUE(ticket->until_ready());
  daemon_->close_session(1, "its parent is gone");
  ASSERT_TRUE(ticket->until_ended());
  EXPECT_EQ(ticket->why().code(), Code::kCancelled);
  EXPECT_THAT(ticket->why().info().message, HasSubstr("its parent is gone"));
  EXPECT_TRUE(process_gone(static_cast<pid_t>(ticket->said().pid)));
  EXPECT_TRUE(until_forgotten());
}

TEST_F(DaemonTest, OneThatDoesNotEndIsKilledWithAllItMade) {
  const auto ticket = open(test_manifest("stubborn"));
  ASSERT_TRUE(ticket->until_ready());
  daemon_->close_session(1, "enough");
  ASSERT_TRUE(ticket->until_ended());
  EXPECT_THAT(ticket->why().info().message, HasSubstr("enough"));
  EXPECT_TRUE(process_gone(static_cast<pid_t>(ticket->said().pid)));
}

TEST_F(DaemonTest, ASessionThatIsStillStartingEndsWithItsParent) {
  const auto ticket = open(test_manifest("hang"));
  ASSERT_TRUE(ticket->until_phase("opening device"));
  daemon_->close_session(1, "its parent is gone");
  ASSERT_TRUE(ticket->until_ended());
  EXPECT_EQ(ticket->why().code(), Code::kCancelled);
  EXPECT_TRUE(until_forgotten());
}

TEST_F(DaemonTest, BeyondTheLimitIsRefusedAndServedAgainWhenOneEnds) {
  const auto first = open(test_manifest("ready"), 1);
  const auto second = open(test_manifest("ready"), 2);
  const Status why = refusal(test_manifest("ready"));
  EXPECT_EQ(why.reason(), Reason::kExhausted);
  EXPECT_EQ(why.info().host, "node7");
  EXPECT_THAT(why.info().message, HasSubstr("2 are allowed"));
  ASSERT_TRUE(first->until_ready());
  daemon_->close_session(1, "done");
  ASSERT_TRUE(first->until_ended());
  ASSERT_TRUE(eventually([this] { return daemon_->session_count() == 1; }));
  EXPECT_TRUE(open(test_manifest("ready"), 3)->until_ready());
}

TEST_F(DaemonTest, MemoryBeyondWhatIsLeftIsRefusedWithTheSizes) {
  SessionManifest large = test_manifest("ready");
  large.memory_bytes_max = 3 * kMiB;
  const auto first = open(large);
  SessionManifest second = test_manifest("ready");
  second.memory_bytes_max = 2 * kMiB;
  const Status why = refusal(second);
  EXPECT_EQ(why.reason(), Reason::kExhausted);
  EXPECT_THAT(why.info().message, HasSubstr("2097152 bytes"));
  EXPECT_THAT(why.info().message, HasSubstr("1048576 of this daemon's 4194304"));
}

TEST_F(DaemonTest, AnotherProtocolVersionIsRefused) {
  SessionManifest newer = test_manifest("ready");
  newer.protocol_major = 2;
  const Status why = refusal(newer);
  EXPECT_EQ(why.code(), Code::kUnimplemented);
  EXPECT_THAT(why.info().message, HasSubstr("2.0"));
  EXPECT_THAT(why.info().message, HasSubstr("1.0"));
}

TEST_F(DaemonTest, ClosingEndsEverySessionAndRefusesMore) {
  const auto first = open(test_manifest("ready"), 1);
  const auto second = open(test_manifest("orphans"), 2);
  ASSERT_TRUE(first->until_ready());
  ASSERT_TRUE(second->until_ready());
  daemon_->close(Status::error(Code::kUnavailable, Reason::kCancelled, "SIGTERM"));
  EXPECT_EQ(first->ends(), 1);
  EXPECT_EQ(second->ends(), 1);
  EXPECT_EQ(first->why().info().message, "SIGTERM");
  EXPECT_TRUE(process_gone(static_cast<pid_t>(first->said().pid)));
  EXPECT_FALSE(daemon_->serving());
  EXPECT_FALSE(refusal(test_manifest("ready")).ok());
}

TEST_F(DaemonTest, ALostSpawnerEndsItsSessionsAndRefusesMore) {
  const auto ticket = open(test_manifest("ready"));
  ASSERT_TRUE(ticket->until_ready());
  ASSERT_EQ(::kill(daemon_->spawner_pid(), SIGKILL), 0);
  ASSERT_TRUE(ticket->until_ended());
  EXPECT_EQ(ticket->why().reason(), Reason::kSpawnerLost);
  EXPECT_TRUE(eventually([&] { return process_gone(static_cast<pid_t>(ticket->said().pid)); }));
  EXPECT_TRUE(eventually([this] { return !daemon_->serving(); }));
  EXPECT_EQ(refusal(test_manifest("ready")).reason(), Reason::kSpawnerLost);
}

class ManySessionsTest : public DaemonTest {
 protected:
  // More than one futex_waitv can watch.
  static constexpr std::uint32_t kSessions = 140;
  static DaemonOptions options() {
    DaemonOptions many = test_options();
    many.rules.sessions_max = kSessions;
    many.rules.memory_bytes_max = kSessions * kMiB;
    return many;
  }
  ManySessionsTest() : DaemonTest(options()) {}
};

TEST_F(ManySessionsTest, StartSideBySideAndEachDeathIsHeardOf) {
  std::vector<std::shared_ptr<TestTicket>> tickets;
  for (std::uint64_t call = 1; call <= kSessions; ++call) {
    tickets.push_back(open(test_manifest("ready"), call));
  }
  for (const auto& ticket : tickets) ASSERT_TRUE(ticket->until_ready());
  for (const auto& ticket : {tickets.front(), tickets.back()}) {
    ASSERT_EQ(::kill(static_cast<pid_t>(ticket->said().pid), SIGKILL), 0);
    ASSERT_TRUE(ticket->until_ended());
    EXPECT_EQ(ticket->why().info().signal, SIGKILL);
  }
  EXPECT_TRUE(eventually([this] { return daemon_->session_count() == kSessions - 2; }));
  daemon_->close(Status::error(Code::kUnavailable, Reason::kCancelled, "enough"));
  for (const auto& ticket : tickets) EXPECT_EQ(ticket->ends(), 1);
}

TEST(DaemonOutputTest, WhatSessionsPrintIsMarkedAndTheLogSaysWhatHappened) {
  FdPair out = create_pipe().value();
  FdPair err = create_pipe().value();
  DaemonOptions options = test_options();
  options.stdout_fd = out.second.get();
  options.stderr_fd = err.second.get();
  options.log = true;
  auto daemon = Daemon::start(std::move(options)).value();
  const auto ticket = std::make_shared<TestTicket>();
  ASSERT_TRUE(daemon->open_session(1, test_manifest("print"), ticket).ok());
  ASSERT_TRUE(ticket->until_ready());
  daemon.reset();
  out.second.reset();
  err.second.reset();
  const auto read_all = [](int fd) {
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t got; (got = ::read(fd, part.data(), part.size())) > 0;) {
      text.append(part.data(), static_cast<std::size_t>(got));
    }
    return text;
  };
  EXPECT_EQ(read_all(out.first.get()), "[pod0/print] one line\n[pod0/print] another\n");
  const std::string log = read_all(err.first.get());
  EXPECT_THAT(log, HasSubstr("Z echelon daemon: session 1 (pod0/print) opened: level 3"));
  EXPECT_THAT(log, HasSubstr("session 1 (pod0/print) ready: pid"));
  EXPECT_THAT(log, HasSubstr("session 1 (pod0/print) ended:"));
}

TEST(DaemonDeathTest, SessionsAndWhatTheyMadeEndWithTheirDaemon) {
  FdPair pids = create_pipe().value();
  FdPair life = create_pipe().value();
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    life.first.reset();
    // Not marked as ours, so that every process of the tree keeps it.
    static_cast<void>(life.second.release());
    auto made = Daemon::start(test_options()).value();
    const auto ticket = std::make_shared<TestTicket>();
    const bool ready =
        made->open_session(1, test_manifest("orphans"), ticket).ok() && ticket->until_ready();
    const char word = ready ? 'r' : 'f';
    [[maybe_unused]] const auto sent = ::write(pids.second.get(), &word, 1);
    for (;;) ::pause();
  }
  pids.second.reset();
  life.second.reset();
  char word = 0;
  ASSERT_EQ(::read(pids.first.get(), &word, 1), 1);
  ASSERT_EQ(word, 'r');
  ASSERT_EQ(::kill(daemon, SIGKILL), 0);
  ::waitpid(daemon, nullptr, 0);
  EXPECT_EQ(::read(life.first.get(), &word, 1), 0) << "the last process of its tree has ended";
}

}  // namespace
}  // namespace echelon
