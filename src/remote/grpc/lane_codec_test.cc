// SPDX-License-Identifier: Apache-2.0
//
// Against protobuf's own code: what one writes the other reads.
#include "remote/grpc/lane_codec.h"

#include <echelon/v1/lane.pb.h>
#include <gtest/gtest.h>

#include <string>

namespace echelon {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::string field(BatchField number, const std::string& payload) {
  const FieldHeader header = field_header(number, payload.size());
  return text_of({header.bytes.data(), header.size}) + payload;
}

TEST(LaneCodecTest, ReadsWhatProtobufWrites) {
  v1::LaneBatch batch;
  batch.add_messages("one");
  batch.add_messages("");
  batch.add_messages(std::string(300'000, 'x'));
  batch.set_closed("words");
  const std::string wire = batch.SerializeAsString();
  DecodedBatch decoded;
  ASSERT_TRUE(decode_batch(bytes_of(wire), decoded).ok());
  ASSERT_EQ(decoded.messages.size(), 3U);
  EXPECT_EQ(text_of(decoded.messages[0]), "one");
  EXPECT_TRUE(decoded.messages[1].empty());
  EXPECT_EQ(text_of(decoded.messages[2]), std::string(300'000, 'x'));
  ASSERT_TRUE(decoded.closed.has_value());
  EXPECT_EQ(text_of(*decoded.closed), "words");
}

TEST(LaneCodecTest, ProtobufReadsWhatItWrites) {
  std::string wire;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{127}, std::size_t{128}, kLaneMessageBytesMax}) {
    wire += field(BatchField::kMessages, std::string(size, 'y'));
  }
  wire += field(BatchField::kClosed, "");
  v1::LaneBatch batch;
  ASSERT_TRUE(batch.ParseFromString(wire));
  ASSERT_EQ(batch.messages_size(), 4);
  EXPECT_EQ(batch.messages(2).size(), 128U);
  EXPECT_EQ(batch.messages(3).size(), kLaneMessageBytesMax);
  EXPECT_TRUE(batch.has_closed());
}

TEST(LaneCodecTest, AMessageAloneIsFoundByItsFirstBytes) {
  const std::string wire = field(BatchField::kMessages, std::string(300'000, 'x'));
  const std::size_t head = wire.size() - 300'000;
  for (std::size_t seen = 0; seen < 20; ++seen) {
    const auto at = lone_message_at(bytes_of(wire).first(seen), wire.size());
    EXPECT_EQ(at, seen < head ? std::nullopt : std::optional(head)) << seen;
  }
}

TEST(LaneCodecTest, WhatIsMoreOrLessThanAMessageAloneIsNot) {
  const std::string message = field(BatchField::kMessages, std::string(1'000, 'x'));
  const std::string words = field(BatchField::kClosed, std::string(1'000, 'x'));
  const std::string large =
      field(BatchField::kMessages, std::string(kLaneMessageBytesMax + 1, 'x'));
  EXPECT_FALSE(lone_message_at(bytes_of(message + words), message.size() + words.size()));
  EXPECT_FALSE(lone_message_at(bytes_of(message), message.size() - 1));
  EXPECT_FALSE(lone_message_at(bytes_of(words), words.size()));
  EXPECT_FALSE(lone_message_at(bytes_of(large), large.size()));
}

TEST(LaneCodecTest, FieldsOfALaterMinorVersionAreSkipped) {
  // 15: varint 300; 16: fixed64; 17: fixed32; 18: bytes "zz".
  const std::string later = std::string("\x78\xAC\x02", 3) + std::string("\x81\x01", 2) +
                            std::string(8, 'a') + std::string("\x8D\x01", 2) + "bbbb" +
                            std::string("\x92\x01\x02zz", 5);
  DecodedBatch decoded;
  ASSERT_TRUE(
      decode_batch(bytes_of(later + field(BatchField::kMessages, "m") + later), decoded).ok());
  ASSERT_EQ(decoded.messages.size(), 1U);
  EXPECT_FALSE(decoded.closed.has_value());
}

TEST(LaneCodecTest, WhatIsCutAnywhereIsRefused) {
  const std::string whole = field(BatchField::kMessages, std::string(200, 'x'));
  for (std::size_t size = 1; size < whole.size(); ++size) {
    DecodedBatch decoded;
    const Status status = decode_batch(bytes_of(whole.substr(0, size)), decoded);
    ASSERT_FALSE(status.ok()) << size;
    EXPECT_EQ(status.reason(), Reason::kBadFrame) << size;
  }
}

TEST(LaneCodecTest, GarbageIsRefused) {
  for (const std::string& garbage :
       {std::string("GET / HTTP/1.1\r\n"), std::string(64, '\xFF'), std::string(4, '\0'),
        std::string("\x0B", 1), std::string("\x0A\xFF\xFF\xFF\xFF\x0F", 6)}) {
    DecodedBatch decoded;
    EXPECT_FALSE(decode_batch(bytes_of(garbage), decoded).ok()) << garbage;
  }
}

TEST(LaneCodecTest, MoreOrLargerMessagesThanABatchHoldsAreRefused) {
  std::string many;
  for (std::size_t i = 0; i <= kBatchMessagesMax; ++i) many += field(BatchField::kMessages, "");
  DecodedBatch decoded;
  EXPECT_EQ(decode_batch(bytes_of(many), decoded).reason(), Reason::kBadFrame);
  const std::string large =
      field(BatchField::kMessages, std::string(kLaneMessageBytesMax + 1, 'x'));
  EXPECT_EQ(decode_batch(bytes_of(large), decoded).reason(), Reason::kTooLarge);
}

}  // namespace
}  // namespace echelon
