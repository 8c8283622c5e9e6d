// SPDX-License-Identifier: Apache-2.0
#include "cli/floor.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cerrno>

namespace echelon::cli {
namespace {

TEST(FloorMeter, RoundsGiveTimesAboveZero) {
  FloorMeter meter;
  meter.round(5);
  meter.round(5);
  EXPECT_GT(meter.p50(), 0);
  EXPECT_GE(meter.p99(), meter.p50());
}

TEST(FloorMeter, BeforeARoundThereIsNoFigure) {
  FloorMeter meter;
  EXPECT_EQ(meter.p50(), 0);
}

TEST(FloorMeter, LeavesNoProcess) {
  { FloorMeter meter; }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace echelon::cli
