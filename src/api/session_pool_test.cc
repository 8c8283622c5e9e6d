// SPDX-License-Identifier: Apache-2.0
//
// What a parent reaches of a session's memory: what it asked for, until it gives it back.
#include "api/session_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace echelon::detail {
namespace {

using testing::HasSubstr;

constexpr std::array<std::int64_t, 2> kShape = {4, 8};
constexpr std::size_t kBytes = 4 * 8 * sizeof(float);

class SessionPoolTest : public testing::Test {
 protected:
  TensorDesc allocate(bool zeroed = true) {
    auto desc = memory.allocate(kShape, DType::kFloat32, zeroed);
    EXPECT_TRUE(desc.ok()) << desc.status().to_string();
    return std::move(desc).value();
  }

  std::shared_ptr<OwnPool> pool = make_own_pool(1 << 20, "pod0/host1").value();
  SessionPool memory{pool};
};

TEST_F(SessionPoolTest, ATensorIsNamedByThePoolAndZeroWhereAsked) {
  const TensorDesc desc = allocate();
  EXPECT_EQ(desc.issuer, pool->pool->issuer());
  EXPECT_EQ(desc.home, desc.issuer);
  EXPECT_EQ(desc.payload_bytes(), kBytes);
  EXPECT_EQ(desc.access, Access::kReadWrite);
  const auto at = memory.open(desc, Access::kRead);
  ASSERT_TRUE(at.ok()) << at.status().to_string();
  const std::array<std::byte, kBytes> zeros{};
  EXPECT_EQ(std::memcmp(*at, zeros.data(), kBytes), 0);
}

TEST_F(SessionPoolTest, AfterFreeTheHandleIsStaleAndTheMemoryBack) {
  const TensorDesc desc = allocate();
  ASSERT_TRUE(memory.free(desc.buffer).ok());
  EXPECT_EQ(pool->pool->usage().live_bytes, 0u);
  EXPECT_EQ(memory.free(desc.buffer).reason(), Reason::kStaleHandle);
  const auto at = memory.open(desc, Access::kRead);
  EXPECT_EQ(at.status().reason(), Reason::kStaleHandle);
  EXPECT_THAT(at.status().to_string(), HasSubstr("pod0/host1"));
}

TEST_F(SessionPoolTest, AHandleOfAnEarlierBufferInTheSamePlaceIsStale) {
  const TensorDesc first = allocate();
  ASSERT_TRUE(memory.free(first.buffer).ok());
  const TensorDesc second = allocate();
  EXPECT_NE(first.buffer, second.buffer);
  EXPECT_EQ(memory.open(first, Access::kRead).status().reason(), Reason::kStaleHandle);
  EXPECT_TRUE(memory.open(second, Access::kRead).ok());
}

TEST_F(SessionPoolTest, OtherTensorsOfTheWorkerAreOutOfReach) {
  const Tensor own = allocate_host_tensor(pool, {4}, DType::kFloat32, true);
  const TensorDesc desc = TensorAccess::state(own)->desc;
  EXPECT_EQ(memory.open(desc, Access::kRead).status().reason(), Reason::kStaleHandle);
  EXPECT_EQ(memory.free(desc.buffer).reason(), Reason::kStaleHandle);
}

TEST_F(SessionPoolTest, ATensorOfAnotherPoolIsForeign) {
  TensorDesc desc = allocate();
  desc.issuer = Uid{desc.issuer.value + 1};
  EXPECT_EQ(memory.open(desc, Access::kRead).status().reason(), Reason::kForeignHandle);
}

TEST_F(SessionPoolTest, AViewBeyondTheBufferIsRefused) {
  TensorDesc desc = allocate();
  desc.offset = kBytes;
  EXPECT_EQ(memory.open(desc, Access::kRead).status().reason(), Reason::kBadArgument);
}

TEST_F(SessionPoolTest, AFullPoolSaysItsSizes) {
  constexpr std::array<std::int64_t, 1> kLarge = {1 << 20};
  const auto desc = memory.allocate(kLarge, DType::kFloat32, false);
  EXPECT_EQ(desc.status().reason(), Reason::kExhausted);
  EXPECT_THAT(desc.status().to_string(), HasSubstr("pod0/host1"));
}

TEST_F(SessionPoolTest, AShapeThatIsNoneIsRefused) {
  constexpr std::array<std::int64_t, 1> kNegative = {-1};
  EXPECT_EQ(memory.allocate(kNegative, DType::kFloat32, false).status().reason(),
            Reason::kBadArgument);
  EXPECT_EQ(memory.allocate(kShape, DType::kNone, false).status().reason(), Reason::kBadArgument);
}

}  // namespace
}  // namespace echelon::detail
