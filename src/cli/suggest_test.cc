// SPDX-License-Identifier: Apache-2.0
#include "cli/suggest.h"

#include <gtest/gtest.h>

#include <vector>

namespace echelon::cli {
namespace {

const std::vector<std::string> kCommands = {"demo", "bench", "doctor", "version"};

TEST(Suggest, DistanceCountsSingleSlips) {
  EXPECT_EQ(edit_distance("bench", "bench"), 0u);
  EXPECT_EQ(edit_distance("bnch", "bench"), 1u);
  EXPECT_EQ(edit_distance("bnech", "bench"), 1u);
  EXPECT_EQ(edit_distance("", "demo"), 4u);
}

TEST(Suggest, ASlipFindsItsWord) {
  EXPECT_EQ(nearest("dmeo", kCommands), "demo");
  EXPECT_EQ(nearest("docter", kCommands), "doctor");
}

TEST(Suggest, TheBeginOfAWordFindsIt) {
  EXPECT_EQ(nearest("ver", kCommands), "version");
}

TEST(Suggest, SomethingElseFindsNothing) {
  EXPECT_FALSE(nearest("train", kCommands));
  EXPECT_FALSE(nearest("x", kCommands));
}

}  // namespace
}  // namespace echelon::cli
