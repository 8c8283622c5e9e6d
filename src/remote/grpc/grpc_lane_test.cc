// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "remote/grpc/lane_connect.h"
#include "remote/grpc/lane_listener.h"
#include "remote/grpc/test_keys.h"
#include "remote/testing/lane_rig.h"

namespace echelon {
namespace {

class GrpcRig final : public LaneRig {
 public:
  explicit GrpcRig(bool tls) {
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
    auto lane = connect_grpc_lane(
        {.address = listener_->address(), .credentials = credentials_, .token = "token"},
        b.options());
    ASSERT_TRUE(lane.ok()) << lane.status().to_string();
    b.take(std::move(*lane));
    ASSERT_TRUE(a.await_lane());
  }

 private:
  TestKeys keys_;
  Credentials credentials_;
  std::unique_ptr<LaneListener> listener_;
};

INSTANTIATE_TEST_SUITE_P(
    Grpc, LaneConformanceTest,
    testing::Values(LaneRigMaker{"Plain", [] { return std::make_unique<GrpcRig>(false); }},
                    LaneRigMaker{"Tls", [] { return std::make_unique<GrpcRig>(true); }}),
    lane_rig_name);

}  // namespace
}  // namespace echelon
