// SPDX-License-Identifier: Apache-2.0
#include "cli/process_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace echelon::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

ProcessStat process(std::int64_t pid, std::int64_t parent) {
  return {.pid = pid, .command = "x", .state = 'S', .parent = parent};
}

TEST(ProcessTree, DescendantsStandBehindTheirParents) {
  const auto tree =
      descendants({process(9, 7), process(7, 5), process(5, 1), process(6, 5), process(8, 1)}, 5);
  EXPECT_THAT(tree, ElementsAre(Field(&ProcessStat::pid, 5), Field(&ProcessStat::pid, 6),
                                Field(&ProcessStat::pid, 7), Field(&ProcessStat::pid, 9)));
}

TEST(ProcessTree, AProcessThatIsGoneHasNone) {
  EXPECT_THAT(descendants({}, 5), IsEmpty());
}

TEST(ProcessTree, BeginsWithTheRootItself) {
  const auto tree = process_tree(getpid());
  ASSERT_FALSE(tree.empty());
  EXPECT_EQ(tree.front().pid, getpid());
}

TEST(ProcessTree, CpuTimeGrowsWithWork) {
  const auto before = cpu_time_ns(getpid());
  ASSERT_TRUE(before);
  volatile unsigned work = 0;
  for (unsigned i = 0; i < 2'000'000; ++i) work = work + i;
  EXPECT_GT(cpu_time_ns(getpid()).value(), *before);
}

}  // namespace
}  // namespace echelon::cli
