// SPDX-License-Identifier: Apache-2.0
#include "chip/drivers/cpu/core_pool.h"

#include <atomic>
#include <set>
#include <thread>

#include <gtest/gtest.h>

namespace echelon::cpu {
namespace {

TEST(CorePool, OneCoreIsTheCallersThread) {
  CorePool pool;
  std::thread::id where;
  pool.run(1, [&](unsigned core) {
    EXPECT_EQ(core, 0u);
    where = std::this_thread::get_id();
  });
  EXPECT_EQ(where, std::this_thread::get_id());
  EXPECT_EQ(pool.thread_count(), 0u);
}

TEST(CorePool, EveryItemIsTakenOnce) {
  CorePool pool;
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> next{0}, sum{0};
    pool.run(4, [&](unsigned core) {
      EXPECT_LT(core, 4u);
      for (int i = next.fetch_add(1); i < 100; i = next.fetch_add(1)) sum.fetch_add(i);
    });
    ASSERT_EQ(sum.load(), 4950);
  }
  EXPECT_EQ(pool.thread_count(), 3u);
}

TEST(CorePool, CoresRunAtTheSameTime) {
  CorePool pool;
  std::atomic<int> arrived{0};
  // Each core waits for the other: this ends only if both run.
  pool.run(2, [&](unsigned) {
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 2);
}

TEST(CorePool, FewerCoresThanThreadsUseOnlyThoseCores) {
  CorePool pool;
  pool.run(4, [](unsigned) {});
  for (int round = 0; round < 100; ++round) {
    std::atomic<unsigned> highest{0};
    pool.run(2, [&](unsigned core) {
      if (core > highest.load()) highest = core;
    });
    ASSERT_LT(highest.load(), 2u);
  }
}

}  // namespace
}  // namespace echelon::cpu
