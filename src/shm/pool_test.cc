// SPDX-License-Identifier: Apache-2.0
#include "shm/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <thread>

namespace echelon {
namespace {

using ::testing::HasSubstr;

constexpr Uid kIssuer{7};
constexpr std::uint64_t kMiB = 1u << 20;

std::unique_ptr<HostPool> make_pool(std::uint64_t bytes_max = 1024 * kMiB,
                                    std::uint64_t segment_bytes = kMiB) {
  return HostPool::create(kIssuer, {bytes_max, segment_bytes, "pod0/host1"}).value();
}

TensorDesc floats(BufferId id, std::int64_t count, Access access = Access::kReadWrite) {
  return make_contiguous(kIssuer, id, kIssuer, DType::kFloat32, std::array{count}, access);
}

TEST(SizeClass, WastesAtMostAQuarterAndIsAligned) {
  for (std::uint64_t bytes = 1; bytes < 100'000; bytes += 7) {
    const std::uint64_t whole = size_class(bytes);
    ASSERT_GE(whole, bytes);
    ASSERT_EQ(whole % kBufferAlign, 0u);
    ASSERT_LE(whole, std::max(bytes + bytes / 4 + 1, bytes + kBufferAlign)) << bytes;
    ASSERT_EQ(size_class(whole), whole) << bytes;
  }
  EXPECT_EQ(size_class(0), kBufferAlign);
}

TEST(HostPool, BuffersAreAlignedAndApart) {
  const auto pool = make_pool();
  const BufferId a = pool->allocate(100).value();
  const BufferId b = pool->allocate(100).value();
  const auto a_bytes = pool->bytes_of(a).value();
  const auto b_bytes = pool->bytes_of(b).value();
  EXPECT_EQ(a_bytes.size(), 100u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a_bytes.data()) % kBufferAlign, 0u);
  EXPECT_GE(std::abs(a_bytes.data() - b_bytes.data()), 100);
}

TEST(HostPool, ZeroBytesAreABuffer) {
  const auto pool = make_pool();
  const BufferId id = pool->allocate(0).value();
  EXPECT_EQ(pool->bytes_of(id)->size(), 0u);
  EXPECT_TRUE(pool->free(id).ok());
}

TEST(HostPool, WarmMemoryIsUsedAgainUnderANewName) {
  const auto pool = make_pool();
  const BufferId first = pool->allocate(5000).value();
  std::byte* const at = pool->bytes_of(first)->data();
  ASSERT_TRUE(pool->free(first).ok());
  const BufferId second = pool->allocate(5001).value();
  EXPECT_EQ(pool->bytes_of(second)->data(), at);
  EXPECT_EQ(pool->bytes_of(first).status().reason(), Reason::kStaleHandle);
  EXPECT_EQ(pool->free(first).reason(), Reason::kStaleHandle);
}

TEST(HostPool, GrowsByAnotherSegment) {
  const auto pool = make_pool();
  ASSERT_TRUE(pool->allocate(kMiB / 2).ok());
  EXPECT_EQ(pool->segment_count(), 1u);
  ASSERT_TRUE(pool->allocate(5 * kMiB).ok());
  EXPECT_EQ(pool->segment_count(), 2u);
  EXPECT_EQ(pool->descriptors().segments[1].bytes, 5 * kMiB);
}

TEST(HostPool, RecycledPiecesMergeBeforeItGrows) {
  const auto pool = make_pool();
  std::vector<BufferId> small;
  for (int i = 0; i < 1024; ++i) small.push_back(pool->allocate(1024).value());
  ASSERT_EQ(pool->segment_count(), 1u);
  for (const BufferId id : small) ASSERT_TRUE(pool->free(id).ok());
  ASSERT_TRUE(pool->allocate(kMiB).ok());
  EXPECT_EQ(pool->segment_count(), 1u);
}

TEST(HostPool, AFullPoolSaysWhatHoldsIt) {
  const auto pool = make_pool(2 * kMiB);
  const BufferId held = pool->allocate(kMiB).value();
  const Status status = pool->allocate(kMiB + 1).status();
  EXPECT_EQ(status.reason(), Reason::kExhausted);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(status.to_string(), HasSubstr("pod0/host1"));
  EXPECT_THAT(status.to_string(), HasSubstr("1 MiB of 2 MiB are held by 1 live buffers"));
  ASSERT_TRUE(pool->free(held).ok());
  EXPECT_TRUE(pool->allocate(kMiB + 1).ok());
}

TEST(HostPool, ImpossibleSizesAreExhausted) {
  const auto pool = make_pool();
  EXPECT_EQ(pool->allocate(UINT64_MAX).status().reason(), Reason::kExhausted);
}

TEST(HostPool, OpenChecksNameAccessAndBounds) {
  const auto pool = make_pool();
  const BufferId id = pool->allocate(400).value();
  EXPECT_EQ(pool->open(floats(id, 100), Access::kReadWrite).value(), pool->bytes_of(id)->data());
  EXPECT_EQ(pool->open(floats(id, 101), Access::kRead).status().reason(), Reason::kBadArgument);
  EXPECT_EQ(pool->open(floats(id, 100, Access::kRead), Access::kWrite).status().reason(),
            Reason::kWrongAccess);
  TensorDesc other = floats(id, 100);
  other.issuer = Uid{8};
  EXPECT_EQ(pool->open(other, Access::kRead).status().reason(), Reason::kForeignHandle);
  TensorDesc on_chip = floats(id, 100);
  on_chip.home = Uid{9};
  EXPECT_EQ(pool->open(on_chip, Access::kRead).status().reason(), Reason::kForeignHandle);
  TensorDesc crooked = floats(id, 10);
  crooked.offset = 2;
  EXPECT_EQ(pool->open(crooked, Access::kRead).status().reason(), Reason::kBadArgument);
  TensorDesc far = floats(id, 1);
  far.offset = UINT64_MAX - 3;
  EXPECT_EQ(pool->open(far, Access::kRead).status().reason(), Reason::kBadArgument);
}

TEST(HostPool, LiveBuffersNeverShareBytes) {
  const auto pool = make_pool(64 * kMiB);
  std::mt19937 random(7);
  std::map<std::byte*, std::pair<std::uint64_t, BufferId>> live;
  for (int round = 0; round < 20'000; ++round) {
    if (live.size() < 200 && random() % 2 == 0) {
      const std::uint64_t bytes = 1 + random() % (random() % 16 == 0 ? 300'000 : 3'000);
      const BufferId id = pool->allocate(bytes).value();
      std::byte* const at = pool->bytes_of(id)->data();
      const auto next = live.lower_bound(at);
      if (next != live.end()) {
        ASSERT_LE(at + bytes, next->first);
      }
      if (next != live.begin()) {
        const auto before = std::prev(next);
        ASSERT_LE(before->first + before->second.first, at);
      }
      live.emplace(at, std::pair(bytes, id));
    } else if (!live.empty()) {
      const auto which = std::next(live.begin(), static_cast<long>(random() % live.size()));
      ASSERT_TRUE(pool->free(which->second.second).ok());
      live.erase(which);
    }
  }
  EXPECT_EQ(pool->usage().buffers, live.size());
}

TEST(HostPool, ThreadsAllocateAndFreeAtOnce) {
  const auto pool = make_pool();
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&pool, t] {
      for (int i = 0; i < 2'000; ++i) {
        const BufferId id = pool->allocate(1 + (i * 37) % 5'000).value();
        const auto bytes = pool->bytes_of(id).value();
        std::memset(bytes.data(), t, bytes.size());
        ASSERT_EQ(bytes[bytes.size() - 1], std::byte(t));
        ASSERT_TRUE(pool->free(id).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool->usage().live_bytes, 0u);
}

}  // namespace
}  // namespace echelon
