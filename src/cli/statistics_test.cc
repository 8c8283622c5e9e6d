// SPDX-License-Identifier: Apache-2.0
#include "cli/statistics.h"

#include <gtest/gtest.h>

namespace echelon::cli {
namespace {

TEST(Statistics, MedianOfAnOddNumberIsTheMiddleOne) {
  EXPECT_EQ(median({9, 1, 5}), 5);
}

TEST(Statistics, MedianOfAnEvenNumberLiesBetweenTheTwoInTheMiddle) {
  EXPECT_EQ(median({1, 2, 4, 9}), 3);
}

TEST(Statistics, PercentilesReachBothEnds) {
  EXPECT_EQ(percentile({3, 1, 2}, 0), 1);
  EXPECT_EQ(percentile({3, 1, 2}, 100), 3);
}

TEST(Statistics, NoSamplesAreZero) {
  EXPECT_EQ(percentile({}, 99), 0);
}

TEST(Statistics, ALineIsFoundExactly) {
  const Point points[] = {{1, 7}, {4, 13}, {16, 37}, {1024, 2053}};
  const Line line = fit_line(points);
  EXPECT_NEAR(line.slope, 2, 1e-9);
  EXPECT_NEAR(line.intercept, 5, 1e-6);
}

TEST(Statistics, OnePointHasNoSlope) {
  const Point points[] = {{3, 8}};
  EXPECT_EQ(fit_line(points).slope, 0);
  EXPECT_EQ(fit_line(points).intercept, 8);
}

}  // namespace
}  // namespace echelon::cli
