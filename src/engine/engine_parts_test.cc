// SPDX-License-Identifier: Apache-2.0
//
// The small tables: pools, bodies, timers.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/body_arena.h"
#include "engine/pool.h"
#include "engine/timer_heap.h"

namespace echelon {
namespace {

struct Item {
  std::uint32_t next = kNoIndex;
  int value = 0;
};

TEST(ChunkPool, GivesUntilItsLimit) {
  ChunkPool<Item, 2> pool(5);
  for (std::uint32_t i = 0; i < 5; ++i) EXPECT_EQ(pool.allocate(), i);
  EXPECT_EQ(pool.allocate(), kNoIndex);
  EXPECT_EQ(pool.room(), 0u);
}

TEST(ChunkPool, GivesTheLastFreedFirst) {
  ChunkPool<Item> pool(10);
  for (int i = 0; i < 3; ++i) pool.allocate();
  pool.free(0);
  pool.free(2);
  EXPECT_EQ(pool.allocate(), 2u);
  EXPECT_EQ(pool.allocate(), 0u);
  EXPECT_EQ(pool.allocate(), 3u);
}

TEST(ChunkPool, GrowsWithoutMovingRecords) {
  ChunkPool<Item, 2> pool(100);
  Item* const first = &pool[pool.allocate()];
  for (int i = 0; i < 50; ++i) pool.allocate();
  EXPECT_EQ(first, &pool[0]);
}

std::vector<std::byte> pattern(std::size_t count, int seed) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i)
    bytes[i] = static_cast<std::byte>(i * 31 + static_cast<std::size_t>(seed));
  return bytes;
}

TEST(BodyArena, KeepsEverySizeApart) {
  BodyArena arena(1u << 30);
  std::vector<std::pair<std::byte*, std::vector<std::byte>>> blocks;
  int seed = 0;
  for (std::size_t size = 1; size < 40'000; size += 1 + size / 7)
    for (int i = 0; i < 3; ++i) {
      auto bytes = pattern(size, ++seed);
      blocks.emplace_back(arena.copy(bytes), bytes);
    }
  for (const auto& [block, bytes] : blocks)
    ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), block)) << bytes.size();
  for (const auto& [block, bytes] : blocks) arena.free(block, bytes.size());
  EXPECT_EQ(arena.used_bytes(), 0u);
}

TEST(BodyArena, UsesBlocksAgain) {
  BodyArena arena(1u << 20);
  const auto bytes = pattern(150, 1);
  std::byte* const first = arena.copy(bytes);
  arena.free(first, 150);
  EXPECT_EQ(arena.copy(bytes), first);
  const std::size_t memory = arena.memory_bytes();
  arena.free(first, 150);
  for (int i = 0; i < 10'000; ++i) arena.free(arena.copy(bytes), 150);
  EXPECT_EQ(arena.memory_bytes(), memory);
}

TEST(BodyArena, NothingIsNoBlock) {
  BodyArena arena(10);
  EXPECT_EQ(arena.copy({}), nullptr);
  arena.free(nullptr, 0);
  EXPECT_TRUE(arena.fits(10));
  EXPECT_FALSE(arena.fits(11));
}

TEST(TimerHeap, PopsInOrderOfTime) {
  TimerHeap timers;
  timers.set({1, false}, 30);
  timers.set({2, false}, 10);
  timers.set({3, true}, 20);
  EXPECT_EQ(timers.next_ns(), 10u);
  EXPECT_EQ(timers.pop(), (TimerHeap::Key{2, false}));
  EXPECT_EQ(timers.pop(), (TimerHeap::Key{3, true}));
  EXPECT_EQ(timers.pop(), (TimerHeap::Key{1, false}));
  EXPECT_EQ(timers.next_ns(), 0u);
}

TEST(TimerHeap, EqualTimesHaveAFixedOrder) {
  TimerHeap timers;
  timers.set({5, false}, 10);
  timers.set({4, false}, 10);
  timers.set({9, true}, 10);
  EXPECT_EQ(timers.pop(), (TimerHeap::Key{9, true}));
  EXPECT_EQ(timers.pop(), (TimerHeap::Key{4, false}));
}

TEST(TimerHeap, SettingAgainMovesAndCancellingRemoves) {
  TimerHeap timers;
  timers.set({1, false}, 10);
  timers.set({2, false}, 20);
  timers.set({1, false}, 30);
  EXPECT_EQ(timers.next_ns(), 20u);
  timers.cancel({2, false});
  timers.cancel({2, false});
  timers.cancel({77, true});
  EXPECT_EQ(timers.next_ns(), 30u);
}

TEST(TimerHeap, AgreesWithASortedMap) {
  TimerHeap timers;
  std::mt19937 random(7);
  std::map<std::uint32_t, MonotonicNs> model;
  for (int step = 0; step < 20'000; ++step) {
    const auto index = static_cast<std::uint32_t>(random() % 50);
    if (random() % 3 == 0) {
      timers.cancel({index, false});
      model.erase(index);
    } else {
      const MonotonicNs at = 1 + random() % 1000;
      timers.set({index, false}, at);
      model[index] = at;
    }
    MonotonicNs soonest = 0;
    for (const auto& [key, at] : model) soonest = soonest == 0 ? at : std::min(soonest, at);
    ASSERT_EQ(timers.next_ns(), soonest);
  }
}

}  // namespace
}  // namespace echelon
