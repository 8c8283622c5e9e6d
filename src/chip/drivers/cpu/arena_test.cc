// SPDX-License-Identifier: Apache-2.0
#include "chip/drivers/cpu/arena.h"

#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace echelon::cpu {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

TEST(Arena, PiecesAreAlignedAndApart) {
  Arena arena(64 * kMiB);
  const auto a = arena.find(arena.allocate(1, 0));
  const auto b = arena.find(arena.allocate(100, 4096));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data) % 4096, 0u);
  EXPECT_EQ(b.bytes, 100u);
  std::memset(a.data, 1, a.bytes);
  std::memset(b.data, 2, b.bytes);
  EXPECT_EQ(a.data[0], std::byte{1});
}

TEST(Arena, FreedMemoryIsUsedAgainUnderAnotherName) {
  Arena arena(64 * kMiB);
  const std::uint64_t first = arena.allocate(4096, 0);
  std::byte* const data = arena.find(first).data;
  EXPECT_TRUE(arena.free(first));
  const std::uint64_t second = arena.allocate(4096, 0);
  EXPECT_EQ(arena.find(second).data, data);
  EXPECT_NE(first, second);
  EXPECT_EQ(arena.find(first).data, nullptr);
  EXPECT_FALSE(arena.free(first));
}

TEST(Arena, StopsAtItsLimit) {
  Arena arena(kMiB);
  const std::uint64_t all = arena.allocate(kMiB, 0);
  ASSERT_NE(all, 0u);
  EXPECT_EQ(arena.bytes_free(), 0u);
  EXPECT_EQ(arena.allocate(1, 0), 0u);
  EXPECT_TRUE(arena.free(all));
  EXPECT_NE(arena.allocate(kMiB, 0), 0u);
}

TEST(Arena, NeighboursJoinSoThatSegmentsAreWholeAgain) {
  Arena arena(Arena::kSegmentBytesMin);
  std::vector<std::uint64_t> names;
  for (int i = 0; i < 16; ++i) names.push_back(arena.allocate(kMiB, 0));
  for (const int i : {1, 3, 2, 0, 15, 13, 14, 4, 12, 5, 11, 6, 10, 7, 9, 8}) {
    EXPECT_TRUE(arena.free(names[static_cast<std::size_t>(i)]));
  }
  EXPECT_NE(arena.allocate(Arena::kSegmentBytesMin, 0), 0u);
}

TEST(Arena, FreeSegmentsGiveWayToALargerOne) {
  Arena arena(64 * kMiB);
  EXPECT_TRUE(arena.free(arena.allocate(40 * kMiB, 0)));
  EXPECT_NE(arena.allocate(60 * kMiB, 0), 0u);
}

TEST(Arena, NonsenseIsNoName) {
  Arena arena(kMiB);
  EXPECT_FALSE(arena.free(0));
  EXPECT_FALSE(arena.free(~std::uint64_t{0}));
  EXPECT_EQ(arena.allocate(~std::uint64_t{0}, 0), 0u);
}

TEST(Arena, RandomUseNeverOverlaps) {
  Arena arena(32 * kMiB);
  std::mt19937 random(7);
  struct Held {
    std::uint64_t name;
    std::byte mark;
  };
  std::vector<Held> held;
  for (int i = 0; i < 4000; ++i) {
    if (held.size() > 200 || (!held.empty() && random() % 3 == 0)) {
      const std::size_t at = random() % held.size();
      const auto piece = arena.find(held[at].name);
      ASSERT_EQ(piece.data[0], held[at].mark);
      ASSERT_EQ(piece.data[piece.bytes - 1], held[at].mark);
      ASSERT_TRUE(arena.free(held[at].name));
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      const std::uint64_t name = arena.allocate(1 + random() % 100'000, 64u << random() % 4);
      ASSERT_NE(name, 0u);
      const auto piece = arena.find(name);
      const auto mark = static_cast<std::byte>(i);
      std::memset(piece.data, static_cast<int>(mark), piece.bytes);
      held.push_back({name, mark});
    }
  }
}

}  // namespace
}  // namespace echelon::cpu
