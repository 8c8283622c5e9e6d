// SPDX-License-Identifier: Apache-2.0
#include "random.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon::digits {
namespace {

TEST(Random, IsSplitMix64) {
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317u);
  EXPECT_EQ(random.next(), 3203168211198807973u);
}

TEST(Random, BelowStaysBelow) {
  Random random(1);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(random.below(7), 7u);
}

TEST(Random, SymmetricStaysInItsRange) {
  Random random(1);
  for (int i = 0; i < 1000; ++i) {
    const float value = random.symmetric();
    EXPECT_GE(value, -1.0f);
    EXPECT_LT(value, 1.0f);
  }
}

TEST(Permutation, HoldsEachNumberOnce) {
  std::vector<std::int32_t> order = permutation(100, 1, 2);
  std::sort(order.begin(), order.end());
  for (std::int32_t i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(Permutation, DependsOnSeedAndStream) {
  EXPECT_EQ(permutation(50, 1, 2), permutation(50, 1, 2));
  EXPECT_NE(permutation(50, 1, 2), permutation(50, 1, 3));
  EXPECT_NE(permutation(50, 1, 2), permutation(50, 2, 2));
}

}  // namespace
}  // namespace echelon::digits
