// SPDX-License-Identifier: Apache-2.0
#include "api/node.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/node_child.h"
#include "api/throw_status.h"

namespace echelon::detail {
namespace {

/// Contexts kept for the next runs.
constexpr std::size_t kContextsMax = 64;

/// While the program's own output is held up.
constexpr MonotonicNs kPrintAgainNs = 5'000'000;

/// Deadlines: each level waits a little longer than the one below, so that the deepest answers
/// first; all of it within the 50 ms that are promised.
constexpr std::uint64_t kGraceOfLevelNs = 10'000'000;
/// Then nobody waits any more, and the process may be slow rather than stuck: a level that unwinds
/// is not to be ended for it.
constexpr std::uint64_t kKillGraceOfLevelNs = 100'000'000;

EngineLimits limits_of_level(int level) {
  const auto levels = static_cast<std::uint64_t>(std::max(level - 2, 1));
  EngineLimits limits;
  limits.leaf_grace_ns = kGraceOfLevelNs;
  limits.worker_grace_ns = kGraceOfLevelNs * levels;
  limits.kill_grace_ns = kKillGraceOfLevelNs * levels;
  return limits;
}

}  // namespace

Node::Node(NodeOptions options, WorkerPools& pools)
    : options_(std::move(options)),
      memory_(options_.pool, pools),
      engine_(options_.path, limits_of_level(options_.level), *this),
      registrar_(late_, env_) {}

Node::~Node() {
  close();
}

// --- runs
// -------------------------------------------------------------------------------------------

std::shared_ptr<RunContext> Node::acquire_context() {
  const std::lock_guard lock(contexts_mutex_);
  // One that a task handle still holds is left to that handle.
  while (!contexts_.empty()) {
    std::shared_ptr<RunContext> context = std::move(contexts_.back());
    contexts_.pop_back();
    if (context.use_count() == 1) return context;
  }
  return std::make_shared<RunContext>(*this);
}

void Node::recycle(std::shared_ptr<RunContext> context) {
  const std::lock_guard lock(contexts_mutex_);
  if (contexts_.size() < kContextsMax) contexts_.push_back(std::move(context));
}

void Node::cancel_run(RunState& state, const Status& why) {
  auto input = [&](MonotonicNs now) {
    if (!state.ended()) engine_.cancel_run(state.run(), why, now);
  };
  driver_->apply(input);
}

bool Node::wait_run(RunState& state, MonotonicNs deadline_ns) {
  auto ended = [&] { return state.ended(); };
  return driver_->wait_until(ended, deadline_ns);
}

Status Node::refusal() const {
  const std::lock_guard lock(lost_mutex_);
  return lost_;
}

// --- children
// ---------------------------------------------------------------------------------------

WorkerId Node::child(ChildKind kind, std::size_t i) const {
  std::size_t seen = 0;
  for (std::size_t index = 0; index < options_.children.size(); ++index) {
    if (options_.children[index].kind != kind) continue;
    if (seen++ == i) return WorkerId{static_cast<std::uint32_t>(index)};
  }
  throw_bad_argument(fmt::format("{} has {} children of kind {}; number {} was asked for", path(),
                                 seen, to_string(kind), i));
}

std::size_t Node::child_count(ChildKind kind) const {
  return static_cast<std::size_t>(
      std::count_if(options_.children.begin(), options_.children.end(),
                    [&](const ChildPlan& plan) { return plan.kind == kind; }));
}

void Node::release_buffer_at(ChildIndex child, BufferId id) {
  {
    const std::lock_guard lock(releases_mutex_);
    releases_.push_back({child, id});
  }
  // pairs with send_releases()
  releases_pending_.store(true, std::memory_order_release);
  // Another host's memory should not wait until this Worker is used again.
  if (has_remotes_) doorbell_.wake_keeper();
}

void Node::send_releases() {
  // pairs with release_buffer_at()
  if (!releases_pending_.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(releases_mutex_);
  std::erase_if(releases_, [this](const Release& release) {
    return children_[release.child.value]->endpoint->try_release_buffer(release.id) !=
           DispatchResult::kNoRoom;
  });
  releases_pending_.store(!releases_.empty(), std::memory_order_relaxed);
}

// --- DriveTarget
// --------------------------------------------------------------------------------------

std::size_t Node::poll(MonotonicNs now) {
  std::size_t events = engine_.poll(now);
  if (const MonotonicNs timer = engine_.next_timer_ns(); timer != 0 && now >= timer) {
    engine_.tick(now);
    ++events;
  }
  send_releases();
  return events;
}

bool Node::has_news() const {
  return std::any_of(children_.begin(), children_.end(),
                     [](const auto& child) { return child->endpoint->has_news(); });
}

// --- EngineListener
// -----------------------------------------------------------------------------------

void Node::on_run_end(RunId run, std::uint64_t token, const Status& status) {
  auto& state = *reinterpret_cast<RunState*>(token);
  std::erase(runs_, &state);
  engine_.release_run(run);
  std::shared_ptr<RunContext> context = std::move(state.context);
  context->retire();
  const std::shared_ptr<RunState> kept = state.let_go();
  if (has_remotes_) staging_.run_ended(run, status.ok());
  state.set_ended(status);  // a state on its waiter's stack may be gone after this
  recycle(std::move(context));
}

void Node::on_release(std::uint64_t pin) {
  reinterpret_cast<Buffer*>(pin)->unpin();
}

// --- SpawnerEvents
// --------------------------------------------------------------------------------------

void Node::on_spawned(ChildIndex child, pid_t pid) {
  children_[child.value]->local->note_spawned(pid);
}

void Node::on_exited(ChildIndex child, const ExitReport& report) {
  children_[child.value]->local->note_exited(report);
}

void Node::on_output(ChildIndex, OutputStream stream, std::string_view text) {
  relay_.add(stream, text);
}

void Node::on_spawn_failed(ChildIndex child, const Status& why) {
  children_[child.value]->local->note_spawn_failed(why);
}

void Node::on_lost(const Status& why) {
  {
    const std::lock_guard lock(lost_mutex_);
    lost_ = why;
  }
  for (const auto& child : children_) {
    if (child->local != nullptr) child->local->note_spawner_lost(why);
  }
  if (lost_hook_) lost_hook_(why);
}

// --- KeeperDuties
// ---------------------------------------------------------------------------------------

void Node::arm(std::vector<FutexWaiter>& words) {
  if (more_duties_ != nullptr) more_duties_->arm(words);
  auto watch = [&words](LivenessWatch& liveness) {
    const LivenessWatch::Armed armed = liveness.arm();
    if (armed.state != LivenessState::kOwnerDied && words.size() < kFutexWaitersMax) {
      words.push_back({&liveness.word(), armed.expected});
    }
  };
  if (!spawner_->lost()) watch(spawner_->liveness());
  for (const auto& child : children_) {
    if (child->local != nullptr && !child->local->gone()) watch(child->local->liveness());
  }
}

MonotonicNs Node::attend(MonotonicNs now) {
  // The words are read before the spawner's socket, so that the death of the spawner is told before
  // those that follow from it.
  dead_.clear();
  for (const auto& child : children_) {
    if (child->local == nullptr) continue;
    LocalEndpoint& endpoint = *child->local;
    const bool ended = !endpoint.gone() && endpoint.liveness().state() == LivenessState::kOwnerDied;
    if (ended) dead_.push_back(&endpoint);
  }
  std::size_t news = poll_spawner();
  for (LocalEndpoint* endpoint : dead_) {
    if (!endpoint->down()) ++news;
    endpoint->note_owner_died();
  }
  MonotonicNs next = more_duties_ != nullptr ? more_duties_->attend(now) : 0;
  if (!printed_ && (next == 0 || next > now + kPrintAgainNs)) next = now + kPrintAgainNs;
  for (const auto& child : children_) {
    const MonotonicNs again = child->endpoint->tick(now);
    if (again != 0 && (next == 0 || again < next)) next = again;
  }
  const MonotonicNs registering = registrar_.attend(now);
  if (registering != 0 && (next == 0 || registering < next)) next = registering;
  if (news != 0) driver_->kick();
  return next;
}

std::size_t Node::poll_spawner() {
  const std::lock_guard lock(spawner_mutex_);
  // Nobody reads what children print: they wait in their printing, as they would without us.
  const std::size_t events = relay_.full() ? 0 : spawner_->poll(*this);
  printed_ = relay_.flush();
  return events;
}

}  // namespace echelon::detail
