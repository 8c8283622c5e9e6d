// SPDX-License-Identifier: Apache-2.0
#include "observe/node_stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace echelon {
namespace {

using testing::HasSubstr;

NodeInfo pod_with_host() {
  NodeInfo pod;
  pod.name = pod.path = "pod0";
  pod.kind = "worker";
  pod.state = "ready";
  pod.level = 4;
  pod.pid = 71;
  pod.tasks = 5;
  pod.busy = std::chrono::nanoseconds(123);
  NodeInfo& host = pod.children.emplace_back();
  host.name = "host0";
  host.path = "pod0/host0";
  host.kind = "worker";
  host.level = 3;
  host.bytes_in = 1u << 20;
  host.lost_wakeups = 2;
  return pod;
}

TEST(NodeStats, ComesBackWhole) {
  const NodeInfo pod = pod_with_host();
  const auto decoded = decode_node(encode_node(pod));
  ASSERT_TRUE(decoded.ok()) << decoded.status().to_string();
  EXPECT_EQ(decoded->path, "pod0");
  EXPECT_EQ(decoded->busy, pod.busy);
  ASSERT_EQ(decoded->children.size(), 1u);
  EXPECT_EQ(decoded->children[0].bytes_in, pod.children[0].bytes_in);
  EXPECT_EQ(decoded->children[0].lost_wakeups, 2u);
}

TEST(NodeStats, RefusesEveryTruncation) {
  const auto bytes = encode_node(pod_with_host());
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(decode_node(std::span(bytes).first(n)).ok()) << n;
  }
}

TEST(NodeStats, RefusesAnotherVersion) {
  auto bytes = encode_node(pod_with_host());
  bytes[0] = std::byte{9};
  EXPECT_THAT(decode_node(bytes).status().to_string(), HasSubstr("version 9"));
}

TEST(NodeStats, SurvivesAnyChangedByte) {
  const auto bytes = encode_node(pod_with_host());
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    auto changed = bytes;
    changed[random() % changed.size()] = static_cast<std::byte>(random());
    (void)decode_node(changed).ok();
  }
}

TEST(NodeStats, DescribesALineANode) {
  const std::string text = describe_tree(pod_with_host());
  EXPECT_THAT(text, HasSubstr("pod0"));
  EXPECT_THAT(text, HasSubstr("\n  host0"));
  EXPECT_THAT(text, HasSubstr("L3 worker"));
}

}  // namespace
}  // namespace echelon
