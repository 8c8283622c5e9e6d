// SPDX-License-Identifier: Apache-2.0
//
// Lanes over a connection that goes bad, by a proxy of our own between the two ends.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "base/fd.h"
#include "remote/grpc/channel_options.h"
#include "remote/grpc/lane_connect.h"
#include "remote/grpc/lane_listener.h"
#include "remote/testing/lane_rig.h"

namespace echelon {
namespace {

enum class Fault { kNone, kCut, kCorrupt, kFreeze };

/// Passes one connection on to `target`, until it is told to misbehave.
class Proxy {
 public:
  explicit Proxy(const std::string& target)
      : target_port_(static_cast<std::uint16_t>(std::stoi(target.substr(target.rfind(':') + 1)))),
        listening_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listening_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listening_.get(), 1), 0);
    ::getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    address_ = fmt::format("127.0.0.1:{}", ntohs(address.sin_port));
    thread_ = std::thread([this] { run(); });
  }
  ~Proxy() {
    stop_.store(true);
    thread_.join();
  }
  const std::string& address() const { return address_; }
  void misbehave(Fault fault) { fault_.store(fault); }

 private:
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void run() {
    const UniqueFd here(::accept(listening_.get(), nullptr, nullptr));
    const UniqueFd there(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in target = loopback(target_port_);
    if (::connect(there.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
      return;
    }
    while (!stop_.load() && fault_.load() != Fault::kCut) {
      std::array<pollfd, 2> both = {pollfd{here.get(), POLLIN, 0}, pollfd{there.get(), POLLIN, 0}};
      constexpr int kLookMs = 20;
      ::poll(both.data(), both.size(), kLookMs);
      // Frozen: it neither takes nor gives, and says nothing of it.
      if (fault_.load() == Fault::kFreeze) {
        std::this_thread::sleep_for(std::chrono::milliseconds(kLookMs));
        continue;
      }
      if (both[0].revents != 0 && !pass(here, there)) break;
      if (both[1].revents != 0 && !pass(there, here)) break;
    }
  }

  bool pass(const UniqueFd& from, const UniqueFd& to) {
    std::array<char, 16384> bytes;
    const ssize_t count = ::recv(from.get(), bytes.data(), bytes.size(), 0);
    if (count <= 0) return false;
    if (fault_.load() == Fault::kCorrupt) {
      for (ssize_t i = 0; i < count; ++i) bytes[static_cast<std::size_t>(i)] ^= '\x5A';
    }
    return ::send(to.get(), bytes.data(), static_cast<std::size_t>(count), MSG_NOSIGNAL) == count;
  }

  const std::uint16_t target_port_;
  const UniqueFd listening_;
  std::string address_;
  std::atomic<Fault> fault_{Fault::kNone};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class GrpcFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    auto listener = listen_grpc_lanes(
        {.address = "127.0.0.1:0",
         .credentials = {},
         .token = "token",
         .silent_max = std::chrono::seconds(1),
         .options = [this](LaneRole role) { return session(role).options(); },
         .accept = [this](LaneRole role,
                          std::unique_ptr<Lane> lane) { session(role).take(std::move(lane)); }});
    ASSERT_TRUE(listener.ok()) << listener.status().to_string();
    listener_ = std::move(*listener);
    proxy_ = std::make_unique<Proxy>(listener_->address());
    connect(proxy_->address(), LaneRole::kTask);
    exchange(LaneRole::kTask);
  }

  void connect(const std::string& address, LaneRole role) {
    LaneConnect where;
    where.address = address;
    where.token = "token";
    where.role = role;
    auto lane = connect_grpc_lane(where, parent(role).options());
    ASSERT_TRUE(lane.ok()) << lane.status().to_string();
    parent(role).take(std::move(*lane));
    ASSERT_TRUE(session(role).await_lane());
  }

  void exchange(LaneRole role) {
    EXPECT_EQ(parent(role).send("ping"), LaneSend::kSent);
    ASSERT_TRUE(session(role).poll_until_messages(1));
    EXPECT_EQ(session(role).send("pong"), LaneSend::kSent);
    ASSERT_TRUE(parent(role).poll_until_messages(1));
  }

  void expect_both_down() {
    EXPECT_TRUE(parent(LaneRole::kTask).poll_until_down());
    EXPECT_TRUE(session(LaneRole::kTask).poll_until_down());
    EXPECT_EQ(parent(LaneRole::kTask).messages.size(), 1U);
    EXPECT_EQ(session(LaneRole::kTask).messages.size(), 1U);
    EXPECT_EQ(parent(LaneRole::kTask).send("late"), LaneSend::kDown);
    EXPECT_EQ(session(LaneRole::kTask).send("late"), LaneSend::kDown);
  }

  /// Another lane, not over the proxy.
  void expect_still_serving() {
    connect(listener_->address(), LaneRole::kHealth);
    exchange(LaneRole::kHealth);
  }

  LaneEnd& parent(LaneRole role) { return parents_[static_cast<std::size_t>(role) - 1]; }
  LaneEnd& session(LaneRole role) { return sessions_[static_cast<std::size_t>(role) - 1]; }

  std::array<LaneEnd, 3> parents_;
  std::array<LaneEnd, 3> sessions_;
  std::unique_ptr<LaneListener> listener_;
  std::unique_ptr<Proxy> proxy_;
};

TEST_F(GrpcFaultTest, AConnectionThatIsCutIsHeardOfAtBothEnds) {
  proxy_->misbehave(Fault::kCut);
  expect_both_down();
  EXPECT_EQ(parent(LaneRole::kTask).downs.at(0).code(), Code::kUnavailable);
  EXPECT_NE(parent(LaneRole::kTask).downs.at(0).info().message.find(proxy_->address()),
            std::string::npos);
  expect_still_serving();
}

TEST_F(GrpcFaultTest, BytesThatAreCorruptedOnTheWayEndTheLaneAndNothingElse) {
  proxy_->misbehave(Fault::kCorrupt);
  parent(LaneRole::kTask).send("this is not what arrives");
  expect_both_down();
  expect_still_serving();
}

TEST_F(GrpcFaultTest, AConnectionThatIsCutHalfIsNoticedThoughNothingIsSent) {
  proxy_->misbehave(Fault::kFreeze);
  expect_both_down();
  expect_still_serving();
}

TEST(KeepaliveTest, EndsNothingThatTheSessionsLimitsStillWaitFor) {
  using namespace std::chrono_literals;
  EXPECT_GE(keepalive_for(2s).patience, 2s);
  EXPECT_LE(keepalive_for(2s).patience, 10s) << "and what is cut half is noticed";
  for (const std::chrono::nanoseconds limit : {20s, 3600s, 86'400s}) {
    EXPECT_GE(keepalive_for(limit).patience, limit);
  }
}

}  // namespace
}  // namespace echelon
