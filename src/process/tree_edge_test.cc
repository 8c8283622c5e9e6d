// SPDX-License-Identifier: Apache-2.0
#include "process/tree_edge.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>

#include "base/syscall.h"
#include "process/test_tree.h"
#include "process/worker_pools.h"

namespace echelon {
namespace {

constexpr Uid kIssuer{11};

class TreeEdgeTest : public testing::Test {
 protected:
  void SetUp() override {
    HostPoolOptions options;
    options.segment_bytes_min = 64 * 1024;
    auto pool = HostPool::create(kIssuer, options);
    ASSERT_TRUE(pool.ok());
    pool_ = std::move(pool).value();
    upper_pools_.set_own(pool_.get());
    auto sockets = create_socketpair();
    ASSERT_TRUE(sockets.ok());
    upper_ = std::make_unique<TreeEdge>(std::move(sockets->first), Uid{1}, upper_pools_);
    lower_ = std::make_unique<TreeEdge>(std::move(sockets->second), Uid{2}, lower_pools_);
  }

  TensorDesc tensor(std::uint64_t bytes, std::uint8_t fill) {
    auto buffer = pool_->allocate(bytes);
    EXPECT_TRUE(buffer.ok());
    auto memory = pool_->bytes_of(buffer.value());
    std::memset(memory->data(), fill, memory->size());
    const std::array<std::int64_t, 1> shape = {static_cast<std::int64_t>(bytes)};
    return make_contiguous(kIssuer, buffer.value(), kIssuer, DType::kUInt8, shape,
                           Access::kReadWrite);
  }

  std::unique_ptr<HostPool> pool_;
  WorkerPools upper_pools_, lower_pools_;
  std::unique_ptr<TreeEdge> upper_, lower_;
};

TEST_F(TreeEdgeTest, APoolIsPushedOnceAheadOfItsFirstTensor) {
  const TensorDesc x = tensor(100, 7);
  const auto body = test_body(x, Tag::kInput);
  ASSERT_TRUE(upper_->ensure_pushed(body).ok());
  EXPECT_TRUE(upper_->push_flag());
  EXPECT_TRUE(lower_->fetch_more());
  const auto at = lower_pools_.open(x, Access::kRead);
  ASSERT_TRUE(at.ok()) << at.status().to_string();
  EXPECT_EQ(*at.value(), std::byte{7});
  upper_->set_push_flag(false);
  ASSERT_TRUE(upper_->ensure_pushed(body).ok());
  EXPECT_FALSE(upper_->push_flag());
  EXPECT_FALSE(lower_->fetch_more());
}

TEST_F(TreeEdgeTest, ASegmentThatThePoolGrewByIsPushed) {
  const TensorDesc x = tensor(1000, 1);
  ASSERT_TRUE(upper_->ensure_pushed(test_body(x, Tag::kInput)).ok());
  ASSERT_TRUE(lower_->fetch_more());
  const TensorDesc y = tensor(1 << 20, 9);
  ASSERT_TRUE(upper_->ensure_pushed(test_body(y, Tag::kInput)).ok());
  ASSERT_TRUE(lower_->fetch_more());
  const auto at = lower_pools_.open(y, Access::kWrite);
  ASSERT_TRUE(at.ok());
  EXPECT_EQ(*at.value(), std::byte{9});
}

TEST_F(TreeEdgeTest, APoolFromAboveIsHandedOn) {
  lower_pools_.set_upper(lower_.get());
  WorkerPools third_pools;
  auto sockets = create_socketpair();
  ASSERT_TRUE(sockets.ok());
  TreeEdge down(std::move(sockets->first), Uid{2}, lower_pools_);
  TreeEdge third(std::move(sockets->second), Uid{3}, third_pools);
  third_pools.set_upper(&third);
  const TensorDesc x = tensor(100, 5);
  const auto body = test_body(x, Tag::kInput);
  ASSERT_TRUE(upper_->ensure_pushed(body).ok());
  ASSERT_TRUE(down.ensure_pushed(body).ok()) << "it fetches what it does not know itself";
  const auto at = third_pools.open(x, Access::kRead);
  ASSERT_TRUE(at.ok()) << at.status().to_string();
  EXPECT_EQ(*at.value(), std::byte{5});
}

TEST_F(TreeEdgeTest, ATensorInAChipsMemoryNeedsItsIssuersTable) {
  TensorDesc x = tensor(100, 5);
  x.home = Uid{99};
  ASSERT_TRUE(upper_->ensure_pushed(test_body(x, Tag::kInput)).ok());
  EXPECT_TRUE(upper_->push_flag());
}

TEST_F(TreeEdgeTest, AMalformedBodyPushesNothing) {
  const TensorDesc x = tensor(100, 5);
  const auto body = test_body(x, Tag::kInput);
  for (std::size_t cut = 0; cut < 48; ++cut) {
    EXPECT_TRUE(upper_->ensure_pushed(std::span(body).first(cut)).ok());
  }
  EXPECT_FALSE(upper_->push_flag());
}

TEST_F(TreeEdgeTest, ASpillIsTakenOnce) {
  const std::string text(50'000, 's');
  const auto sent = upper_->send_spill(std::as_bytes(std::span(text)), {}, false);
  ASSERT_TRUE(sent.ok());
  const auto frame = std::as_bytes(std::span(&sent.value(), 1));
  const auto taken = lower_->take_spill(frame);
  ASSERT_TRUE(taken.ok()) << taken.status().to_string();
  EXPECT_EQ(std::memcmp(taken->data(), text.data(), text.size()), 0);
  EXPECT_EQ(lower_->take_spill(frame).status().reason(), Reason::kBadFrame);
}

TEST_F(TreeEdgeTest, AFullSocketIsExhaustedAndGoesOnWhenRead) {
  const std::array<std::byte, 16> body{};
  Status full;
  std::size_t sent = 0;
  while (full.ok() && sent < 10'000) {
    full = upper_->send_spill(body, {}, false).status();
    sent += full.ok() ? 1 : 0;
  }
  EXPECT_EQ(full.code(), Code::kResourceExhausted);
}

TEST_F(TreeEdgeTest, GarbageEndsReceivingWithAReason) {
  const std::array<std::byte, 32> garbage{};
  ASSERT_TRUE(send_message(upper_->fd(), garbage, {}).ok());
  EXPECT_TRUE(lower_->fetch_more());
  EXPECT_EQ(lower_->receive_error().reason(), Reason::kBadFrame);
  EXPECT_FALSE(lower_->fetch_more());
}

}  // namespace
}  // namespace echelon
