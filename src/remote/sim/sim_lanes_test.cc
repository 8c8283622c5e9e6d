// SPDX-License-Identifier: Apache-2.0
#include "remote/sim/sim_lanes.h"

#include <gtest/gtest.h>

#include "remote/testing/lane_rig.h"

namespace echelon {
namespace {

class SimRig final : public LaneRig {
 public:
  void connect(LaneEnd& a, LaneEnd& b) override {
    SimLanes lanes = make_sim_lanes(a.options(), b.options());
    a.take(std::move(lanes.a));
    b.take(std::move(lanes.b));
  }
};

INSTANTIATE_TEST_SUITE_P(Sim, LaneConformanceTest,
                         testing::Values(LaneRigMaker{"InProcess",
                                                      [] { return std::make_unique<SimRig>(); }}),
                         lane_rig_name);

TEST(SimLanesTest, AMessageIsThereAsSoonAsItWasSent) {
  LaneEnd a;
  LaneEnd b;
  SimRig().connect(a, b);
  EXPECT_EQ(a.send("one"), LaneSend::kSent);
  EXPECT_TRUE(b.lane().has_news());
  EXPECT_EQ(b.rings(), 1U);
  EXPECT_EQ(b.poll(), 1U);
  EXPECT_EQ(b.messages, std::vector<std::string>{"one"});
  EXPECT_FALSE(b.lane().has_news());
}

}  // namespace
}  // namespace echelon
