// SPDX-License-Identifier: Apache-2.0
//
// Who may come in as a session's peer: one lane for each token that its parent gave out for the
// pair, once, and soon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "remote/grpc/lane_connect.h"
#include "remote/grpc/lane_listener.h"
#include "remote/grpc/test_keys.h"

namespace echelon {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr std::chrono::hours kLong{1};

class PeerTokenTest : public testing::Test {
 protected:
  void listen(const Credentials& credentials = {}) {
    LaneListen where;
    where.address = "127.0.0.1:0";
    where.credentials = credentials;
    where.token = "the-sessions";
    where.options = [](LaneRole) { return LaneOptions{}; };
    where.accept = [this](LaneRole role, std::unique_ptr<Lane>) {
      const std::lock_guard lock(mutex);
      others.push_back(role);
    };
    where.accept_peer = [this](std::uint64_t link, std::unique_ptr<Lane>) {
      const std::lock_guard lock(mutex);
      links.push_back(link);
    };
    listener = listen_grpc_lanes(std::move(where)).value();
  }
  Status connect(const std::string& token, LaneRole role = LaneRole::kPeer,
                 const Credentials& credentials = {}) {
    LaneConnect where;
    where.address = listener->address();
    where.credentials = credentials;
    where.token = token;
    where.role = role;
    auto lane = connect_grpc_lane(where, {});
    return lane.ok() ? Status() : lane.status();
  }
  /// Waits for as many to be let in.
  std::vector<std::uint64_t> let_in(std::size_t count) {
    for (;;) {
      {
        const std::lock_guard lock(mutex);
        if (links.size() >= count) return links;
      }
      std::this_thread::yield();
    }
  }

  std::mutex mutex;
  std::vector<std::uint64_t> links;
  std::vector<LaneRole> others;
  std::unique_ptr<LaneListener> listener;
};

TEST_F(PeerTokenTest, LetsItsPeerInWithItsLink) {
  listen();
  ASSERT_TRUE(listener->expect_peer("pair", 7, kLong).ok());
  ASSERT_TRUE(listener->expect_peer("another", 8, kLong).ok());
  EXPECT_EQ(connect("another").to_string(), Status().to_string());
  EXPECT_EQ(connect("pair").to_string(), Status().to_string());
  EXPECT_THAT(let_in(2), UnorderedElementsAre(7, 8));
}

TEST_F(PeerTokenTest, AWrongOneIsRefused) {
  listen();
  ASSERT_TRUE(listener->expect_peer("pair", 7, kLong).ok());
  EXPECT_THAT(connect("pare").info().message, HasSubstr("does not know this token"));
  EXPECT_TRUE(connect("pair").ok());
}

TEST_F(PeerTokenTest, OneThatWasUsedIsRefused) {
  listen();
  ASSERT_TRUE(listener->expect_peer("pair", 7, kLong).ok());
  EXPECT_TRUE(connect("pair").ok());
  EXPECT_THAT(connect("pair").info().message, HasSubstr("the token was used already"));
}

TEST_F(PeerTokenTest, OneThatHasExpiredIsRefused) {
  listen();
  ASSERT_TRUE(listener->expect_peer("pair", 7, std::chrono::nanoseconds(1)).ok());
  EXPECT_THAT(connect("pair").info().message, HasSubstr("the token has expired"));
}

TEST_F(PeerTokenTest, ItOpensNoOtherLane) {
  listen();
  ASSERT_TRUE(listener->expect_peer("pair", 7, kLong).ok());
  for (const LaneRole role : kLaneConnectOrder) {
    EXPECT_THAT(connect("pair", role).info().message, HasSubstr("does not know this token"));
  }
  EXPECT_THAT(others, IsEmpty());
}

TEST_F(PeerTokenTest, TheSessionsOwnOpensNoPeersLane) {
  listen();
  EXPECT_THAT(connect("the-sessions").info().message, HasSubstr("does not know this token"));
}

TEST_F(PeerTokenTest, OneThatIsNoneIsRefusedWhereItIsAnnounced) {
  listen();
  EXPECT_EQ(listener->expect_peer("", 7, kLong).reason(), Reason::kBadArgument);
}

TEST_F(PeerTokenTest, APeerNeedsACertificateAsEverybodyDoes) {
  TestKeys keys;
  const Credentials certified{keys.issue({}), false};
  listen(certified);
  ASSERT_TRUE(listener->expect_peer("pair", 7, kLong).ok());
  EXPECT_FALSE(connect("pair").ok());
  EXPECT_TRUE(connect("pair", LaneRole::kPeer, certified).ok());
}

}  // namespace
}  // namespace echelon
