// SPDX-License-Identifier: Apache-2.0
#include "remote/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/error_codec.h"

namespace echelon {
namespace {

using testing::HasSubstr;
using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

void append(Bytes& to, std::span<const std::byte> more) {
  to.insert(to.end(), more.begin(), more.end());
}

Bytes encoded(const LaneFrame& frame) {
  Bytes out;
  append(out, encode_head(frame));
  append(out, frame.body);
  append(out, padding_of(frame.body.size()));
  return out;
}

Bytes encoded(const DataMessage& message) {
  DataHead head;
  Bytes out;
  append(out, std::span(head).first(encode_data(message, head)));
  append(out, message.bytes);
  return out;
}

LaneFrame frame_of(std::span<const std::byte> body) {
  LaneFrame frame;
  frame.kind = FrameKind::kOrchTask;
  frame.task = 0x1234;
  frame.slot = 9;
  frame.remaining_ns = 5'000;
  frame.body = body;
  return frame;
}

TensorDesc matrix() {
  const std::int64_t shape[] = {4, 6};
  return make_contiguous(Uid{7}, BufferId::make(1, 2), Uid{7}, DType::kFloat32, shape,
                         Access::kReadWrite);
}

std::string why_refused(std::span<const std::byte> message) {
  LaneFrameReader reader(message);
  LaneFrame frame;
  while (reader.next(frame)) {}
  return reader.status().ok() ? "" : reader.status().info().message;
}

// --- frames
// ---------------------------------------------------------------------------------------

TEST(LaneFrameTest, ABatchComesBackFrameByFrame) {
  const Bytes first = bytes_of("abc");
  const Bytes second = bytes_of("defghijk");
  Bytes message = encoded(frame_of(first));
  append(message, encoded(frame_of(second)));
  append(message, encoded(frame_of({})));
  LaneFrameReader reader(message);
  LaneFrame frame;
  ASSERT_TRUE(reader.next(frame));
  EXPECT_EQ(frame.kind, FrameKind::kOrchTask);
  EXPECT_EQ(frame.task, 0x1234u);
  EXPECT_EQ(frame.slot, 9u);
  EXPECT_EQ(frame.remaining_ns, 5'000u);
  EXPECT_EQ(Bytes(frame.body.begin(), frame.body.end()), first);
  ASSERT_TRUE(reader.next(frame));
  EXPECT_EQ(Bytes(frame.body.begin(), frame.body.end()), second);
  ASSERT_TRUE(reader.next(frame));
  EXPECT_TRUE(frame.body.empty());
  EXPECT_FALSE(reader.next(frame));
  EXPECT_TRUE(reader.status().ok());
}

TEST(LaneFrameTest, WhatIsCutAnywhereIsRefused) {
  const Bytes body = bytes_of("abcde");
  const Bytes message = encoded(frame_of(body));
  for (std::size_t size = 1; size < message.size(); ++size) {
    EXPECT_NE(why_refused(std::span(message).first(size)), "") << size;
  }
  EXPECT_EQ(why_refused(message), "");
}

TEST(LaneFrameTest, ALengthBeyondTheMessageIsRefusedWithBothSizes) {
  Bytes message = encoded(frame_of({}));
  message[0] = std::byte{0xFF};
  message[3] = std::byte{0xFF};
  EXPECT_THAT(why_refused(message), HasSubstr("a frame's body of 4278190335 bytes, of which 0"));
}

TEST(LaneFrameTest, UnknownFlagsAndReservedBytesAreRefused) {
  Bytes flags = encoded(frame_of({}));
  flags[6] = std::byte{0x10};
  EXPECT_THAT(why_refused(flags), HasSubstr("flags 0x10"));
  Bytes reserved = encoded(frame_of({}));
  reserved[20] = std::byte{1};
  EXPECT_THAT(why_refused(reserved), HasSubstr("reserved"));
}

TEST(LaneFrameTest, DeadlinesTravelAsTheTimeThatRemains) {
  EXPECT_EQ(remaining_of(0, 100), 0u);
  EXPECT_EQ(remaining_of(150, 100), 50u);
  EXPECT_EQ(remaining_of(50, 100), 1u) << "a passed one stays one";
  EXPECT_EQ(deadline_of(0, 1'000), 0u);
  EXPECT_EQ(deadline_of(50, 1'000), 1'050u);
  EXPECT_EQ(deadline_of(~std::uint64_t{0}, 1'000), ~std::uint64_t{0}) << "no overflow";
}

TEST(BodyAssemblyTest, PiecesBecomeOneBody) {
  const Bytes head = bytes_of("abc");
  const Bytes tail = bytes_of("de");
  BodyAssembly assembly;
  LaneFrame frame = frame_of(head);
  frame.flags = kFlagMore;
  EXPECT_FALSE(assembly.add(frame).value());
  frame = frame_of(tail);
  ASSERT_TRUE(assembly.add(frame).value());
  EXPECT_EQ(Bytes(frame.body.begin(), frame.body.end()), bytes_of("abcde"));
}

TEST(BodyAssemblyTest, AnotherFrameInBetweenIsRefused) {
  BodyAssembly assembly;
  LaneFrame frame = frame_of({});
  frame.flags = kFlagMore;
  ASSERT_TRUE(assembly.add(frame).ok());
  frame = frame_of({});
  frame.task = 1;
  EXPECT_THAT(assembly.add(frame).status().info().message, HasSubstr("within the body of another"));
}

TEST(HelloTest, AnotherMajorVersionIsRefusedWithBoth) {
  const auto hello = encode_hello({2, 3});
  const auto read = decode_hello(hello, {1, 0});
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(read.status().info().message, HasSubstr("2.3"));
  EXPECT_THAT(read.status().info().message, HasSubstr("1.0"));
  EXPECT_EQ(decode_hello(hello, {2, 0})->minor, 3u);
  EXPECT_EQ(decode_hello(std::span(hello).first(5), {2, 0}).status().reason(), Reason::kBadFrame);
}

// --- data
// -----------------------------------------------------------------------------------------

std::vector<DataMessage> one_of_each(std::span<const std::byte> bytes) {
  std::vector<DataMessage> all;
  for (unsigned kind = 1; kind <= static_cast<unsigned>(DataKind::kPayloadHeld); ++kind) {
    DataMessage message;
    message.kind = static_cast<DataKind>(kind);
    message.request = 40 + kind;
    message.dtype = DType::kInt16;
    message.zeroed = true;
    message.rank = 2;
    message.extent = {3, 5};
    message.buffer = BufferId::make(3, 4);
    message.tensor = matrix();
    message.offset = 8;
    message.length = 16;
    if (kind == static_cast<unsigned>(DataKind::kPayload)) message.length = 100;
    const bool carries = message.kind == DataKind::kWrite || message.kind == DataKind::kReadData ||
                         message.kind == DataKind::kPayload;
    if (carries) message.bytes = bytes;
    all.push_back(message);
  }
  return all;
}

TEST(DataMessageTest, EveryKindComesBack) {
  const Bytes bytes = bytes_of("0123456789");
  for (const DataMessage& message : one_of_each(bytes)) {
    const Bytes wire = encoded(message);
    const auto read = decode_data(wire);
    ASSERT_TRUE(read.ok()) << read.status().to_string();
    EXPECT_EQ(read->kind, message.kind);
    EXPECT_EQ(read->request, message.request);
    EXPECT_EQ(Bytes(read->bytes.begin(), read->bytes.end()),
              Bytes(message.bytes.begin(), message.bytes.end()));
    EXPECT_EQ(encoded(*read), wire) << to_string(message.kind);
  }
}

TEST(DataMessageTest, EveryCutIsRefusedOrHoldsLess) {
  const Bytes bytes = bytes_of("0123456789");
  for (const DataMessage& message : one_of_each(bytes)) {
    const Bytes wire = encoded(message);
    for (std::size_t size = 0; size + message.bytes.size() < wire.size(); ++size) {
      EXPECT_FALSE(decode_data(std::span(wire).first(size)).ok())
          << to_string(message.kind) << " " << size;
    }
  }
}

TEST(DataMessageTest, WhatFollowsAMessageIsRefused) {
  for (const DataMessage& message : one_of_each({})) {
    if (message.kind == DataKind::kWrite || message.kind == DataKind::kReadData ||
        message.kind == DataKind::kPayload) {
      continue;
    }
    Bytes wire = encoded(message);
    wire.push_back(std::byte{0});
    EXPECT_FALSE(decode_data(wire).ok()) << to_string(message.kind);
  }
}

TEST(DataMessageTest, RangesBeyondTheTensorAreRefused) {
  const Bytes bytes(10);
  DataMessage message;
  message.kind = DataKind::kWrite;
  message.tensor = matrix();  // 96 bytes
  message.offset = 90;
  message.bytes = bytes;
  EXPECT_THAT(decode_data(encoded(message)).status().info().message,
              HasSubstr("a write of 10 bytes from byte 90 of 96"));
  message.offset = ~std::uint64_t{0};
  EXPECT_FALSE(decode_data(encoded(message)).ok());
  message.kind = DataKind::kRead;
  message.bytes = {};
  message.offset = 0;
  message.length = 97;
  EXPECT_THAT(decode_data(encoded(message)).status().info().message, HasSubstr("97 bytes"));
}

TEST(DataMessageTest, PiecesAreBounded) {
  const Bytes bytes(kPieceBytes + 1);
  DataMessage message;
  message.kind = DataKind::kReadData;
  message.bytes = bytes;
  EXPECT_THAT(decode_data(encoded(message)).status().info().message, HasSubstr("a piece of"));
}

std::vector<std::span<const std::byte>> cut(const Bytes& wire, std::size_t first) {
  constexpr std::size_t kStep = 100;
  std::vector<std::span<const std::byte>> parts = {std::span(wire).first(first)};
  for (std::size_t at = first; at < wire.size(); at += kStep) {
    parts.push_back(std::span(wire).subspan(at, std::min(kStep, wire.size() - at)));
  }
  return parts;
}

/// From byte 8 of a tensor of 1,000.
DataMessage piece_of(DataKind kind, std::span<const std::byte> bytes) {
  const std::int64_t shape[] = {1'000};
  DataMessage message;
  message.kind = kind;
  message.request = 7;
  message.tensor = make_contiguous(Uid{7}, BufferId::make(1, 2), Uid{7}, DType::kUInt8, shape,
                                   Access::kReadWrite);
  message.offset = 8;
  message.bytes = bytes;
  return message;
}

TEST(DataMessageTest, APieceInPartsIsReadWithoutJoiningThem) {
  Bytes bytes(990);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i * 7);
  for (const DataKind kind : {DataKind::kWrite, DataKind::kReadData}) {
    const Bytes wire = encoded(piece_of(kind, bytes));
    const auto parts = cut(wire, kDataHeadBytesMax);
    const auto read = decode_piece(parts);
    ASSERT_TRUE(read.has_value());
    ASSERT_TRUE(read->ok()) << read->status().to_string();
    EXPECT_EQ((*read)->request, 7u);
    EXPECT_EQ((*read)->offset, 8u);
    Bytes joined((*read)->bytes.begin(), (*read)->bytes.end());
    for (const auto part : std::span(parts).subspan(1)) append(joined, part);
    EXPECT_EQ(joined, bytes);
  }
}

TEST(DataMessageTest, APieceInPartsIsBoundedByAllOfThem) {
  const Bytes beyond(993);
  const Bytes wire = encoded(piece_of(DataKind::kWrite, beyond));
  const auto read = decode_piece(cut(wire, kDataHeadBytesMax));
  ASSERT_TRUE(read.has_value());
  EXPECT_THAT(read->status().info().message, HasSubstr("a write of 993 bytes from byte 8 of 1000"));

  const Bytes too_much(kPieceBytes + 1);
  const Bytes large = encoded(piece_of(DataKind::kReadData, too_much));
  EXPECT_THAT(decode_piece(cut(large, kDataHeadBytesMax))->status().info().message,
              HasSubstr("are the most"));
}

TEST(DataMessageTest, WhatIsNoPieceInPartsIsLeftToBeJoined) {
  const Bytes bytes(500);
  const Bytes write = encoded(piece_of(DataKind::kWrite, bytes));
  EXPECT_FALSE(decode_piece({}).has_value());
  EXPECT_FALSE(decode_piece(cut(write, kDataHeadBytesMax - 1)).has_value());
  DataMessage payload = piece_of(DataKind::kPayload, bytes);
  payload.length = 1'000;
  EXPECT_FALSE(decode_piece(cut(encoded(payload), kDataHeadBytesMax)).has_value());
  DataMessage failed = piece_of(DataKind::kReadData, bytes);
  failed.flags = kDataLast | kDataError;
  EXPECT_FALSE(decode_piece(cut(encoded(failed), kDataHeadBytesMax)).has_value());
}

TEST(DataMessageTest, ShapesAndKindsAreChecked) {
  DataMessage message;
  message.kind = DataKind::kAllocate;
  message.dtype = DType::kInt8;
  Bytes wire = encoded(message);
  wire[18] = std::byte{9};
  EXPECT_THAT(decode_data(wire).status().info().message, HasSubstr("rank 9"));
  wire[16] = std::byte{99};
  EXPECT_THAT(decode_data(wire).status().info().message, HasSubstr("dtype 99"));
  wire[0] = std::byte{77};
  EXPECT_THAT(decode_data(wire).status().info().message, HasSubstr("kind 77"));
}

TEST(DataMessageTest, AnErrorComesBackWholeAndOnlyInAnswers) {
  ErrorInfo info;
  info.code = Code::kResourceExhausted;
  info.reason = Reason::kExhausted;
  info.message = "no room";
  const Bytes error = encode_error(info);
  DataMessage message;
  message.kind = DataKind::kAllocated;
  message.flags = kDataError;
  message.bytes = error;
  const Bytes whole = encoded(message);
  const auto read = decode_data(whole);
  ASSERT_TRUE(read.ok());
  Status bad;
  EXPECT_EQ(error_in(read->bytes, bad).info().message, "no room");
  EXPECT_TRUE(bad.ok());
  message.kind = DataKind::kAllocate;
  EXPECT_FALSE(decode_data(encoded(message)).ok());
}

TEST(WireTest, RandomBytesAreReadWithinTheirBounds) {
  std::mt19937 random(7);  // NOLINT: the same each time
  const Bytes bytes = bytes_of("0123456789");
  const auto kinds = one_of_each(bytes);
  for (int round = 0; round < 20'000; ++round) {
    Bytes wire = encoded(kinds[random() % kinds.size()]);
    for (int flips = 0; flips < 3; ++flips) wire[random() % wire.size()] = std::byte(random());
    const auto read = decode_data(wire);
    EXPECT_LE(read.ok() ? read->bytes.size() : 0, wire.size());
    EXPECT_LE(why_refused(wire).size(), 200u);
  }
}

}  // namespace
}  // namespace echelon
