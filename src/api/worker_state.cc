// SPDX-License-Identifier: Apache-2.0
#include "api/worker_state.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "api/child_main.h"
#include "api/named_callables.h"
#include "api/throw_status.h"
#include "api/wait_announced.h"

namespace echelon {

using detail::throw_bad_argument;
using detail::throw_new;

namespace {

/// What a Worker keeps of its own start-up time, so that its message arrives before its parent's
/// time is over, too.
constexpr MonotonicNs kStartMarginNs = 100'000'000;

[[noreturn]] void throw_wrong_state(std::string message) {
  throw_new(Code::kFailedPrecondition, Reason::kWrongState, std::move(message));
}

}  // namespace

Worker::State::State(WorkerOptions given, std::uint64_t identity)
    : options(std::move(given)), registrations(identity) {}

void Worker::State::check_here(const char* call) const {
  if (!mark.in_forked_copy()) return;
  throw_wrong_state(fmt::format("{}: {} belongs to the process that this one was forked from", call,
                                options.name));
}

void Worker::State::check_root(const char* call) const {
  if (!has_parent) return;
  const std::shared_ptr<State> above = parent.lock();
  throw_wrong_state(
      fmt::format("{}: {} is a child of {}; call it on the Worker at the top of the tree", call,
                  options.name, above != nullptr ? above->path() : "a Worker that is gone"));
}

std::string Worker::State::path() const {
  const std::shared_ptr<State> above = parent.lock();
  return above != nullptr ? above->path() + "/" + options.name : options.name;
}

// --- callables
// ----------------------------------------------------------------------------------------

detail::CallableRef Worker::State::add(detail::Callable callable) {
  const std::string_view kind = detail::spelling(callable.kind);
  const std::string call = fmt::format("register_{}(\"{}\")", kind, callable.name);
  check_here(call.c_str());
  const std::lock_guard lock(mutex);
  if (options.level == 2 && callable.kind != TaskKind::kChip) {
    throw_new(Code::kFailedPrecondition, Reason::kWrongLevel,
              fmt::format("{}: a level 2 Worker is a chip alone and runs chip kernels only", call));
  }
  if (frozen) {
    throw_wrong_state(
        fmt::format("{}: the tree of {} is running, and a function with what it captured cannot be "
                    "shipped to its processes; name it by ECHELON_{} and register the name, or put "
                    "it into a library (register_library), or register it before start()",
                    call, options.name, callable.kind == TaskKind::kOrch ? "ORCH" : "SUB"));
  }
  return detail::value_or_throw(registrations.add(std::move(callable)));
}

detail::CallableRef Worker::State::add_library(const std::string& name,
                                               std::span<const std::byte> file) {
  check_here("register_library");
  const std::lock_guard lock(mutex);
  if (options.level == 2) {
    throw_new(
        Code::kFailedPrecondition, Reason::kWrongLevel,
        fmt::format("register_library(\"{}\"): a level 2 Worker is a chip alone and runs chip "
                    "kernels only",
                    name));
  }
  if (frozen) {
    throw_wrong_state(
        fmt::format("register_library(\"{}\"): the tree of {} was started meanwhile; call it again",
                    name, options.name));
  }
  auto payload =
      detail::value_or_throw(Payload::make_file(file, MemfdUse::kExecutable, PayloadFork::kKept));
  auto library = detail::value_or_throw(detail::LoadedLibrary::open(std::move(payload), name));
  return registrations.add(detail::InheritedLibrary{name, std::move(library)});
}

bool Worker::State::has_subs() const {
  return options.sub_workers > 0 ||
         std::any_of(children.begin(), children.end(),
                     [](const auto& child) { return child->has_subs(); });
}

bool Worker::State::has_chips() const {
  return !options.chips.empty() ||
         std::any_of(children.begin(), children.end(),
                     [](const auto& child) { return child->has_chips(); });
}

void Worker::State::check_runnable() const {
  for (const detail::Callable& callable : registrations.all()) {
    const bool sub = callable.kind == TaskKind::kSub && !has_subs();
    const bool chip = callable.kind == TaskKind::kChip && !has_chips();
    if (!sub && !chip) continue;
    throw_new(
        Code::kInvalidArgument, Reason::kNoEligibleChild,
        fmt::format(
            "register_{}(\"{}\") on {}: nobody can run it, as neither {} nor any Worker below it "
            "has {}",
            detail::spelling(callable.kind), callable.name, options.name, options.name,
            sub ? "sub-workers" : "chips"));
  }
  for (const auto& child : children) child->check_runnable();
}

void Worker::State::freeze(bool on) {
  const std::lock_guard lock(mutex);
  frozen = on;
  for (const auto& child : children) child->freeze(on);
}

const std::shared_ptr<detail::OwnPool>& Worker::State::own_pool() {
  const std::lock_guard lock(mutex);
  if (pool == nullptr) {
    pool = detail::value_or_throw(detail::make_own_pool(options.memory_bytes_max, options.name));
  }
  return pool;
}

// --- starting
// -----------------------------------------------------------------------------------------

std::vector<detail::ChildPlan> Worker::State::plans(MonotonicNs deadline_ns) {
  std::vector<detail::ChildPlan> plans;
  for (int i = 0; i < options.sub_workers; ++i) {
    detail::ChildPlan& plan = plans.emplace_back();
    plan.kind = ChildKind::kSub;
    plan.name = fmt::format("sub{}", i);
    plan.main = [this](ChildBoot boot) {
      return detail::run_sub_worker(std::move(boot), *table, language.get());
    };
  }
  for (std::size_t i = 0; i < options.chips.size(); ++i) {
    detail::ChildPlan& plan = plans.emplace_back();
    plan.kind = ChildKind::kChip;
    plan.name = fmt::format("chip{}", i);
    plan.level = 2;
    plan.chip = options.chips[i];
  }
  for (const auto& child : children) {
    detail::ChildPlan& plan = plans.emplace_back();
    plan.kind = ChildKind::kWorker;
    plan.name = child->options.name;
    plan.level = child->options.level;
    plan.remote = child->remote;
    if (plan.remote != nullptr) continue;
    plan.main = [this, below = child.get(), deadline_ns](ChildBoot boot) {
      auto options_of = [&](const std::string& at) -> Result<detail::NodeOptions> {
        ECHELON_ASSIGN_OR_RETURN(below->pool,
                                 detail::make_own_pool(below->options.memory_bytes_max, at));
        below->table = std::make_shared<detail::CallableTable>(table.get(), below->registrations);
        below->language = language;
        return below->node_options(at, deadline_ns - kStartMarginNs);
      };
      return detail::run_next_level_worker(std::move(boot), options_of);
    };
  }
  return plans;
}

detail::NodeOptions Worker::State::node_options(std::string at, MonotonicNs deadline_ns) {
  const MonotonicNs now = SystemEnv().now_ns();
  detail::NodeOptions node_options;
  node_options.level = options.level;
  node_options.name = options.name;
  node_options.path = std::move(at);
  node_options.children = plans(deadline_ns);
  node_options.callables = table.get();
  node_options.pool = pool;
  node_options.start_deadline = std::chrono::nanoseconds(deadline_ns > now ? deadline_ns - now : 0);
  node_options.unresponsive_after = options.unresponsive_after;
  node_options.language = language;
  return node_options;
}

std::function<void()> Worker::State::check_wait() const {
  return options.language != nullptr ? options.language->check_wait : nullptr;
}

void Worker::State::start_locked() {
  check_runnable();
  own_pool();
  table = std::make_shared<detail::CallableTable>(nullptr, registrations);
  pools = std::make_shared<WorkerPools>();
  language = options.language;
  const auto budget = std::chrono::nanoseconds(options.start_deadline).count();
  const MonotonicNs deadline = SystemEnv().now_ns() + static_cast<MonotonicNs>(budget);
  detail::NodeOptions given = node_options(options.name, deadline);
  given.keeps = {table, pools};
  const auto starting = std::make_shared<detail::Node>(std::move(given), *pools);
  const Status status = starting->start(nullptr, check_wait());
  if (!status.ok()) {
    ErrorInfo info = status.info();
    info.reason = Reason::kStartFailed;
    throw_error(std::make_shared<const ErrorInfo>(std::move(info)));
  }
  (void)exchange_node(starting);
  life = Life::kStarted;
  freeze(true);
}

std::shared_ptr<detail::Node> Worker::State::running(const char* call) {
  check_here(call);
  if (auto here = running_or_null()) return here;
  check_root(call);
  // Whoever has the mutex may be forking, for which it takes the language's lock.
  const detail::WaitAnnounced announced(options.language.get());
  const std::lock_guard lock(mutex);
  if (auto here = running_or_null()) return here;
  if (life == Life::kClosed) {
    throw_wrong_state(
        fmt::format("{}: {} was closed; start() starts it again", call, options.name));
  }
  start_locked();
  return running_or_null();
}

std::shared_ptr<detail::Node> Worker::State::running_or_null() const {
  const std::lock_guard lock(node_mutex_);
  return node_;
}

std::shared_ptr<detail::Node> Worker::State::exchange_node(std::shared_ptr<detail::Node> next) {
  const std::lock_guard lock(node_mutex_);
  return std::exchange(node_, std::move(next));
}

void Worker::State::close() {
  std::shared_ptr<detail::Node> ending;
  {
    const std::lock_guard lock(mutex);
    ending = exchange_node(nullptr);
    if (!has_parent) life = Life::kClosed;
    if (ending != nullptr) freeze(false);
  }
  // Outside of the lock: runs that are being waited for end meanwhile.
  if (ending == nullptr) return;
  ending->close();
  late->clear();
}

NodeInfo Worker::State::planned_info(const std::string& parent_path) const {
  NodeInfo info;
  info.name = options.name;
  info.path = parent_path.empty() ? options.name : parent_path + "/" + options.name;
  info.kind = to_string(ChildKind::kWorker);
  info.level = options.level;
  info.state = life == Life::kClosed ? "closed"
               : frozen              ? "runs in its parent's tree"
                                     : "not started";
  auto leaf = [&](std::string_view kind, std::size_t i, int level) {
    NodeInfo& child = info.children.emplace_back();
    child.name = fmt::format("{}{}", kind, i);
    child.path = info.path + "/" + child.name;
    child.kind = kind;
    child.level = level;
    child.state = info.state;
  };
  for (std::size_t i = 0; i < sub_worker_count(); ++i) leaf("sub", i, 1);
  for (std::size_t i = 0; i < options.chips.size(); ++i) leaf("chip", i, 2);
  for (const auto& child : children) info.children.push_back(child->planned_info(info.path));
  return info;
}

}  // namespace echelon
