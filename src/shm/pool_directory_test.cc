// SPDX-License-Identifier: Apache-2.0
#include "shm/pool_directory.h"

#include <gtest/gtest.h>

#include <array>

#include "shm/pool_push.h"
#include "shm/spill.h"

namespace echelon {
namespace {

constexpr Uid kIssuer{7};
constexpr std::uint64_t kMiB = 1u << 20;

/// An issuer's pool, an edge, and a borrower.
class PoolDirectoryTest : public ::testing::Test {
 protected:
  std::unique_ptr<HostPool> pool_ = HostPool::create(kIssuer, {1024 * kMiB, kMiB, "host0"}).value();
  FdPair edge_ = create_socketpair().value();
  PushedPools pushed_;
  PoolDirectory directory_;
  SpillInbox spills_;

  void push() {
    ASSERT_TRUE(pushed_.push_missing(edge_.first.get(), pool_->descriptors(), false).ok());
  }
  static bool fetch(int socket, PoolDirectory& directory, SpillInbox& spills) {
    auto received = receive_push(socket, false);
    if (!received.ok() || received->none || received->end) return false;
    return adopt_push(std::move(received).value(), directory, spills).ok();
  }
  FetchMore fetcher() {
    return [this] { return fetch(edge_.second.get(), directory_, spills_); };
  }
  TensorDesc floats(std::int64_t count, Access access = Access::kReadWrite) {
    const BufferId id = pool_->allocate(static_cast<std::uint64_t>(count) * 4).value();
    return make_contiguous(kIssuer, id, kIssuer, DType::kFloat32, std::array{count}, access);
  }
};

TEST_F(PoolDirectoryTest, ABorrowerSeesWhatTheIssuerWrites) {
  const TensorDesc desc = floats(10);
  push();
  *reinterpret_cast<float*>(pool_->bytes_of(desc.buffer)->data()) = 2.5f;
  const auto address = directory_.open(desc, Access::kReadWrite, fetcher());
  ASSERT_TRUE(address.ok()) << address.status().to_string();
  EXPECT_EQ(*reinterpret_cast<float*>(*address), 2.5f);
}

TEST_F(PoolDirectoryTest, WhatIsCutOffReachesNobodyAndTheBorrowerGoesOn) {
  const TensorDesc desc = floats(10);
  push();
  auto* theirs = reinterpret_cast<float*>(pool_->bytes_of(desc.buffer)->data());
  *theirs = 2.5f;
  auto* kept = reinterpret_cast<float*>(*directory_.open(desc, Access::kReadWrite, fetcher()));
  ASSERT_TRUE(directory_.cut_off(desc).ok());
  EXPECT_EQ(*kept, 0.0f);
  *kept = 7.0f;
  EXPECT_EQ(*theirs, 2.5f);
  auto* again = reinterpret_cast<float*>(*directory_.open(desc, Access::kReadWrite, fetcher()));
  EXPECT_NE(again, kept);
  EXPECT_EQ(*again, 2.5f);
  *again = 3.5f;
  EXPECT_EQ(*theirs, 3.5f);
}

TEST_F(PoolDirectoryTest, ASegmentMadeLaterIsFetched) {
  const TensorDesc early = floats(10);
  push();
  ASSERT_TRUE(directory_.open(early, Access::kRead, fetcher()).ok());
  const TensorDesc late = floats(2 * kMiB);
  push();
  EXPECT_TRUE(directory_.open(late, Access::kRead, fetcher()).ok());
}

TEST_F(PoolDirectoryTest, AnUnknownPoolIsForeign) {
  const TensorDesc desc = floats(10);
  EXPECT_EQ(directory_.open(desc, Access::kRead, fetcher()).status().reason(),
            Reason::kForeignHandle);
  EXPECT_EQ(directory_.open(desc, Access::kRead, nullptr).status().reason(),
            Reason::kForeignHandle);
}

TEST_F(PoolDirectoryTest, AFreedBufferIsStale) {
  const TensorDesc desc = floats(10);
  push();
  ASSERT_TRUE(directory_.open(desc, Access::kRead, fetcher()).ok());
  ASSERT_TRUE(pool_->free(desc.buffer).ok());
  floats(10);  // the same memory under another name
  EXPECT_EQ(directory_.open(desc, Access::kRead, fetcher()).status().reason(),
            Reason::kStaleHandle);
}

TEST_F(PoolDirectoryTest, AViewBeyondItsBufferIsRefused) {
  TensorDesc desc = floats(10);
  push();
  desc.offset = 4;
  EXPECT_EQ(directory_.open(desc, Access::kRead, fetcher()).status().reason(),
            Reason::kBadArgument);
}

TEST_F(PoolDirectoryTest, AReadOnlyHandleIsNotOpenedForWriting) {
  const TensorDesc desc = floats(10, Access::kRead);
  push();
  EXPECT_EQ(directory_.open(desc, Access::kWrite, fetcher()).status().reason(),
            Reason::kWrongAccess);
}

TEST_F(PoolDirectoryTest, ChipMemoryIsNotOpenedOnAHost) {
  TensorDesc desc = floats(10);
  push();
  desc.home = Uid{99};
  EXPECT_EQ(directory_.open(desc, Access::kRead, fetcher()).status().reason(),
            Reason::kForeignHandle);
}

TEST_F(PoolDirectoryTest, ANameForMemoryElsewhereIsNotOpened) {
  TensorDesc desc = floats(10);
  desc.buffer = pool_->name_elsewhere(40).value();
  push();
  EXPECT_EQ(directory_.open(desc, Access::kRead, fetcher()).status().reason(),
            Reason::kForeignHandle);
  EXPECT_EQ(pool_->open(desc, Access::kRead).status().reason(), Reason::kForeignHandle);
  EXPECT_TRUE(pool_->free(desc.buffer).ok());
}

TEST_F(PoolDirectoryTest, APoolIsHandedOnToTheNextLevel) {
  const TensorDesc desc = floats(10);
  push();
  ASSERT_TRUE(directory_.open(desc, Access::kRead, fetcher()).ok());
  const FdPair lower_edge = create_socketpair().value();
  PushedPools lower_pushed;
  ASSERT_TRUE(
      lower_pushed.push_missing(lower_edge.first.get(), *directory_.descriptors(kIssuer), false)
          .ok());
  PoolDirectory lower;
  SpillInbox lower_spills;
  const auto address = lower.open(
      desc, Access::kWrite, [&] { return fetch(lower_edge.second.get(), lower, lower_spills); });
  ASSERT_TRUE(address.ok()) << address.status().to_string();
  **address = std::byte{42};
  EXPECT_EQ(pool_->bytes_of(desc.buffer)->front(), std::byte{42});
}

TEST_F(PoolDirectoryTest, SegmentsOutOfOrderAreRefused) {
  floats(10);
  const PoolDescriptors pool = pool_->descriptors();
  const auto segment_fd = [&] { return duplicate_fd(pool.segments[0].fd).value(); };
  EXPECT_EQ(directory_.adopt_segment(kIssuer, 0, kMiB, segment_fd()).reason(), Reason::kBadFrame);
  ASSERT_TRUE(directory_.adopt_table(kIssuer, duplicate_fd(pool.table_fd).value()).ok());
  EXPECT_EQ(directory_.adopt_segment(kIssuer, 1, kMiB, segment_fd()).reason(), Reason::kBadFrame);
  EXPECT_EQ(directory_.adopt_segment(kIssuer, 0, 4096, segment_fd()).reason(), Reason::kBadFrame);
  EXPECT_TRUE(directory_.adopt_segment(kIssuer, 0, kMiB, segment_fd()).ok());
  EXPECT_TRUE(directory_.adopt_segment(kIssuer, 0, kMiB, segment_fd()).ok()) << "once more";
}

TEST_F(PoolDirectoryTest, ATableThatIsNoneLeavesNothingBehind) {
  UniqueFd fd = create_memfd("test", 4096).value();
  EXPECT_FALSE(directory_.adopt_table(Uid{1}, std::move(fd)).ok());
  EXPECT_EQ(directory_.pool_count(), 0u);
}

TEST_F(PoolDirectoryTest, AForgottenPoolIsForeign) {
  const TensorDesc desc = floats(10);
  push();
  ASSERT_TRUE(directory_.open(desc, Access::kRead, fetcher()).ok());
  directory_.forget(kIssuer);
  EXPECT_EQ(directory_.open(desc, Access::kRead, fetcher()).status().reason(),
            Reason::kForeignHandle);
}

}  // namespace
}  // namespace echelon
