// SPDX-License-Identifier: Apache-2.0
#include "remote/session_boot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/syscall.h"

namespace echelon {
namespace {

using testing::HasSubstr;

SessionReady sample() {
  SessionReady ready;
  ready.address = "[::1]:4711";
  ready.token = std::string("\0\xff token", 8);
  ready.pool = Uid{~std::uint64_t{0}};
  ready.memory_bytes_max = 1u << 30;
  return ready;
}

TEST(SessionBootTest, AnAnnouncementCrosses) {
  const auto bytes = encode_announcement(sample());
  ASSERT_TRUE(bytes.ok());
  const auto got = decode_announcement(*bytes);
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_EQ(got->address, sample().address);
  EXPECT_EQ(got->token, sample().token);
  EXPECT_EQ(got->pool, sample().pool);
  EXPECT_EQ(got->memory_bytes_max, sample().memory_bytes_max);
}

TEST(SessionBootTest, AnyAnnouncementCutShortOrLongerIsRefused) {
  auto bytes = encode_announcement(sample()).value();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(decode_announcement(std::span(bytes).first(size)).status().reason(),
              Reason::kBadFrame)
        << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode_announcement(bytes).ok());
}

TEST(SessionBootTest, AnAnnouncementWithoutATokenIsNotMade) {
  SessionReady ready = sample();
  ready.token.clear();
  EXPECT_EQ(encode_announcement(ready).status().reason(), Reason::kBadArgument);
  ready.token.assign(kSessionTokenBytesMax + 1, 't');
  EXPECT_EQ(encode_announcement(ready).status().reason(), Reason::kTooLarge);
}

TEST(SessionBootTest, AProcessWithoutAManifestIsToldSo) {
  ChildBoot boot;
  boot.path = "pod0/host1";
  const auto manifest = take_manifest(boot);
  ASSERT_FALSE(manifest.ok());
  EXPECT_THAT(manifest.status().info().message, HasSubstr("pod0/host1"));
}

TEST(SessionBootTest, AManifestThatCouldStillChangeIsRefused) {
  ChildBoot boot;
  boot.payload = create_memfd("open", 16).value();
  EXPECT_EQ(take_manifest(boot).status().reason(), Reason::kBadFrame);
}

}  // namespace
}  // namespace echelon
