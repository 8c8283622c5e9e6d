// SPDX-License-Identifier: Apache-2.0
#include "shm/task_body.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>

namespace echelon {
namespace {

std::vector<TaggedTensor> some_tensors() {
  const std::array<std::int64_t, 3> shape{2, 3, 4};
  TaggedTensor first;
  first.desc = make_contiguous(Uid{1}, BufferId::make(2, 3), Uid{4}, DType::kFloat32, shape,
                               Access::kReadWrite);
  first.desc.offset = 64;
  first.tag = Tag::kInout;
  TaggedTensor scalar;
  scalar.desc =
      make_contiguous(Uid{1}, BufferId::make(7, 9), Uid{1}, DType::kBool, {}, Access::kRead);
  return {first, scalar};
}

CallConfig some_config() {
  CallConfig config;
  config.grid = {4, 5, 6};
  config.cores = 7;
  config.profiling = 8;
  config.scope = "train/step";
  config.values = {{"a", "b"}, {"long", std::string(1000, 'x')}, {"", ""}};
  return config;
}

std::vector<std::byte> encoded(const CallConfig* config) {
  const auto tensors = some_tensors();
  const std::array scalars{ScalarValue{DType::kFloat64, 0x400921FB54442D18},
                           ScalarValue{DType::kInt8, 0xFF}};
  std::vector<std::byte> bytes(task_body_bytes(tensors, scalars, config));
  EXPECT_EQ(encode_task_body(tensors, scalars, config, bytes), bytes.size());
  return bytes;
}

TEST(TaskBody, EveryFieldArrives) {
  const CallConfig config = some_config();
  TaskBody body;
  const Status status = decode_task_body(encoded(&config), body);
  ASSERT_TRUE(status.ok()) << status.to_string();
  ASSERT_EQ(body.tensors.size(), 2u);
  const TensorDesc& desc = body.tensors[0].desc;
  EXPECT_EQ(body.tensors[0].tag, Tag::kInout);
  EXPECT_EQ(desc.issuer, Uid{1});
  EXPECT_EQ(desc.buffer, BufferId::make(2, 3));
  EXPECT_EQ(desc.home, Uid{4});
  EXPECT_EQ(desc.offset, 64u);
  EXPECT_EQ(desc.dtype, DType::kFloat32);
  EXPECT_EQ(desc.access, Access::kReadWrite);
  EXPECT_EQ(desc.rank, 3);
  EXPECT_EQ(desc.stride[0], 48);
  EXPECT_EQ(body.tensors[1].desc.rank, 0);
  ASSERT_EQ(body.scalars.size(), 2u);
  EXPECT_EQ(body.scalars[0].bits, 0x400921FB54442D18u);
  EXPECT_EQ(body.scalars[1].dtype, DType::kInt8);
  EXPECT_EQ(body.config, config);
}

TEST(TaskBody, DefaultsTakeNoBytes) {
  const CallConfig defaults;
  EXPECT_EQ(encoded(&defaults), encoded(nullptr));
  EXPECT_EQ(task_body_bytes({}, {}, &defaults), 8u);
}

TEST(TaskBody, ABodyUsedAgainKeepsNothing) {
  const CallConfig config = some_config();
  TaskBody body;
  ASSERT_TRUE(decode_task_body(encoded(&config), body).ok());
  std::vector<std::byte> empty(8);
  ASSERT_TRUE(decode_task_body(empty, body).ok());
  EXPECT_TRUE(body.tensors.empty());
  EXPECT_TRUE(body.scalars.empty());
  EXPECT_EQ(body.config, CallConfig{});
}

TEST(TaskBody, EveryPrefixAndASuffixAreRefused) {
  const CallConfig config = some_config();
  auto bytes = encoded(&config);
  TaskBody body;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_EQ(decode_task_body(std::span(bytes).first(size), body).reason(), Reason::kBadFrame)
        << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_EQ(decode_task_body(bytes, body).reason(), Reason::kBadFrame);
}

TEST(TaskBody, TooManyTensorsAreRefused) {
  std::vector<std::byte> bytes(8);
  bytes[0] = std::byte{kTaskTensorsMax + 1};
  TaskBody body;
  EXPECT_EQ(decode_task_body(bytes, body).reason(), Reason::kBadFrame);
}

TEST(TaskBody, AScalarThatIsNotPaddedIsRefused) {
  const std::array scalars{ScalarValue{DType::kInt8, 0x100}};
  std::vector<std::byte> bytes(task_body_bytes({}, scalars, nullptr));
  encode_task_body({}, scalars, nullptr, bytes);
  TaskBody body;
  EXPECT_EQ(decode_task_body(bytes, body).reason(), Reason::kBadFrame);
}

std::vector<std::byte> encoded_inline(std::span<const InlineBytes> inlined) {
  const CallConfig config = some_config();
  std::vector<std::byte> bytes(task_body_bytes({}, {}, &config, inlined));
  EXPECT_EQ(encode_task_body({}, {}, &config, bytes, inlined), bytes.size());
  return bytes;
}

TEST(TaskBody, InlineBytesArriveAsTheyWereGiven) {
  const std::vector<std::byte> large(kTaskInlineBytesMax - 3, std::byte{7});
  const std::array<std::byte, 3> small{std::byte{1}, std::byte{2}, std::byte{3}};
  const std::array<InlineBytes, 3> given{small, {}, large};
  const auto bytes = encoded_inline(given);
  TaskBody body;
  const Status status = decode_task_body(bytes, body);
  ASSERT_TRUE(status.ok()) << status.to_string();
  ASSERT_EQ(body.inlined.size(), given.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    EXPECT_TRUE(std::ranges::equal(body.inlined[i], given[i])) << i;
  }
  EXPECT_EQ(body.config, some_config());
}

TEST(TaskBody, MoreInlineBytesThanThereMayBeAreRefused) {
  const std::vector<std::byte> large(kTaskInlineBytesMax + 1);
  const std::array<InlineBytes, 1> given{large};
  const auto bytes = encoded_inline(given);
  TaskBody body;
  EXPECT_EQ(decode_task_body(bytes, body).reason(), Reason::kBadFrame);
}

TEST(TaskBody, InlineBytesThatAreCutShortAreRefused) {
  const std::array<std::byte, 3> small{};
  const std::array<InlineBytes, 2> given{small, small};
  const auto bytes = encoded_inline(given);
  TaskBody body;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_EQ(decode_task_body(std::span(bytes).first(size), body).reason(), Reason::kBadFrame)
        << size;
  }
}

TEST(TaskBody, GarbageDoesNoHarm) {
  std::mt19937_64 random(11);
  const CallConfig config = some_config();
  const auto good = encoded(&config);
  TaskBody body;
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = good;
    for (int i = 0; i < 3; ++i) bytes[random() % 160] = std::byte(random() & 0xFF);
    const Status status = decode_task_body(bytes, body);
    if (!status.ok()) {
      EXPECT_EQ(status.reason(), Reason::kBadFrame);
    }
  }
}

}  // namespace
}  // namespace echelon
