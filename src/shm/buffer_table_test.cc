// SPDX-License-Identifier: Apache-2.0
#include "shm/buffer_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/syscall.h"

namespace echelon {
namespace {

BufferTableView view_of(const BufferTable& table) {
  return BufferTableView::open(duplicate_fd(table.fd()).value()).value();
}

TEST(BufferTable, APlaceIsFoundByItsNameOnBothSides) {
  BufferTable table = BufferTable::create().value();
  const BufferTableView view = view_of(table);
  const BufferId id = table.add({3, 640, 1000}).value();
  for (const auto& place : {table.find(id).value(), view.find(id).value()}) {
    EXPECT_EQ(place.segment, 3u);
    EXPECT_EQ(place.offset, 640u);
    EXPECT_EQ(place.bytes, 1000u);
  }
}

TEST(BufferTable, ARemovedNameIsStaleOnBothSides) {
  BufferTable table = BufferTable::create().value();
  const BufferTableView view = view_of(table);
  const BufferId id = table.add({0, 0, 1}).value();
  ASSERT_TRUE(table.remove(id).ok());
  EXPECT_EQ(table.find(id).status().reason(), Reason::kStaleHandle);
  EXPECT_EQ(view.find(id).status().reason(), Reason::kStaleHandle);
  EXPECT_EQ(table.remove(id).status().reason(), Reason::kStaleHandle);
}

TEST(BufferTable, ASlotGivenOutAgainHasAnotherName) {
  BufferTable table = BufferTable::create().value();
  const BufferTableView view = view_of(table);
  const BufferId first = table.add({0, 0, 1}).value();
  ASSERT_TRUE(table.remove(first).ok());
  const BufferId second = table.add({0, 64, 1}).value();
  EXPECT_EQ(second.slot(), first.slot());
  EXPECT_EQ(view.find(first).status().reason(), Reason::kStaleHandle);
  EXPECT_TRUE(view.find(second).ok());
}

TEST(BufferTable, NamesNeverGivenOutAreStale) {
  BufferTable table = BufferTable::create().value();
  const BufferTableView view = view_of(table);
  for (const BufferId id : {BufferId{0}, BufferId::make(5, 1), BufferId::make(0xFFFFFF, 9)}) {
    EXPECT_EQ(table.find(id).status().reason(), Reason::kStaleHandle);
    EXPECT_EQ(view.find(id).status().reason(), Reason::kStaleHandle);
  }
}

TEST(BufferTable, ABorrowerCannotMapItWritable) {
  const BufferTable table = BufferTable::create().value();
  EXPECT_FALSE(
      Segment::open(duplicate_fd(table.fd()).value(), kBufferTableBytes, MapOptions{}).ok());
}

TEST(BufferTable, AReaderNeverSeesAnotherBuffersPlace) {
  BufferTable table = BufferTable::create().value();
  const BufferTableView view = view_of(table);
  std::atomic<std::uint64_t> current{table.add({1, 100, 200}).value().value};
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      const BufferId id{current.load(std::memory_order_relaxed)};
      const auto place = view.find(id);
      if (!place.ok()) continue;
      const std::uint64_t serial = id.serial();
      ASSERT_EQ(place->segment, serial);
      ASSERT_EQ(place->offset, 100 * serial);
      ASSERT_EQ(place->bytes, 200 * serial);
    }
  });
  for (std::uint64_t serial = 2; serial < 50'000; ++serial) {
    ASSERT_TRUE(table.remove({current.load(std::memory_order_relaxed)}).ok());
    const auto id = table.add({static_cast<std::uint32_t>(serial), 100 * serial, 200 * serial});
    current.store(id->value, std::memory_order_relaxed);
  }
  stop.store(true, std::memory_order_relaxed);
  reader.join();
}

}  // namespace
}  // namespace echelon
