// SPDX-License-Identifier: Apache-2.0
#include "shm/spill.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/syscall.h"

namespace echelon {
namespace {

std::span<const std::byte> bytes_of(const SpillData& spill) {
  return std::as_bytes(std::span(&spill, 1));
}

class Spill : public ::testing::Test {
 protected:
  FdPair edge_ = create_socketpair().value();
  PoolDirectory pools_;
  SpillInbox inbox_;
  const std::vector<std::byte> body_ = std::vector<std::byte>(100'000, std::byte{4});
  const std::vector<std::byte> more_ = std::vector<std::byte>(10, std::byte{5});

  Result<SpillData> send(std::uint64_t id) {
    return send_spill(edge_.first.get(), Uid{1}, id, body_, more_, false);
  }
  FetchMore fetcher() {
    return [this] {
      auto received = receive_push(edge_.second.get(), false);
      if (!received.ok() || received->none || received->end) return false;
      return adopt_push(std::move(received).value(), pools_, inbox_).ok();
    };
  }
};

TEST_F(Spill, ABodyArrivesWhole) {
  const SpillData spill = send(1).value();
  EXPECT_EQ(spill.bytes, 100'010u);
  const auto mapping = inbox_.take(bytes_of(spill), fetcher());
  ASSERT_TRUE(mapping.ok()) << mapping.status().to_string();
  EXPECT_EQ(mapping->data()[99'999], std::byte{4});
  EXPECT_EQ(mapping->data()[100'009], std::byte{5});
}

TEST_F(Spill, SeveralAreTakenInAnyOrderAndOnce) {
  const SpillData first = send(1).value();
  const SpillData second = send(2).value();
  EXPECT_TRUE(inbox_.take(bytes_of(second), fetcher()).ok());
  EXPECT_TRUE(inbox_.take(bytes_of(first), fetcher()).ok());
  EXPECT_EQ(inbox_.take(bytes_of(first), fetcher()).status().reason(), Reason::kBadFrame);
  EXPECT_EQ(inbox_.pending(), 0u);
}

TEST_F(Spill, OneThatNeverCameIsABadFrame) {
  EXPECT_EQ(inbox_.take(bytes_of({9, 10}), fetcher()).status().reason(), Reason::kBadFrame);
}

TEST_F(Spill, AnotherSizeThanSentIsABadFrame) {
  SpillData spill = send(1).value();
  spill.bytes -= 1;
  EXPECT_EQ(inbox_.take(bytes_of(spill), fetcher()).status().reason(), Reason::kBadFrame);
}

TEST_F(Spill, AShortFrameIsABadFrame) {
  const SpillData spill = send(1).value();
  EXPECT_EQ(inbox_.take(bytes_of(spill).first(8), fetcher()).status().reason(), Reason::kBadFrame);
}

TEST_F(Spill, UnsealedMemoryIsRefused) {
  UniqueFd fd = create_memfd("test", 100).value();
  EXPECT_EQ(inbox_.adopt(1, 100, std::move(fd)).reason(), Reason::kBadFrame);
}

TEST_F(Spill, TooManyAtOnceAreRefused) {
  for (std::uint64_t id = 0; id < kSpillsPendingMax; ++id) {
    ASSERT_TRUE(send(id).ok());
    ASSERT_TRUE(fetcher()());
  }
  ASSERT_TRUE(send(999).ok());
  EXPECT_FALSE(fetcher()());
}

TEST_F(Spill, AnEmptyOrHugeOneIsTooLarge) {
  EXPECT_EQ(inbox_.adopt(1, kSpillBytesMax + 1, UniqueFd()).reason(), Reason::kTooLarge);
  EXPECT_EQ(inbox_.adopt(1, 0, UniqueFd()).reason(), Reason::kTooLarge);
}

}  // namespace
}  // namespace echelon
