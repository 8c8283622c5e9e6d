// SPDX-License-Identifier: Apache-2.0
#include "process/payload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <vector>

namespace echelon {
namespace {

using testing::HasSubstr;

std::vector<std::byte> bytes_of(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 7);
  return bytes;
}

bool same(const Payload& payload, const std::vector<std::byte>& bytes) {
  return payload.bytes().size() == bytes.size() &&
         std::memcmp(payload.bytes().data(), bytes.data(), bytes.size()) == 0;
}

TEST(PayloadTest, SmallOnesAreHeldAndLargeOnesLieInAFile) {
  const auto small = bytes_of(kInlinePayloadMax);
  const auto large = bytes_of(kInlinePayloadMax + 1);
  const auto held = Payload::make(small);
  const auto filed = Payload::make(large);
  ASSERT_TRUE(held.ok() && filed.ok());
  EXPECT_EQ((*held)->fd(), -1);
  EXPECT_TRUE(same(**held, small));
  EXPECT_GE((*filed)->fd(), 0);
  EXPECT_TRUE(same(**filed, large));
}

TEST(PayloadTest, AFileCanBeOpenedByAnotherAndWrittenByNobody) {
  const auto bytes = bytes_of(100);
  const auto made = Payload::make_file(bytes, MemfdUse::kData);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(::pwrite((*made)->fd(), "x", 1, 0), -1);
  auto second = duplicate_fd((*made)->fd());
  ASSERT_TRUE(second.ok());
  const auto opened = Payload::open(std::move(second).value(), bytes.size());
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(same(**opened, bytes));
}

TEST(PayloadTest, AFileThatCouldChangeOrIsOfAnotherSizeIsRefused) {
  auto open_file = create_memfd("test", 100);
  ASSERT_TRUE(open_file.ok());
  EXPECT_THAT(Payload::open(std::move(open_file).value(), 100).status().info().message,
              HasSubstr("is not sealed"));
  const auto made = Payload::make_file(bytes_of(100), MemfdUse::kData);
  const auto wrong_size = Payload::open(duplicate_fd((*made)->fd()).value(), 101);
  EXPECT_EQ(wrong_size.status().reason(), Reason::kBadFrame);
  EXPECT_THAT(wrong_size.status().info().message, HasSubstr("100 bytes, and 101 were announced"));
  const auto too_large = Payload::open(duplicate_fd((*made)->fd()).value(), kPayloadBytesMax + 1);
  EXPECT_EQ(too_large.status().reason(), Reason::kTooLarge);
}

}  // namespace
}  // namespace echelon
