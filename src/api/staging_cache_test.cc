// SPDX-License-Identifier: Apache-2.0
//
// Which copy of a tensor at a remote Worker may be used, and when it counts as current.
#include "api/staging_cache.h"

#include <gtest/gtest.h>

#include "api/node_memory.h"

namespace echelon::detail {
namespace {

constexpr ChildIndex kLeft{0}, kRight{1};
constexpr RunId kRun{1}, kOther{2};

class StagingCacheTest : public testing::Test {
 protected:
  Tensor tensor() { return allocate_host_tensor(pool, {4, 4}, DType::kFloat32, true); }
  static TensorDesc view(const Tensor& of) { return TensorAccess::state(of)->desc; }
  static BufferId buffer(const Tensor& of) { return view(of).buffer; }

  std::shared_ptr<OwnPool> pool = make_own_pool(1 << 24, "pod0").value();
  StagingCache cache;
  const Tensor local = tensor();
  const Tensor copy = tensor();
};

TEST_F(StagingCacheTest, ACopyOfTheSameVersionIsCurrent) {
  cache.put(kLeft, view(local), 7, kRun, copy);
  const auto found = cache.find(kLeft, view(local), 7, kRun);
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(found->current);
  EXPECT_EQ(buffer(found->copy), buffer(copy));
}

TEST_F(StagingCacheTest, ACopyOfAnotherVersionIsUsedAgainAndNotCurrent) {
  cache.put(kLeft, view(local), 7, kRun, copy);
  const auto found = cache.find(kLeft, view(local), 8, kRun);
  ASSERT_TRUE(found.has_value());
  EXPECT_FALSE(found->current);
}

TEST_F(StagingCacheTest, EachWorkerAndEachViewHasItsOwn) {
  cache.put(kLeft, view(local), 7, kRun, copy);
  EXPECT_FALSE(cache.find(kRight, view(local), 7, kRun).has_value());
  EXPECT_FALSE(cache.find(kLeft, view(local.slice(0, 0, 2)), 7, kRun).has_value());
  EXPECT_FALSE(cache.find(kLeft, view(local.reshape({16})), 7, kRun).has_value());
  EXPECT_FALSE(cache.find(kLeft, view(tensor()), 7, kRun).has_value());
}

TEST_F(StagingCacheTest, WhileItsRunGoesOnNoOtherUsesIt) {
  cache.put(kLeft, view(local), 7, kRun, copy);
  EXPECT_FALSE(cache.find(kLeft, view(local), 7, kOther).has_value());
  // Nor does the other one's take its place.
  cache.put(kLeft, view(local), 7, kOther, tensor());
  EXPECT_EQ(buffer(cache.find(kLeft, view(local), 7, kRun)->copy), buffer(copy));
}

TEST_F(StagingCacheTest, AfterARunThatEndedWellAllMayUseIt) {
  cache.put(kLeft, view(local), 7, kRun, copy);
  cache.run_ended(kRun, true);
  EXPECT_TRUE(cache.find(kLeft, view(local), 7, kOther)->current);
}

TEST_F(StagingCacheTest, AFailedRunTakesItsCopiesAlong) {
  cache.put(kLeft, view(local), 7, kRun, copy);
  cache.put(kRight, view(local), 7, kOther, tensor());
  cache.run_ended(kRun, false);
  EXPECT_FALSE(cache.find(kLeft, view(local), 7, kRun).has_value());
  EXPECT_TRUE(cache.find(kRight, view(local), 7, kOther).has_value());
}

TEST_F(StagingCacheTest, WhatIsIdleCanBeLetGo) {
  cache.put(kLeft, view(local), 7, kRun, copy);
  cache.put(kRight, view(local), 7, kOther, tensor());
  cache.run_ended(kRun, true);
  EXPECT_EQ(cache.drop_idle(), 1u);
  EXPECT_FALSE(cache.find(kLeft, view(local), 7, kRun).has_value());
  EXPECT_TRUE(cache.find(kRight, view(local), 7, kOther).has_value());
}

TEST_F(StagingCacheTest, TheOneNotUsedForLongestMakesRoom) {
  std::vector<Tensor> locals;
  for (std::size_t i = 0; i < kStagedCopiesMax; ++i) {
    locals.push_back(tensor());
    cache.put(kLeft, view(locals.back()), 1, {}, copy);
  }
  EXPECT_TRUE(cache.find(kLeft, view(locals[0]), 1, kRun).has_value());
  cache.put(kLeft, view(local), 1, {}, copy);
  EXPECT_TRUE(cache.find(kLeft, view(locals[0]), 1, kRun).has_value());
  EXPECT_FALSE(cache.find(kLeft, view(locals[1]), 1, kRun).has_value());
  EXPECT_TRUE(cache.find(kLeft, view(local), 1, kRun).has_value());
}

}  // namespace
}  // namespace echelon::detail
