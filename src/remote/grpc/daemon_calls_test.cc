// SPDX-License-Identifier: Apache-2.0
//
// A daemon in a process of its own, its sessions, and parents that call it: what each hears when
// another one dies. Each case is a process of its own, which forks before gRPC is used.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/syscall.h"
#include "remote/daemon.h"
#include "remote/grpc/control_client.h"
#include "remote/grpc/control_server.h"
#include "remote/grpc/lane_connect.h"
#include "remote/grpc/lane_listener.h"
#include "remote/testing/lane_rig.h"
#include "remote/testing/test_session.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

bool process_gone(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return true;
  const auto bracket = line.rfind(") ");
  return bracket != std::string::npos && (line[bracket + 2] == 'Z' || line[bracket + 2] == 'X');
}

bool until_gone(pid_t pid) {
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!process_gone(pid)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// A process that runs `main`, which says one line over a pipe, until it is killed.
class Process {
 public:
  explicit Process(const std::function<void(int say)>& main) {
    FdPair pipe = create_pipe().value();
    pid_ = ::fork();
    if (pid_ == 0) {
      main(pipe.second.get());
      for (;;) ::pause();
    }
    pipe.second.reset();
    line_ = std::move(pipe.first);
  }
  ~Process() { kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  std::string said() const {
    std::string text;
    for (char c = 0; ::read(line_.get(), &c, 1) == 1 && c != '\n';) text += c;
    return text;
  }
  void kill() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

 private:
  pid_t pid_ = 0;
  UniqueFd line_;
};

void say(int fd, const std::string& text) {
  const std::string line = text + "\n";
  [[maybe_unused]] const auto sent = ::write(fd, line.data(), line.size());
}

void run_daemon(int out, int log) {
  DaemonOptions options;
  options.host = "node7";
  options.rules.memory_bytes_max = 1 << 24;
  options.session_main = test_session_main;
  options.encode_manifest = test_manifest_bytes;
  options.log = log >= 0;
  options.stderr_fd = log >= 0 ? log : 2;
  static const auto daemon = Daemon::start(std::move(options)).value();
  static const auto server = serve_daemon_calls({"127.0.0.1:0", {}}, *daemon).value();
  say(out, server->address());
}

class Heard final : public SessionEvents {
 public:
  void on_phase(std::string_view phase) override { ticket.phase(phase); }
  void on_ready(const SessionReady& ready) override { ticket.ready(ready); }
  void on_ended(const Status& why) override { ticket.ended(why); }
  TestTicket ticket;
};

class DaemonCallsTest : public testing::Test {
 protected:
  DaemonCallsTest() : daemon_([](int out) { run_daemon(out, -1); }) {}
  std::unique_ptr<SessionCall> open(const std::string& what) {
    address_ = daemon_.said();
    return open_session_call({address_, {}}, test_manifest(what), heard_).value();
  }
  TestTicket& ticket() { return heard_.ticket; }
  pid_t session_pid() { return static_cast<pid_t>(ticket().said().pid); }

  Process daemon_;
  Heard heard_;
  std::string address_;
};

TEST_F(DaemonCallsTest, ASessionIsReadyWithAllThatIsKnownOfIt) {
  const auto call = open("ready");
  ASSERT_TRUE(ticket().until_ready()) << ticket().why().to_string();
  const SessionReady ready = ticket().said();
  EXPECT_EQ(ready.host, "node7");
  EXPECT_EQ(ready.token, kTestToken);
  EXPECT_EQ(ready.address, "127.0.0.1:4711");
  EXPECT_FALSE(process_gone(session_pid()));
}

TEST_F(DaemonCallsTest, AFailedStartIsTheParentsErrorWhole) {
  const auto call = open("fail");
  ASSERT_TRUE(ticket().until_ended());
  const ErrorInfo why = ticket().why().info();
  EXPECT_EQ(why.message, "chip0: there is no device 9");
  EXPECT_EQ(why.reason, Reason::kDriver);
  EXPECT_EQ(why.path, "pod0/fail");
  EXPECT_EQ(why.host, "node7");
  ASSERT_EQ(why.others.size(), 1u);
  EXPECT_EQ(why.others[0].message, "and so did chip1");
}

TEST_F(DaemonCallsTest, ASessionThatIsKilledIsHeardOf) {
  const auto call = open("ready");
  ASSERT_TRUE(ticket().until_ready());
  ASSERT_EQ(::kill(session_pid(), SIGKILL), 0);
  ASSERT_TRUE(ticket().until_ended());
  EXPECT_EQ(ticket().why().info().signal, SIGKILL);
  EXPECT_EQ(ticket().why().info().pid, session_pid());
}

TEST_F(DaemonCallsTest, ADaemonThatIsKilledIsHeardOfAndItsSessionsAreGone) {
  const auto call = open("ready");
  ASSERT_TRUE(ticket().until_ready());
  daemon_.kill();
  ASSERT_TRUE(ticket().until_ended());
  const ErrorInfo why = ticket().why().info();
  EXPECT_EQ(why.code, Code::kUnavailable);
  EXPECT_EQ(why.cause, Cause::kPeerLost);
  EXPECT_EQ(why.path, "pod0/ready");
  EXPECT_THAT(why.message, HasSubstr("the daemon at " + address_ + " is lost"));
  EXPECT_TRUE(until_gone(session_pid()));
}

TEST_F(DaemonCallsTest, AParentThatIsKilledTakesItsSessionWithIt) {
  const std::string address = daemon_.said();
  Process parent([&](int out) {
    static Heard heard;
    static const auto call =
        open_session_call({address, {}}, test_manifest("ready"), heard).value();
    say(out, heard.ticket.until_ready() ? std::to_string(heard.ticket.said().pid) : "0");
  });
  const pid_t session = std::stoi(parent.said());
  ASSERT_GT(session, 0);
  ASSERT_FALSE(process_gone(session));
  parent.kill();
  EXPECT_TRUE(until_gone(session));
}

// --- last words ----------------------------------------------------------------------------------

TEST(LastWordsTest, AreHeardFromAProcessThatEndsAsSoonAsItsLaneHasClosed) {
  Process session([](int out) {
    LaneEnd end;
    const auto listener =
        listen_grpc_lanes(
            {.address = "127.0.0.1:0",
             .credentials = {},
             .token = "token",
             .options = [&](LaneRole) { return end.options(); },
             .accept = [&](LaneRole, std::unique_ptr<Lane> lane) { end.take(std::move(lane)); }})
            .value();
    say(out, listener->address());
    end.await_lane();
    // Much before them: it takes more than one write.
    for (int i = 0; i < 6; ++i) end.send(std::string(1 << 20, 'x'));
    end.lane().close(
        Status::error(Code::kUnavailable, Reason::kCancelled, "the session has ended"));
    while (end.lane().is_closing()) std::this_thread::sleep_for(1ms);
    ::_exit(0);
  });
  LaneEnd here;
  here.take(connect_grpc_lane({.address = session.said(), .credentials = {}, .token = "token"},
                              here.options())
                .value());
  ASSERT_TRUE(here.poll_until_down());
  EXPECT_EQ(here.messages.size(), 6u);
  EXPECT_THAT(here.downs.at(0).info().message, HasSubstr("the session has ended"));
}

// --- descriptors ---------------------------------------------------------------------------------

constexpr rlim_t kFewDescriptors = 96;

/// One that may have few descriptors, and whose log comes after its address.
void run_poor_daemon(int out) {
  const rlimit few = {kFewDescriptors, kFewDescriptors};
  ::setrlimit(RLIMIT_NOFILE, &few);
  run_daemon(out, out);
}

UniqueFd connect_to(const std::string& address) {
  UniqueFd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  EXPECT_EQ(::connect(made.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  return made;
}

/// Whether the other end closes it, within 20 s.
bool is_closed(const UniqueFd& connection) {
  constexpr timeval kPatience = {20, 0};
  ::setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  std::array<char, 4096> heard;
  ssize_t count = 0;
  while ((count = ::recv(connection.get(), heard.data(), heard.size(), 0)) > 0) {}
  return count == 0 || errno == ECONNRESET;
}

/// Until it has heard that the others are gone, it refuses.
bool until_served(const std::string& address) {
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (std::chrono::steady_clock::now() < end) {
    Heard heard;
    const auto call = open_session_call({address, {}}, test_manifest("ready"), heard).value();
    while (heard.ticket.ends() == 0 && heard.ticket.said().session == 0) {
      std::this_thread::sleep_for(1ms);
    }
    if (heard.ticket.said().session != 0) return true;
  }
  return false;
}

TEST(DaemonDescriptorsTest, MoreConnectionsThanItHasDescriptorsAreRefusedAndItServesOn) {
  Process daemon(run_poor_daemon);
  const std::string address = daemon.said();
  std::vector<UniqueFd> many;
  for (rlim_t i = 0; i < 3 * kFewDescriptors; ++i) many.push_back(connect_to(address));
  EXPECT_TRUE(is_closed(many.back()));
  EXPECT_THAT(daemon.said(), AllOf(HasSubstr("connections are refused"), HasSubstr("ulimit -n")));
  many.clear();
  EXPECT_TRUE(until_served(address));
}

}  // namespace
}  // namespace echelon
