// SPDX-License-Identifier: Apache-2.0
#include "base/error_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace echelon {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

ErrorInfo full_error() {
  ErrorInfo info;
  info.code = Code::kAborted;
  info.reason = Reason::kException;
  info.phase = Phase::kRunning;
  info.cause = Cause::kSignal;
  info.message = "it broke";
  info.path = "pod0/host1/sub0";
  info.host = "here";
  info.callable = "step";
  info.digest = std::string(64, 'a');
  info.traceback = "at a\nat b";
  info.pid = 71;
  info.signal = 11;
  info.exit_code = -1;
  info.time_in_phase = std::chrono::nanoseconds(1234567);
  return info;
}

void expect_equal(const ErrorInfo& a, const ErrorInfo& b) {
  EXPECT_EQ(a.code, b.code);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.phase, b.phase);
  EXPECT_EQ(a.cause, b.cause);
  EXPECT_EQ(a.message, b.message);
  EXPECT_EQ(a.path, b.path);
  EXPECT_EQ(a.host, b.host);
  EXPECT_EQ(a.callable, b.callable);
  EXPECT_EQ(a.digest, b.digest);
  EXPECT_EQ(a.traceback, b.traceback);
  EXPECT_EQ(a.pid, b.pid);
  EXPECT_EQ(a.signal, b.signal);
  EXPECT_EQ(a.exit_code, b.exit_code);
  EXPECT_EQ(a.time_in_phase, b.time_in_phase);
  ASSERT_EQ(a.others.size(), b.others.size());
  for (std::size_t i = 0; i < a.others.size(); ++i) expect_equal(a.others[i], b.others[i]);
}

TEST(ErrorCodec, EveryFieldArrives) {
  ErrorInfo info = full_error();
  info.others = {full_error(), ErrorInfo{}};
  info.others[0].others = {full_error()};
  const auto bytes = encode_error(info);
  const auto decoded = decode_error(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().to_string();
  expect_equal(info, *decoded);
}

TEST(ErrorCodec, SizeIsAsAnnounced) {
  ErrorInfo info = full_error();
  info.others = {full_error()};
  EXPECT_EQ(encode_error(info).size(), error_bytes(info));
}

TEST(ErrorCodec, FitsAnyBudget) {
  ErrorInfo info = full_error();
  info.message = std::string(3000, 'm');
  info.traceback = std::string(20000, 't');
  info.others.assign(30, full_error());
  for (std::size_t budget = kErrorBytesMin; budget < 30000; budget = budget * 9 / 8) {
    const auto bytes = encode_error(info, budget);
    ASSERT_LE(bytes.size(), budget);
    const auto decoded = decode_error(bytes);
    ASSERT_TRUE(decoded.ok()) << budget << decoded.status().to_string();
    EXPECT_EQ(decoded->pid, 71);
  }
}

TEST(ErrorCodec, CutTextsSaySo) {
  ErrorInfo info = full_error();
  info.traceback = std::string(20000, 't');
  const auto decoded = decode_error(encode_error(info, 4096));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->path, info.path);
  EXPECT_EQ(decoded->message, info.message);
  EXPECT_THAT(decoded->traceback, EndsWith("... [cut]"));
}

TEST(ErrorCodec, CutsBetweenCharacters) {
  ErrorInfo info;
  for (int i = 0; i < 500; ++i) info.message += "\xE2\x82\xAC";
  const auto decoded = decode_error(encode_error(info, 333));
  ASSERT_TRUE(decoded.ok());
  const std::string kept = decoded->message.substr(0, decoded->message.find('.'));
  EXPECT_EQ(kept.size() % 3, 0u);
}

TEST(ErrorCodec, DroppedErrorsAreCounted) {
  ErrorInfo info = full_error();
  info.others.assign(100, full_error());
  const auto decoded = decode_error(encode_error(info, 2048));
  ASSERT_TRUE(decoded.ok());
  const std::size_t kept = decoded->others.size();
  EXPECT_GT(kept, 2u);
  EXPECT_THAT(decoded->message,
              HasSubstr("[and " + std::to_string(100 - kept) + " more errors, not kept]"));
}

TEST(ErrorCodec, DeepNestingIsDropped) {
  ErrorInfo info = full_error();
  for (int i = 0; i < 10; ++i) {
    ErrorInfo outer = full_error();
    outer.others = {info};
    info = outer;
  }
  const auto decoded = decode_error(encode_error(info));
  ASSERT_TRUE(decoded.ok());
  const ErrorInfo* inner = &*decoded;
  for (unsigned depth = 1; depth < kErrorDepthMax; ++depth) inner = &inner->others.at(0);
  EXPECT_TRUE(inner->others.empty());
  EXPECT_THAT(inner->message, HasSubstr("1 more errors"));
}

TEST(ErrorCodec, EveryPrefixIsRefused) {
  ErrorInfo info = full_error();
  info.others = {full_error()};
  const auto bytes = encode_error(info);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto decoded = decode_error(std::span(bytes).first(size));
    ASSERT_FALSE(decoded.ok()) << size;
    EXPECT_EQ(decoded.status().reason(), Reason::kBadFrame);
  }
}

TEST(ErrorCodec, UnknownCodesAreRefused) {
  const auto good = encode_error(full_error());
  for (const std::size_t at : {0, 1, 3, 4, 5}) {
    auto bytes = good;
    bytes[at] = std::byte{0xEE};
    EXPECT_FALSE(decode_error(bytes).ok()) << at;
  }
}

TEST(ErrorCodec, GarbageDoesNoHarm) {
  std::mt19937_64 random(20240607);
  const auto good = encode_error(full_error());
  for (int round = 0; round < 20000; ++round) {
    auto bytes = good;
    for (int i = 0; i < 4; ++i) bytes[random() % bytes.size()] = std::byte(random() & 0xFF);
    const auto decoded = decode_error(bytes);
    if (!decoded.ok()) {
      EXPECT_EQ(decoded.status().reason(), Reason::kBadFrame);
    }
  }
}

}  // namespace
}  // namespace echelon
