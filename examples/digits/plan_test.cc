// SPDX-License-Identifier: Apache-2.0
#include "plan.h"

#include <gtest/gtest.h>

namespace echelon::digits {
namespace {

TEST(Plan, SharesAreInOrderAndTogetherAll) {
  for (std::int64_t count = 0; count < 70; ++count) {
    for (int parts = 1; parts <= 5; ++parts) {
      std::int64_t next = 0;
      for (int i = 0; i < parts; ++i) {
        const Range share = share_of(count, parts, i);
        EXPECT_EQ(share.begin, next);
        EXPECT_GE(share.size(), count / parts);
        EXPECT_LE(share.size(), count / parts + 1);
        next = share.end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(Plan, NoChipIsGivenNothing) {
  EXPECT_EQ(busy_chips(2, 4), 2);
  EXPECT_EQ(busy_chips(64, 4), 4);
  EXPECT_EQ(busy_chips(0, 4), 0);
}

TEST(Plan, LastBatchTakesWhatIsLeft) {
  EXPECT_EQ(steps_per_epoch(130), 3);
  EXPECT_EQ(batch_of_step(130, 0), (Range{0, 64}));
  EXPECT_EQ(batch_of_step(130, 2), (Range{128, 130}));
  EXPECT_EQ(steps_per_epoch(128), 2);
  EXPECT_EQ(steps_per_epoch(1), 1);
}

TEST(Plan, TasksOfAnEpochByHand) {
  // shuffle, 2 steps of (2 hosts of (step, read, 2 chips, add), descend), 2 hosts of (evaluate,
  // 2 chips, add), report
  EXPECT_EQ(tasks_per_epoch(128, 10, {2, 2}), 1 + 2 * (2 * 5 + 1) + 2 * 4 + 1);
  // One row: one host has nothing to read, and its chips nothing to do.
  EXPECT_EQ(tasks_per_epoch(1, 1, {2, 2}), 1 + (4 + 2 + 1) + (3 + 2) + 1);
}

}  // namespace
}  // namespace echelon::digits
