// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "remote/transport.h"

namespace echelon {
namespace {

TEST(AddressTest, LoopbackAndUnixSocketsAreLocal) {
  for (const char* address : {"127.0.0.1:80", "127.1.2.3:0", "localhost:7", "[::1]:9", "unix:/a"}) {
    const auto local = address_is_local(address);
    ASSERT_TRUE(local.ok()) << address << ": " << local.status().info().message;
    EXPECT_TRUE(*local) << address;
  }
}

TEST(AddressTest, EverythingElseIsNot) {
  for (const char* address : {"10.0.0.1:80", "0.0.0.0:1", "[::]:1", "host7:9", "[2001:db8::1]:9"}) {
    const auto local = address_is_local(address);
    ASSERT_TRUE(local.ok()) << address;
    EXPECT_FALSE(*local) << address;
  }
}

TEST(AddressTest, WhatIsNoneIsRefusedWithWhatOneLooksLike) {
  for (const char* address : {"", "host", "host:", ":80", "host:65536", "::1:80", "unix:", "a:b"}) {
    const auto local = address_is_local(address);
    ASSERT_FALSE(local.ok()) << address;
    EXPECT_EQ(local.status().reason(), Reason::kBadArgument);
    EXPECT_NE(local.status().info().message.find("HOST:PORT"), std::string::npos);
  }
}

TEST(AddressTest, APathThatIsTooLongForASocketIsRefusedWithItsLength) {
  EXPECT_TRUE(address_is_local("unix:/" + std::string(106, 'p')).ok());
  const auto local = address_is_local("unix:/" + std::string(107, 'p'));
  ASSERT_FALSE(local.ok());
  EXPECT_NE(local.status().info().message.find("108 bytes, and that of a socket at most 107"),
            std::string::npos);
}

}  // namespace
}  // namespace echelon
