// SPDX-License-Identifier: Apache-2.0
#include "api/late_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace echelon::detail {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kOwner = 42;

CallableSlot slot_at(std::uint32_t index) {
  return CallableSlot{kFirstLateSlot + index};
}
CallableRef ref_of(CallableSlot slot, std::uint64_t serial) {
  return {kOwner, slot.value, serial};
}
Callable named(const std::string& name, TaskKind kind = TaskKind::kSub) {
  Callable callable;
  callable.kind = kind;
  callable.name = name;
  return callable;
}

class LateTableTest : public testing::Test {
 protected:
  LateTableTest() {
    table.when_drained([this](CallableSlot, std::uint64_t serial) { drained.push_back(serial); });
  }
  LateTable table;
  std::vector<std::uint64_t> drained;
};

TEST_F(LateTableTest, WhatWasInsertedIsFoundByItsHandleAndByItsSlot) {
  for (const std::uint32_t index : {0u, 255u, 256u, LateTable::kSlotsMax - 1}) {
    ASSERT_TRUE(table.insert(slot_at(index), index + 1, kOwner, named(std::to_string(index))).ok());
    const Callable* callable = table.use(ref_of(slot_at(index), index + 1));
    ASSERT_NE(callable, nullptr);
    EXPECT_EQ(callable->name, std::to_string(index));
    EXPECT_EQ(table.use(slot_at(index), TaskKind::kSub), callable);
  }
}

TEST_F(LateTableTest, NothingElseIsFound) {
  ASSERT_TRUE(table.insert(slot_at(3), 7, kOwner, named("it")).ok());
  EXPECT_EQ(table.use(ref_of(slot_at(3), 8)), nullptr);
  EXPECT_EQ(table.use(ref_of(slot_at(4), 7)), nullptr);
  EXPECT_EQ(table.use(ref_of(slot_at(3), 0)), nullptr);
  EXPECT_EQ(table.use(CallableRef{kOwner + 1, slot_at(3).value, 7}), nullptr);
  EXPECT_EQ(table.use(slot_at(3), TaskKind::kOrch), nullptr);
  EXPECT_EQ(table.use(slot_at(1000), TaskKind::kSub), nullptr);
  EXPECT_EQ(table.use(slot_at(LateTable::kSlotsMax), TaskKind::kSub), nullptr);
  EXPECT_EQ(table.use(CallableSlot{3}, TaskKind::kSub), nullptr);
}

TEST_F(LateTableTest, ATakenOrImpossibleSlotIsRefused) {
  ASSERT_TRUE(table.insert(slot_at(3), 7, kOwner, named("it")).ok());
  EXPECT_EQ(table.insert(slot_at(3), 8, kOwner, named("other")).reason(), Reason::kBadArgument);
  EXPECT_EQ(table.insert(slot_at(LateTable::kSlotsMax), 9, kOwner, named("x")).reason(),
            Reason::kBadArgument);
  EXPECT_EQ(table.insert(CallableSlot{5}, 9, kOwner, named("x")).reason(), Reason::kBadArgument);
}

TEST_F(LateTableTest, WhatIsClosedIsKeptForWhoeverUsesItAndRefusedToOthers) {
  ASSERT_TRUE(table.insert(slot_at(0), 7, kOwner, named("it")).ok());
  const Callable* callable = table.use(ref_of(slot_at(0), 7));
  EXPECT_FALSE(table.close(slot_at(0), 7));
  EXPECT_EQ(callable->name, "it");
  EXPECT_EQ(table.use(ref_of(slot_at(0), 7)), nullptr);
  EXPECT_EQ(table.use(slot_at(0), TaskKind::kSub), nullptr);
  EXPECT_THAT(drained, IsEmpty());
  table.release(slot_at(0));
  EXPECT_THAT(drained, ElementsAre(7));
  EXPECT_EQ(table.remove(slot_at(0), 7).name, "it");
}

TEST_F(LateTableTest, WhatNobodyUsesIsDrainedAtOnceAndItsSlotTakenAgain) {
  ASSERT_TRUE(table.insert(slot_at(0), 7, kOwner, named("it")).ok());
  EXPECT_TRUE(table.close(slot_at(0), 7));
  EXPECT_THAT(drained, IsEmpty());
  static_cast<void>(table.remove(slot_at(0), 7));
  ASSERT_TRUE(table.insert(slot_at(0), 8, kOwner, named("other", TaskKind::kOrch)).ok());
  EXPECT_EQ(table.use(ref_of(slot_at(0), 7)), nullptr);
  EXPECT_EQ(table.use(ref_of(slot_at(0), 8))->name, "other");
}

TEST_F(LateTableTest, ClosingOrRemovingAnotherSerialChangesNothing) {
  ASSERT_TRUE(table.insert(slot_at(0), 7, kOwner, named("it")).ok());
  EXPECT_TRUE(table.close(slot_at(0), 6));
  EXPECT_EQ(table.remove(slot_at(0), 6).name, "");
  EXPECT_NE(table.use(ref_of(slot_at(0), 7)), nullptr);
}

/// Users race with a slot that is filled, closed and filled again: each sees its own callable or
/// none, and each closing is drained exactly once.
TEST(LateTableRace, NobodySeesAnotherCallableThanItsOwn) {
  constexpr int kRounds = 500;
  LateTable table;
  std::atomic<std::uint64_t> drained{0};
  table.when_drained([&](CallableSlot, std::uint64_t serial) { drained.store(serial); });
  std::atomic<std::uint64_t> current{0};
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::jthread> users;
  for (int i = 0; i < 2; ++i) {
    users.emplace_back([&] {
      while (!stop.load()) {
        const std::uint64_t serial = current.load();
        const Callable* callable = table.use(ref_of(slot_at(0), serial));
        if (callable == nullptr) {
          std::this_thread::yield();  // the machine may be busy
          continue;
        }
        if (callable->name != std::to_string(serial)) wrong.fetch_add(1);
        table.release(slot_at(0));
      }
    });
  }
  for (std::uint64_t serial = 1; serial <= kRounds; ++serial) {
    ASSERT_TRUE(table.insert(slot_at(0), serial, kOwner, named(std::to_string(serial))).ok());
    current.store(serial);
    std::this_thread::yield();
    if (!table.close(slot_at(0), serial)) {
      while (drained.load() != serial) std::this_thread::yield();
    }
    EXPECT_EQ(table.remove(slot_at(0), serial).name, std::to_string(serial));
  }
  stop.store(true);
  users.clear();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace echelon::detail
