// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <memory>

#include "remote/testing/lane_rig.h"
#include "remote/ucx/ucx_connect.h"
#include "remote/ucx/ucx_listener.h"

namespace echelon {
namespace {

class UcxRig final : public LaneRig {
 public:
  void connect(LaneEnd& a, LaneEnd& b) override {
    auto listener = listen_ucx_lanes(
        {.address = "127.0.0.1:0",
         .credentials = {},
         .token = "token",
         .options = [&a](LaneRole) { return a.options(); },
         .accept = [&a](LaneRole, std::unique_ptr<Lane> lane) { a.take(std::move(lane)); }});
    ASSERT_TRUE(listener.ok()) << listener.status().to_string();
    listener_ = std::move(*listener);
    auto lane = connect_ucx_lane(
        {.address = listener_->address(), .credentials = {}, .token = "token"}, b.options());
    ASSERT_TRUE(lane.ok()) << lane.status().to_string();
    b.take(std::move(*lane));
    ASSERT_TRUE(a.await_lane());
  }

 private:
  std::unique_ptr<LaneListener> listener_;
};

INSTANTIATE_TEST_SUITE_P(Ucx, LaneConformanceTest,
                         testing::Values(LaneRigMaker{"Tcp",
                                                      [] { return std::make_unique<UcxRig>(); }}),
                         lane_rig_name);

}  // namespace
}  // namespace echelon
