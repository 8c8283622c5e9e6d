// SPDX-License-Identifier: Apache-2.0
#include "base/codec.h"

#include <gtest/gtest.h>

#include <array>

namespace echelon {
namespace {

TEST(Codec, WritesLittleEndian) {
  std::array<std::byte, 4> bytes{};
  ByteWriter writer(bytes);
  writer.put(std::uint32_t{0x04030201});
  EXPECT_EQ(bytes, (std::array{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}}));
}

TEST(Codec, ReadsWhatItWrote) {
  std::array<std::byte, 64> bytes{};
  ByteWriter writer(bytes);
  writer.put(std::uint8_t{7});
  writer.put(std::int64_t{-3});
  writer.put_zeros(2);
  writer.put_text("abc");
  ASSERT_TRUE(writer.ok());
  ByteReader reader(writer.written());
  EXPECT_EQ(reader.get<std::uint8_t>(), 7);
  EXPECT_EQ(reader.get<std::int64_t>(), -3);
  EXPECT_EQ(reader.get<std::uint16_t>(), 0);
  EXPECT_EQ(reader.text(3), "abc");
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_TRUE(reader.ok());
}

TEST(Codec, WriterRemembersAnOverrun) {
  std::array<std::byte, 4> bytes{};
  ByteWriter writer(bytes);
  writer.put(std::uint64_t{1});
  EXPECT_FALSE(writer.ok());
  writer.put(std::uint8_t{1});
  EXPECT_FALSE(writer.ok());
  EXPECT_EQ(writer.size(), 0u);
}

TEST(Codec, ReaderAnswersZeroAfterAnOverrun) {
  const std::array<std::byte, 4> bytes{std::byte{1}, std::byte{1}, std::byte{1}, std::byte{1}};
  ByteReader reader(bytes);
  EXPECT_EQ(reader.get<std::uint64_t>(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.get<std::uint8_t>(), 0);
  EXPECT_TRUE(reader.bytes(1).empty());
}

TEST(Codec, HugeLengthsDoNotWrap) {
  const std::array<std::byte, 4> bytes{};
  ByteReader reader(bytes);
  EXPECT_TRUE(reader.bytes(SIZE_MAX).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(Codec, ClaimCountsBytesThatTheCallerFills) {
  std::array<std::byte, 8> bytes{};
  ByteWriter writer(bytes);
  writer.claim(3)[2] = std::byte{9};
  EXPECT_EQ(writer.size(), 3u);
  EXPECT_EQ(writer.unwritten().size(), 5u);
  EXPECT_EQ(bytes[2], std::byte{9});
}

}  // namespace
}  // namespace echelon
