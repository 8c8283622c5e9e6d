// SPDX-License-Identifier: Apache-2.0
#include "engine/access_map.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

/// Adds an access of `task`; its record.
std::uint32_t add(AccessMap& map, const TensorDesc& desc, Tag tag, std::uint32_t task) {
  std::uint32_t first = kNoIndex;
  AccessRecord record;
  record.task = task;
  record.tag = tag;
  map.add(map.locate(desc, tag), record, first, [](const AccessRecord&) { return true; });
  return first;
}

std::vector<std::uint32_t> before(AccessMap& map, const TensorDesc& desc, Tag tag) {
  std::vector<std::uint32_t> tasks;
  const AccessMap::Place place = map.locate(desc, tag);
  map.for_each_before(place, tag, [&](const AccessRecord& record, bool) {
    tasks.push_back(record.task);
    return true;
  });
  map.abandon(place);
  return tasks;
}

using Tasks = std::vector<std::uint32_t>;

TEST(AccessMap, NewestComesFirst) {
  AccessMap map(100);
  add(map, bytes_of(1, 0, 10), Tag::kInput, 1);
  add(map, bytes_of(1, 0, 10), Tag::kInput, 2);
  EXPECT_EQ(before(map, bytes_of(1, 0, 10), Tag::kOutput), (Tasks{2, 1}));
}

TEST(AccessMap, ACutInTheMiddleLeavesBothEnds) {
  AccessMap map(100);
  add(map, bytes_of(1, 0, 30), Tag::kOutput, 1);
  add(map, bytes_of(1, 10, 20), Tag::kOutput, 2);
  EXPECT_EQ(before(map, bytes_of(1, 0, 10), Tag::kInput), (Tasks{1}));
  EXPECT_EQ(before(map, bytes_of(1, 10, 20), Tag::kInput), (Tasks{2}));
  EXPECT_EQ(before(map, bytes_of(1, 20, 30), Tag::kInput), (Tasks{1}));
}

TEST(AccessMap, WithoutARecordToSpareACutIsNotMade) {
  AccessMap map(2);
  add(map, bytes_of(1, 0, 30), Tag::kOutput, 1);
  add(map, bytes_of(1, 10, 20), Tag::kOutput, 2);
  EXPECT_EQ(map.room(), 0u);
  EXPECT_EQ(before(map, bytes_of(1, 20, 30), Tag::kInput), (Tasks{1}));
}

TEST(AccessMap, BuffersAreForgottenWithTheirLastAccess) {
  AccessMap map(100);
  const std::uint32_t a = add(map, bytes_of(1, 0, 30), Tag::kOutput, 1);
  const std::uint32_t b = add(map, bytes_of(2, 0, 30), Tag::kInput, 2);
  EXPECT_EQ(map.entry_count(), 2u);
  map.free(a);
  EXPECT_EQ(map.entry_count(), 1u);
  map.free(b);
  EXPECT_EQ(map.entry_count(), 0u);
}

TEST(AccessMap, LookingLeavesNothing) {
  AccessMap map(100);
  EXPECT_TRUE(before(map, bytes_of(1, 0, 10), Tag::kInput).empty());
  EXPECT_EQ(map.entry_count(), 0u);
}

TEST(AccessMap, FindsEveryBufferWhileOthersComeAndGo) {
  AccessMap map(10'000);
  std::mt19937 random(1);
  std::map<std::uint32_t, std::uint32_t> records;  // buffer -> record
  for (int step = 0; step < 50'000; ++step) {
    const auto buffer = static_cast<std::uint32_t>(random() % 3000);
    const auto found = records.find(buffer);
    if (found == records.end()) {
      records[buffer] = add(map, bytes_of(buffer, 0, 8), Tag::kOutput, buffer);
    } else {
      ASSERT_EQ(before(map, bytes_of(buffer, 0, 8), Tag::kInput), (Tasks{buffer}));
      map.free(found->second);
      records.erase(found);
    }
    ASSERT_EQ(map.entry_count(), records.size());
  }
}

}  // namespace
}  // namespace echelon
