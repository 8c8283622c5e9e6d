// SPDX-License-Identifier: Apache-2.0
//
// A Node's children on other hosts.
#include <algorithm>

#include <echelon/remote.h>

#include "api/manifest_remotes.h"
#include "api/manifest_table.h"
#include "api/node.h"
#include "api/node_child.h"
#include "remote/remote_endpoint.h"
#include "remote/remote_start.h"
#include "remote/transport.h"

namespace echelon::detail {
namespace {

/// So that a late answer is not a silence yet: it has two thirds of what a session may be silent
/// for. More would be a greater part of what an idle tree uses (bench remote).
constexpr int kPingsInPatience = 3;
/// What a session keeps of its start-up time, so that its message arrives before ours is over.
constexpr MonotonicNs kStartMarginNs = 100'000'000;

Credentials credentials_of(const RemoteWorkerSpec& spec) {
  return {spec.tls_dir, spec.insecure};
}

}  // namespace

Status Node::make_remote_child(std::size_t index) {
  const ChildPlan& plan = options_.children[index];
  const RemoteWorkerSpec& spec = *plan.remote;
  auto child = std::make_unique<Child>();
  child->plan = plan;
  child->path = options_.path + "/" + plan.name;

  RemoteEndpointOptions options;
  options.index = ChildIndex{static_cast<std::uint32_t>(index)};
  options.path = child->path;
  options.window = kRemoteWindow;
  options.silent_max = spec.health_deadline;
  const std::chrono::nanoseconds patience =
      std::max(options.silent_max - options.last_words_wait, options.silent_max / 2);
  options.ping_every = std::min(options.ping_every, patience / kPingsInPatience);
  options.lease = spec.lease;
  options.trust_results = spec.trust_results;
  options.open_local = [this](const TensorDesc& desc, Access want) {
    return memory_.open_local(desc, want);
  };
  if (spec.direct_copies) {
    options.peer = [this](Uid pool) { return peer_with(pool); };
  }
  options.wake = [this] { doorbell_.ring(); };
  options.wake_keeper = [this] {
    doorbell_.ring();
    doorbell_.wake_keeper();
  };
  options.end_session = [index, this](const Status& why) { children_[index]->link->end(why); };
  auto remote = std::make_unique<RemoteEndpoint>(std::move(options), env_);
  child->remote = remote.get();
  child->endpoint = std::move(remote);
  child->link = std::make_unique<SessionLink>(*child->remote);
  children_.push_back(std::move(child));
  has_remotes_ = true;
  return {};
}

Status Node::open_sessions() {
  SessionManifest callables_alone;
  ECHELON_RETURN_IF_ERROR(fill_manifest(callables(), callables_alone));
  for (const auto& child : children_) {
    if (child->remote == nullptr) continue;
    const RemoteWorkerSpec& spec = *child->plan.remote;
    ECHELON_ASSIGN_OR_RETURN(RemoteTransport * transport, load_transport(lane_of(spec)));
    SessionOrder order;
    order.daemon = {spec.address, credentials_of(spec), spec.connect_timeout, spec.health_deadline};
    order.lanes_timeout = spec.connect_timeout;
    order.manifest = manifest_of(*child);
    order.manifest.libraries = callables_alone.libraries;
    order.manifest.callables = callables_alone.callables;
    if (spec.runtime == Runtime::kNative) keep_from_native(order.manifest);
    order.manifest.workers = callables_alone.workers;
    child->link->open(*transport, std::move(order));
  }
  return {};
}

SessionManifest Node::manifest_of(const Child& child) const {
  const RemoteWorkerSpec& spec = *child.plan.remote;
  const MonotonicNs now = env_.now_ns();
  const MonotonicNs until = start_until_ns_ - std::min(start_until_ns_, kStartMarginNs);
  SessionManifest manifest;
  manifest.runtime =
      spec.runtime == Runtime::kPython ? SessionRuntime::kPython : SessionRuntime::kNative;
  manifest.path = child.path;
  manifest.name = child.plan.name;
  manifest.level = child.plan.level;
  manifest.sub_workers = static_cast<std::uint32_t>(spec.sub_workers);
  manifest.chips = manifest_chips(spec);
  manifest.remotes = manifest_remotes(spec);
  manifest.memory_bytes_max = spec.memory_bytes_max;
  manifest.start_deadline = std::chrono::nanoseconds(until > now ? until - now : 0);
  manifest.unresponsive_after = spec.unresponsive_after;
  manifest.lease = spec.lease;
  return manifest;
}

RemoteEndpoint* Node::remote(ChildIndex child) const {
  return child.value < children_.size() ? children_[child.value]->remote : nullptr;
}

RemoteEndpoint* Node::peer_with(Uid pool) const {
  for (const auto& child : children_) {
    const bool here = child->remote != nullptr && child->remote->pool() == pool;
    if (here) return child->plan.remote->direct_copies ? child->remote : nullptr;
  }
  return nullptr;
}

bool Node::copies_directly(ChildIndex from, ChildIndex to) const {
  const auto direct = [this](ChildIndex child) {
    return remote(child) != nullptr && children_[child.value]->plan.remote->direct_copies;
  };
  return from != to && direct(from) && direct(to);
}

bool Node::trusts(ChildIndex child) const {
  if (child.value >= children_.size()) return false;
  const auto& spec = children_[child.value]->plan.remote;
  return spec == nullptr || spec->trust_results;
}

std::optional<ChildIndex> Node::least_loaded(FunctionRef<bool(ChildIndex)> eligible) {
  std::optional<ChildIndex> best;
  const auto count = static_cast<std::uint32_t>(children_.size());
  auto look = [&](MonotonicNs) {
    ++local_turn_;
    for (std::uint32_t n = 0; n < count; ++n) {
      const ChildIndex index{(local_turn_ + n) % count};
      if (!engine_.child_live(index) || !eligible(index)) continue;
      if (!best || engine_.in_flight(index) < engine_.in_flight(*best)) best = index;
    }
  };
  driver_->apply(look);
  return best;
}

std::optional<ChildIndex> Node::least_loaded_local(TaskKind kind) {
  auto local = [&](ChildIndex index) {
    const Child& child = *children_[index.value];
    return child.local != nullptr &&
           (kind == TaskKind::kCopy || child.plan.kind == ChildKind::kWorker);
  };
  return least_loaded(local);
}

Stage Node::stage_of(ChildIndex child) const {
  const auto& spec = children_[child.value]->plan.remote;
  return spec != nullptr ? spec->stage : Stage::kDefault;
}

std::optional<ChildIndex> Node::least_loaded_stageable(Stage asked,
                                                       std::span<const ChildIndex> taken) {
  auto reachable = [&](ChildIndex index) {
    if (std::find(taken.begin(), taken.end(), index) != taken.end()) return false;
    const Child& child = *children_[index.value];
    if (child.plan.kind != ChildKind::kWorker) return false;
    return child.remote == nullptr ||
           (asked == Stage::kDefault ? stage_of(index) : asked) == Stage::kCopy;
  };
  return least_loaded(reachable);
}

// --- memory of theirs
// ---------------------------------------------------------------------------------

std::uint64_t Node::begin_allocation() {
  const std::lock_guard lock(allocations_mutex_);
  allocations_.emplace(++allocation_token_, std::nullopt);
  return allocation_token_;
}

void Node::end_allocation(std::uint64_t token) {
  const std::lock_guard lock(allocations_mutex_);
  allocations_.erase(token);
}

std::optional<Result<TensorDesc>> Node::take_allocation(ChildIndex child, std::uint64_t token) {
  std::vector<BufferId> unclaimed;
  std::optional<Result<TensorDesc>> mine;
  {
    const std::lock_guard lock(allocations_mutex_);
    for (RemoteEndpoint::Allocation& answer : remote(child)->take_allocations()) {
      const auto waiting = allocations_.find(answer.token);
      if (waiting != allocations_.end()) {
        waiting->second = std::move(answer.tensor);
      } else if (answer.tensor.ok()) {
        unclaimed.push_back(answer.tensor->buffer);
      }
    }
    if (const auto found = allocations_.find(token); found != allocations_.end()) {
      mine = std::move(found->second);
    }
  }
  for (const BufferId id : unclaimed) release_buffer_at(child, id);
  return mine;
}

}  // namespace echelon::detail
