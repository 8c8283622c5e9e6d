// SPDX-License-Identifier: Apache-2.0
#include "shm/segment.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "base/syscall.h"

namespace echelon {
namespace {

TEST(Segment, AReceivedDescriptorSharesItsBytes) {
  const Segment mine = Segment::create("test", 10000, {}).value();
  EXPECT_EQ(mine.size(), round_up_to_pages(10000));
  mine.data()[9999] = std::byte{3};
  const Segment theirs =
      Segment::open(duplicate_fd(mine.fd()).value(), mine.size(), MapOptions{}).value();
  EXPECT_EQ(theirs.data()[9999], std::byte{3});
}

TEST(Segment, AnotherSizeIsRefused) {
  const Segment mine = Segment::create("test", 4096, {}).value();
  const auto theirs = Segment::open(duplicate_fd(mine.fd()).value(), 8192, {});
  ASSERT_FALSE(theirs.ok());
  EXPECT_EQ(theirs.status().reason(), Reason::kBadFrame);
}

TEST(Segment, AnUnsealedFileIsRefused) {
  UniqueFd fd = create_memfd("test", 4096).value();
  EXPECT_EQ(Segment::open(std::move(fd), 4096, {}).status().reason(), Reason::kBadFrame);
}

TEST(Segment, WhatIsNoMemoryIsRefused) {
  FdPair pipe = create_pipe().value();
  EXPECT_EQ(Segment::open(std::move(pipe.first), 4096, {}).status().reason(), Reason::kBadFrame);
}

TEST(Segment, SealedAgainstWritesOnlyTheFirstMappingWrites) {
  Segment mine = Segment::create("test", 4096, {}).value();
  ASSERT_TRUE(mine.seal_future_writes().ok());
  mine.data()[0] = std::byte{1};
  EXPECT_FALSE(Segment::open(duplicate_fd(mine.fd()).value(), 4096, {}).ok());
  MapOptions read;
  read.access = MapAccess::kRead;
  const Segment theirs = Segment::open(duplicate_fd(mine.fd()).value(), 4096, read).value();
  EXPECT_EQ(theirs.data()[0], std::byte{1});
}

}  // namespace
}  // namespace echelon
