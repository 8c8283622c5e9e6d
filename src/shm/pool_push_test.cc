// SPDX-License-Identifier: Apache-2.0
#include "shm/pool_push.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace echelon {
namespace {

TEST(PoolPush, EncodesAndDecodes) {
  std::array<std::byte, kPoolPushBytes> bytes{};
  encode_push({PushKind::kPoolSegment, Uid{9}, 3, 4096}, bytes);
  const PoolPush push = decode_push(bytes).value();
  EXPECT_EQ(push.kind, PushKind::kPoolSegment);
  EXPECT_EQ(push.issuer, Uid{9});
  EXPECT_EQ(push.index, 3u);
  EXPECT_EQ(push.bytes, 4096u);
}

TEST(PoolPush, GarbageIsRefused) {
  std::mt19937_64 random(3);
  std::array<std::byte, kPoolPushBytes> bytes{};
  for (int round = 0; round < 1000; ++round) {
    for (std::byte& byte : bytes) byte = std::byte(random() & 0xFF);
    EXPECT_EQ(decode_push(bytes).status().reason(), Reason::kBadFrame);
  }
  EXPECT_FALSE(decode_push(std::span(bytes).first(31)).ok());
}

TEST(PoolPush, AnUnknownKindIsRefused) {
  std::array<std::byte, kPoolPushBytes> bytes{};
  encode_push({static_cast<PushKind>(77), Uid{9}, 0, 0}, bytes);
  EXPECT_FALSE(decode_push(bytes).ok());
}

TEST(PoolPush, AMessageWithoutItsDescriptorIsRefused) {
  const FdPair pair = create_socketpair().value();
  std::array<std::byte, kPoolPushBytes> bytes{};
  encode_push({PushKind::kPoolTable, Uid{9}, 0, 0}, bytes);
  ASSERT_TRUE(send_message(pair.first.get(), bytes, {}).ok());
  EXPECT_EQ(receive_push(pair.second.get(), true).status().reason(), Reason::kBadFrame);
}

TEST(PoolPush, NothingThereAndTheEndAreTold) {
  FdPair pair = create_socketpair().value();
  EXPECT_TRUE(receive_push(pair.second.get(), false)->none);
  pair.first.reset();
  EXPECT_TRUE(receive_push(pair.second.get(), false)->end);
}

TEST(PushedPools, SendsEachDescriptorOnce) {
  const FdPair pair = create_socketpair().value();
  const auto pool = HostPool::create(Uid{5}, {}).value();
  PushedPools pushed;
  EXPECT_FALSE(pushed.up_to_date(Uid{5}, 0));
  ASSERT_TRUE(pool->allocate(1).ok());
  ASSERT_TRUE(pushed.push_missing(pair.first.get(), pool->descriptors(), false).ok());
  ASSERT_TRUE(pushed.push_missing(pair.first.get(), pool->descriptors(), false).ok());
  EXPECT_TRUE(pushed.up_to_date(Uid{5}, 1));
  EXPECT_FALSE(pushed.up_to_date(Uid{5}, 2));
  EXPECT_EQ(receive_push(pair.second.get(), false)->push.kind, PushKind::kPoolTable);
  EXPECT_EQ(receive_push(pair.second.get(), false)->push.kind, PushKind::kPoolSegment);
  EXPECT_TRUE(receive_push(pair.second.get(), false)->none);
}

TEST(PushedPools, AFullSocketIsGoneOnWithLater) {
  const FdPair pair = create_socketpair().value();
  const auto pool = HostPool::create(Uid{5}, {}).value();
  ASSERT_TRUE(pool->allocate(1).ok());
  const UniqueFd fd = create_memfd("filler", 1).value();
  while (send_push(pair.first.get(), {PushKind::kSpill, Uid{1}, 0, 1}, fd.get(), false).ok()) {}
  PushedPools pushed;
  EXPECT_EQ(pushed.push_missing(pair.first.get(), pool->descriptors(), false).code(),
            Code::kResourceExhausted);
  while (!receive_push(pair.second.get(), false)->none) {}
  EXPECT_TRUE(pushed.push_missing(pair.first.get(), pool->descriptors(), false).ok());
  EXPECT_TRUE(pushed.up_to_date(Uid{5}, 1));
}

}  // namespace
}  // namespace echelon
