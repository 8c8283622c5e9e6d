// SPDX-License-Identifier: Apache-2.0
#include "observe/node_stats.h"

#include <fmt/format.h>

#include <iterator>

#include "base/codec.h"

namespace echelon {
namespace {

constexpr std::uint8_t kVersion = 2;
constexpr std::size_t kFixedBytes = 4 + 8 * 8 + 5 * 4;
constexpr std::size_t kTextBytesMax = 4096;

std::string_view clipped(const std::string& text) {
  return std::string_view(text).substr(0, kTextBytesMax);
}

std::size_t bytes_of(const NodeInfo& node) {
  std::size_t bytes = kFixedBytes + clipped(node.name).size() + clipped(node.path).size() +
                      clipped(node.kind).size() + clipped(node.state).size() +
                      clipped(node.host).size();
  for (const NodeInfo& child : node.children) bytes += bytes_of(child);
  return bytes;
}

void put_text(ByteWriter& out, const std::string& text) {
  const std::string_view part = clipped(text);
  out.put(static_cast<std::uint32_t>(part.size()));
  out.put_text(part);
}

void put_node(ByteWriter& out, const NodeInfo& node) {
  out.put(kVersion);
  out.put(static_cast<std::uint8_t>(node.level));
  out.put(static_cast<std::uint16_t>(node.children.size()));
  out.put(node.pid);
  out.put(node.tasks);
  out.put(node.tasks_failed);
  out.put(static_cast<std::int64_t>(node.busy.count()));
  out.put(static_cast<std::int64_t>(node.up.count()));
  out.put(node.bytes_in);
  out.put(node.bytes_out);
  out.put(node.lost_wakeups);
  put_text(out, node.name);
  put_text(out, node.path);
  put_text(out, node.kind);
  put_text(out, node.state);
  put_text(out, node.host);
  for (const NodeInfo& child : node.children) put_node(out, child);
}

Status bad(std::string_view what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       fmt::format("statistics of a child: {}", what));
}

Status get_text(ByteReader& in, std::string& text) {
  const auto bytes = in.get<std::uint32_t>();
  if (bytes > kTextBytesMax) return bad(fmt::format("a text of {} bytes", bytes));
  const auto view = in.bytes(bytes);
  text.assign(reinterpret_cast<const char*>(view.data()), view.size());
  return {};
}

Status get_node(ByteReader& in, NodeInfo& node, unsigned depth) {
  if (depth > kNodeDepthMax) return bad("nested too deeply");
  if (const auto version = in.get<std::uint8_t>(); version != kVersion) {
    return bad(fmt::format("version {}, expected {}", version, kVersion));
  }
  node.level = in.get<std::uint8_t>();
  const auto children = in.get<std::uint16_t>();
  node.pid = in.get<std::int64_t>();
  node.tasks = in.get<std::uint64_t>();
  node.tasks_failed = in.get<std::uint64_t>();
  node.busy = std::chrono::nanoseconds(in.get<std::int64_t>());
  node.up = std::chrono::nanoseconds(in.get<std::int64_t>());
  node.bytes_in = in.get<std::uint64_t>();
  node.bytes_out = in.get<std::uint64_t>();
  node.lost_wakeups = in.get<std::uint64_t>();
  for (std::string* text : {&node.name, &node.path, &node.kind, &node.state, &node.host}) {
    ECHELON_RETURN_IF_ERROR(get_text(in, *text));
  }
  if (!in.ok() || children > kNodeChildrenMax) return bad("cut short");
  for (unsigned i = 0; i < children; ++i) {
    ECHELON_RETURN_IF_ERROR(get_node(in, node.children.emplace_back(), depth + 1));
  }
  return {};
}

void describe_node(const NodeInfo& node, unsigned depth, std::string& out) {
  auto to = std::back_inserter(out);
  const std::string label = fmt::format("{:{}}{}", "", 2 * depth, node.name);
  const std::string kind =
      node.kind == "worker" ? fmt::format("L{} worker", node.level) : node.kind;
  fmt::format_to(to, "{:<24} {:<10} {}", label, kind, node.state);
  if (!node.host.empty()) fmt::format_to(to, ", on {}", node.host);
  if (node.pid != 0) fmt::format_to(to, ", pid {}", node.pid);
  if (node.tasks != 0) fmt::format_to(to, ", {} tasks", node.tasks);
  out += '\n';
  for (const NodeInfo& child : node.children) describe_node(child, depth + 1, out);
}

}  // namespace

std::vector<std::byte> encode_node(const NodeInfo& node) {
  std::vector<std::byte> bytes(bytes_of(node));
  ByteWriter out(bytes);
  put_node(out, node);
  return bytes;
}

Result<NodeInfo> decode_node(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  NodeInfo node;
  ECHELON_RETURN_IF_ERROR(get_node(in, node, 0));
  if (!in.ok()) return bad("cut short");
  return node;
}

std::string describe_tree(const NodeInfo& root) {
  std::string out;
  describe_node(root, 0, out);
  return out;
}

}  // namespace echelon
