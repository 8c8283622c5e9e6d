// SPDX-License-Identifier: Apache-2.0
#include "base/env.h"

#include <gtest/gtest.h>

namespace echelon {
namespace {

TEST(SystemEnv, TimeNeverGoesBack) {
  SystemEnv env;
  MonotonicNs last = env.now_ns();
  EXPECT_GT(last, 0u);
  for (int i = 0; i < 1000; ++i) {
    const MonotonicNs now = env.now_ns();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(SystemEnv, RandomBitsDiffer) {
  SystemEnv env;
  const std::uint64_t first = env.random_nonzero();
  EXPECT_NE(first, 0u);
  EXPECT_NE(first, env.random_nonzero());
}

}  // namespace
}  // namespace echelon
