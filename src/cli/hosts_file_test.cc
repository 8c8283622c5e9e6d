// SPDX-License-Identifier: Apache-2.0
#include "cli/hosts_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon::cli {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

std::string refusal(std::string_view text) {
  const auto hosts = parse_hosts(text, "/keys");
  return hosts.ok() ? "" : hosts.status().info().message;
}

TEST(HostsFile, HasAHostALine) {
  const auto hosts = parse_hosts(
      "# the pod\n"
      "10.0.0.1:7171 host1   # the first\n"
      "\n"
      "  node2:7171\t/etc/echelon/host2\n"
      "127.0.0.1:7171\n",
      "/keys");
  ASSERT_TRUE(hosts.ok()) << hosts.status().to_string();
  ASSERT_THAT(*hosts, SizeIs(3));
  EXPECT_EQ((*hosts)[0].address, "10.0.0.1:7171");
  EXPECT_EQ((*hosts)[0].tls_dir, "/keys/host1");
  EXPECT_EQ((*hosts)[1].address, "node2:7171");
  EXPECT_EQ((*hosts)[1].tls_dir, "/etc/echelon/host2");
  EXPECT_EQ((*hosts)[2].tls_dir, "");
}

TEST(HostsFile, WhatIsNoHostIsRefusedWithItsLine) {
  EXPECT_THAT(refusal("10.0.0.1:7171 host1\nhost2 a b\n"), HasSubstr("line 2: 3 words"));
  EXPECT_THAT(refusal("no address\n"), HasSubstr("line 1: "));
  EXPECT_THAT(refusal("10.0.0.1:7171\n"), HasSubstr("needs a folder of keys"));
  EXPECT_THAT(refusal("# nothing\n"), HasSubstr("there is no host in it"));
}

TEST(HostsFile, AFileThatIsNotThereIsNamed) {
  EXPECT_EQ(read_hosts_file("/none/hosts").status().info().message, "/none/hosts cannot be read");
}

}  // namespace
}  // namespace echelon::cli
