// SPDX-License-Identifier: Apache-2.0
//
// The tree as it stands: leaves are read from their channels, next-level Workers are asked over
// their control rings, where their keepers answer.
#include <fmt/format.h>
#include <unistd.h>

#include "api/node.h"
#include "api/node_child.h"
#include "observe/node_stats.h"
#include "remote/remote_endpoint.h"

namespace echelon::detail {
namespace {

/// Between two looks for answers.
constexpr MonotonicNs kAskAgainNs = 1'000'000;

std::string kind_name(ChildKind kind) {
  return std::string(to_string(kind));
}

std::string state_of(const TreeChild& endpoint) {
  if (endpoint.down()) return fmt::format("down: {}", endpoint.down_status().info().message);
  return "ready";
}

}  // namespace

NodeInfo Node::child_info(const Child& child) const {
  NodeInfo info;
  info.name = child.plan.name;
  info.path = child.path;
  info.kind = kind_name(child.plan.kind);
  info.level = child.plan.level;
  info.state = state_of(*child.endpoint);
  info.pid = child.endpoint->pid();
  if (child.remote != nullptr) info.host = child.remote->host();
  info.up = std::chrono::nanoseconds(env_.now_ns() - started_ns_);
  child.endpoint->add_counters(info);
  return info;
}

void Node::collect_stats(std::vector<NodeInfo>& children, std::chrono::nanoseconds budget) {
  const std::lock_guard lock(stats_mutex_);
  const std::uint64_t token = ++stats_token_;
  std::vector<std::size_t> asked;
  for (std::size_t i = 0; i < children_.size(); ++i) {
    TreeChild& endpoint = *children_[i]->endpoint;
    if (children_[i]->plan.kind == ChildKind::kWorker && !endpoint.down() &&
        endpoint.request_stats(token)) {
      asked.push_back(i);
    }
  }
  const MonotonicNs deadline = env_.now_ns() + static_cast<MonotonicNs>(budget.count());
  while (!asked.empty() && env_.now_ns() < deadline) {
    const FutexWaiter bell = doorbell_.waiter(DoorbellSleeper::kKeeper);
    std::erase_if(asked, [&](std::size_t i) {
      TreeChild& endpoint = *children_[i]->endpoint;
      endpoint.tick(env_.now_ns());
      const auto reply = endpoint.take_stats_reply();
      if (!reply.has_value()) return endpoint.down();
      if (reply->token != token) return false;
      if (auto node = decode_node(reply->bytes); node.ok())
        children[i].children = std::move(node->children);
      return true;
    });
    if (asked.empty()) break;
    (void)futex_wait(*bell.word, bell.expected, env_.now_ns() + kAskAgainNs);
  }
  for (const std::size_t i : asked) children[i].state += ", did not answer";
}

NodeInfo Node::info(std::chrono::nanoseconds budget) {
  NodeInfo info;
  info.name = options_.name;
  info.path = options_.path;
  info.kind = kind_name(ChildKind::kWorker);
  info.level = options_.level;
  info.state = closed() ? "closed" : "ready";
  info.pid = ::getpid();
  info.up = std::chrono::nanoseconds(env_.now_ns() - started_ns_);
  info.lost_wakeups = driver_->lost_wakeups();
  if (own_counters_ != nullptr) {
    info.tasks = own_counters_->tasks.load(std::memory_order_relaxed);
    info.tasks_failed = own_counters_->failed.load(std::memory_order_relaxed);
    info.busy = std::chrono::nanoseconds(own_counters_->busy_ns.load(std::memory_order_relaxed));
  }
  for (const auto& child : children_) info.children.push_back(child_info(*child));
  collect_stats(info.children, budget);
  return info;
}

}  // namespace echelon::detail
