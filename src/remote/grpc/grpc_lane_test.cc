// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "remote/grpc/lane_connect.h"
#include "remote/grpc/lane_listener.h"
#include "remote/grpc/test_keys.h"
#include "remote/testing/lane_rig.h"

namespace echelon {
namespace {

class GrpcRig final : public LaneRig {
 public:
  explicit GrpcRig(bool tls, LaneRole role = LaneRole::kTask) : role_(role) {
    if (tls) credentials_.tls_dir = keys_.issue({});
  }

  void connect(LaneEnd& a, LaneEnd& b) override {
    auto listener = listen_grpc_lanes(
        {.address = "127.0.0.1:0",
         .credentials = credentials_,
         .token = "token",
         .options = [&a](LaneRole) { return a.options(); },
         .accept = [&a](LaneRole, std::unique_ptr<Lane> lane) { a.take(std::move(lane)); }});
    ASSERT_TRUE(listener.ok()) << listener.status().to_string();
    listener_ = std::move(*listener);
    LaneConnect where;
    where.address = listener_->address();
    where.role = role_;
    where.credentials = credentials_;
    where.token = "token";
    auto lane = connect_grpc_lane(where, b.options());
    ASSERT_TRUE(lane.ok()) << lane.status().to_string();
    b.take(std::move(*lane));
    ASSERT_TRUE(a.await_lane());
  }

 private:
  const LaneRole role_;
  TestKeys keys_;
  Credentials credentials_;
  std::unique_ptr<LaneListener> listener_;
};

INSTANTIATE_TEST_SUITE_P(
    Grpc, LaneConformanceTest,
    testing::Values(LaneRigMaker{"Plain", [] { return std::make_unique<GrpcRig>(false); }},
                    LaneRigMaker{"Tls", [] { return std::make_unique<GrpcRig>(true); }}),
    lane_rig_name);

// --- several lanes of one process ----------------------------------------------------------------

struct Pair {
  explicit Pair(LaneRole role) : rig(false, role) { rig.connect(there, here); }
  GrpcRig rig;
  LaneEnd there, here;  // who listened, who connected
};

TEST(GrpcLanesTest, MoreLanesThanQueuesAreServedInTurn) {
  constexpr std::size_t kLanes = 20;
  std::vector<std::unique_ptr<Pair>> pairs;
  for (std::size_t i = 0; i < kLanes; ++i) {
    pairs.push_back(std::make_unique<Pair>(LaneRole::kTask));
    if (HasFatalFailure()) return;
    EXPECT_EQ(pairs.back()->there.send(std::to_string(i)), LaneSend::kSent);
  }
  const auto deadline = std::chrono::steady_clock::now() + kLaneTestPatience;
  std::size_t served = 0;
  while (served < kLanes && std::chrono::steady_clock::now() < deadline) {
    for (const auto& pair : pairs) served += pair->here.poll();
  }
  ASSERT_EQ(served, kLanes);
  for (std::size_t i = 0; i < kLanes; ++i) {
    EXPECT_EQ(pairs[i]->here.messages, std::vector{std::to_string(i)});
  }
}

TEST(GrpcLanesTest, WhoPollsALaneRingsForThoseBesideIt) {
  // Lanes of data share a queue.
  Pair polled(LaneRole::kData);
  Pair beside(LaneRole::kData);
  if (HasFatalFailure()) return;
  const std::size_t before = beside.here.rings();
  EXPECT_EQ(beside.there.send("hello"), LaneSend::kSent);
  const auto deadline = std::chrono::steady_clock::now() + kLaneTestPatience;
  while (beside.here.rings() == before && std::chrono::steady_clock::now() < deadline) {
    polled.here.poll();
  }
  EXPECT_GT(beside.here.rings(), before);
  EXPECT_TRUE(beside.here.poll_until_messages(1));
}

}  // namespace
}  // namespace echelon
