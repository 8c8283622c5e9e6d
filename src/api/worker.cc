// SPDX-License-Identifier: Apache-2.0
#include <echelon/worker.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "api/names.h"
#include "api/orchestration.h"
#include "api/throw_status.h"
#include "api/worker_state.h"
#include "base/mapping.h"
#include "base/unforked.h"
#include "observe/node_stats.h"

namespace echelon {

using detail::throw_bad_argument;
using detail::throw_new;

namespace {

constexpr int kLevelMax = 6;
constexpr int kSubWorkersMax = 256;
constexpr std::size_t kChipsMax = 64;
constexpr std::chrono::milliseconds kTreeBudget{1000};
/// What "for ever" means where a time is added to now.
constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 3650);

std::string default_name(int level) {
  static constexpr const char* kNames[] = {"chip0", "host0", "pod0", "supernode0", "cluster0"};
  return kNames[level - 2];
}

void check_name(const std::string& name) {
  if (detail::has_control_characters(name)) {
    throw_bad_argument(detail::control_characters_refusal(name));
  }
  if (name.size() > 64 || name.find('/') != std::string::npos) {
    throw_bad_argument(
        fmt::format("a Worker's name \"{}\": at most 64 characters, and no \"/\"", name));
  }
}

[[noreturn]] void throw_wrong_level(std::string message) {
  throw_new(Code::kInvalidArgument, Reason::kWrongLevel, std::move(message));
}

}  // namespace

WorkerOptions detail::checked(WorkerOptions options) {
  const int level = options.level;
  if (level < 2 || level > kLevelMax) {
    throw_wrong_level(
        fmt::format("level {}: Workers stand at level 2 (a chip), 3 (a host), 4, 5 or 6", level));
  }
  if (options.name.empty()) options.name = default_name(level);
  check_name(options.name);
  if (options.sub_workers < 0 || options.sub_workers > kSubWorkersMax) {
    throw_bad_argument(
        fmt::format("{} sub-workers: 0 to {} are possible", options.sub_workers, kSubWorkersMax));
  }
  if (level == 2 && (options.chips.size() != 1 || options.sub_workers != 0)) {
    throw_wrong_level("a level 2 Worker is one chip alone: exactly one chip, and no sub-workers");
  }
  if (level >= 4 && !options.chips.empty()) {
    throw_wrong_level(
        fmt::format("chips belong to hosts (level 3); give a level {} Worker hosts with chips: "
                    "use add_worker",
                    level));
  }
  if (options.start_deadline.count() < 0 || options.unresponsive_after.count() <= 0) {
    throw_bad_argument(
        "a negative start_deadline, or no time at all to answer in (unresponsive_after)");
  }
  options.start_deadline = std::min(options.start_deadline, kLongest);
  options.unresponsive_after = std::min(options.unresponsive_after, kLongest);
  if (options.chips.size() > kChipsMax) {
    throw_bad_argument(
        fmt::format("{} chips: at most {} in one host", options.chips.size(), kChipsMax));
  }
  return options;
}

// --- making the tree
// --------------------------------------------------------------------------------

Worker::Worker(WorkerOptions options)
    : state_(std::make_shared<State>(detail::checked(std::move(options)),
                                     SystemEnv().random_nonzero())) {}

Worker::Worker(Worker&&) noexcept = default;

Worker& Worker::operator=(Worker&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

Worker::~Worker() {
  if (state_ == nullptr) return;
  if (state_->mark.in_forked_copy()) {
    // Inert: nothing of the other process's is closed, unmapped or waited for.
    (void)new std::shared_ptr<State>(std::move(state_));
    return;
  }
  if (!state_->has_parent) state_->close();
}

Worker::State& Worker::state() const {
  if (state_ == nullptr) {
    throw_new(Code::kFailedPrecondition, Reason::kWrongState, "this Worker was moved from");
  }
  return *state_;
}

WorkerId Worker::add_worker(Worker& child) {
  state().check_here("add_worker");
  State& below = child.state();
  const std::scoped_lock lock(state().mutex);
  const std::string& name = below.options.name;
  state().check_below("add_worker", name, below.options.level);
  if (below.life != State::Life::kNew) {
    throw_new(Code::kFailedPrecondition, Reason::kWrongState,
              fmt::format("add_worker: {} has been started already; add it before", name));
  }
  if (below.has_parent) {
    throw_new(Code::kFailedPrecondition, Reason::kWrongState,
              fmt::format("add_worker: {} has a parent already ({})", name, below.path()));
  }
  state().check_room_below("add_worker", name);
  below.has_parent = true;
  below.parent = state_;
  return state().adopt(child.state_);
}

SubHandle Worker::register_sub_function(std::string_view name, std::function<void(Task&)> fn,
                                        RegisterOptions) {
  detail::Callable callable;
  callable.kind = TaskKind::kSub;
  callable.name = name;
  callable.sub = std::move(fn);
  return SubHandle(state().add(std::move(callable)));
}

OrchHandle Worker::register_orch_function(std::string_view name,
                                          std::function<void(Orchestrator&, TaskArgs&)> fn,
                                          RegisterOptions) {
  detail::Callable callable;
  callable.kind = TaskKind::kOrch;
  callable.name = name;
  callable.orch = std::move(fn);
  return OrchHandle(state().add(std::move(callable)));
}

void Worker::State::check_below(const char* call, const std::string& name, int below) const {
  const int level = options.level;
  if (level < 4) {
    throw_wrong_level(fmt::format("{}: {} is at level {}; Workers below it need level 4 or more",
                                  call, options.name, level));
  }
  if (below < 3 || below >= level) {
    throw_wrong_level(
        fmt::format("{}: {} is at level {}; below {} (level {}) belong levels 3 to {}", call, name,
                    below, options.name, level, level - 1));
  }
}

void Worker::State::check_room_below(const char* call, const std::string& name) const {
  if (frozen) {
    throw_new(Code::kFailedPrecondition, Reason::kWrongState,
              fmt::format("{}: {} is running; add children before start()", call, options.name));
  }
  if (std::any_of(children.begin(), children.end(),
                  [&](const auto& sibling) { return sibling->options.name == name; })) {
    throw_bad_argument(fmt::format("{}: {} has a child called {} already; give them names", call,
                                   options.name, name));
  }
}

WorkerId Worker::State::adopt(std::shared_ptr<State> child) {
  children.push_back(std::move(child));
  return WorkerId{
      static_cast<std::uint32_t>(sub_worker_count() + options.chips.size() + children.size() - 1)};
}

// --- life
// ---------------------------------------------------------------------------------------------

void Worker::start() {
  state().check_here("start");
  state().check_root("start");
  const std::lock_guard lock(state().mutex);
  if (state().running_or_null() != nullptr) {
    throw_new(Code::kFailedPrecondition, Reason::kWrongState,
              fmt::format("start: {} is started already", state().options.name));
  }
  state().start_locked();
}

void Worker::close() {
  if (state_ != nullptr && !state_->mark.in_forked_copy()) state_->close();
}

bool Worker::started() const {
  state().check_here("started");
  return state().running_or_null() != nullptr;
}

// --- tensors
// ------------------------------------------------------------------------------------------

Tensor Worker::tensor(Shape shape, DType dtype) {
  state().check_here("tensor");
  state().check_root("tensor");
  return detail::allocate_host_tensor(state().own_pool(), shape, dtype, true);
}

Tensor Worker::tensor_from(Shape shape, DType dtype, std::span<const std::byte> bytes) {
  state().check_here("tensor");
  state().check_root("tensor");
  if (detail::checked_bytes(shape, dtype) != bytes.size()) {
    throw_bad_argument(fmt::format("tensor: {} needs {} values, and {} were given",
                                   detail::shape_text(dtype, std::span(shape)),
                                   detail::checked_bytes(shape, dtype) / size_of(dtype),
                                   bytes.size() / size_of(dtype)));
  }
  Tensor tensor = detail::allocate_host_tensor(state().own_pool(), shape, dtype, false);
  const auto* state = detail::TensorAccess::state(tensor);
  std::byte* to = detail::value_or_throw(state->buffer->address(state->desc, Access::kWrite));
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  return tensor;
}

Tensor Worker::chip_tensor(std::size_t chip, Shape shape, DType dtype) {
  const auto node = state().running("chip_tensor");
  return node->memory().allocate_on_chip(ChildIndex{node->child(ChildKind::kChip, chip).value},
                                         shape, dtype);
}

// --- runs
// ---------------------------------------------------------------------------------------------

namespace {

/// What an orchestration function of the program's own is called with: no arguments.
detail::TaskContext root_context(detail::Node& node, const TaskBody& body,
                                 const RunOptions& options) {
  if (options.deadline.count() < 0) {
    throw_bad_argument("a negative deadline; it counts from now, and zero means none");
  }
  detail::check_config(options.config, "run");
  detail::TaskContext context;
  context.body = &body;
  context.pools = &node.memory().pools();
  context.path = &node.path();
  if (options.deadline.count() != 0) {
    context.deadline_ns = node.env().now_ns() + static_cast<MonotonicNs>(options.deadline.count());
  }
  return context;
}

}  // namespace

namespace {

/// A run whose function has been called; not sealed yet.
struct CalledRun {
  std::shared_ptr<detail::RunState> state;
  Status failure;
};

CalledRun call_for_run(const std::shared_ptr<detail::Node>& node,
                       const detail::OrchestrationFunction& fn, const RunOptions& options) {
  TaskBody body;
  body.config = options.config;
  detail::TaskContext context = root_context(*node, body, options);
  auto run = std::make_shared<detail::RunState>(node);
  run->keep(run);
  Status begun;
  Status failure = detail::call_orchestration(*node, *run, fn, context, begun);
  if (!begun.ok()) {
    run->let_go();
    detail::throw_if_error(begun);
  }
  run->set_result(std::move(context.result));
  return {std::move(run), std::move(failure)};
}

}  // namespace

Run Worker::submit_function(const detail::OrchestrationFunction& fn, const RunOptions& options) {
  const auto node = state().running("submit");  // kept, should another thread close() meanwhile
  CalledRun called = call_for_run(node, fn, options);
  // The context is let go of with the run's end, while this is still using it.
  const std::shared_ptr<detail::RunContext> running = called.state->context;
  running->seal(std::move(called.failure));
  return Run(std::move(called.state));
}

Run Worker::submit_and_wait(const std::function<std::chrono::nanoseconds(Orchestrator&)>& fn,
                            const RunOptions& options) {
  std::chrono::nanoseconds patience{0};
  const auto call = [&](Orchestrator& orch, TaskArgs&) { patience = fn(orch); };
  const auto node = state().running("run");
  CalledRun called = call_for_run(node, call, options);
  // As in submit_function().
  const std::shared_ptr<detail::RunContext> running = called.state->context;
  if (patience.count() > 0)
    running->seal_and_wait_for(std::move(called.failure), patience);
  else
    running->seal(std::move(called.failure));
  return Run(std::move(called.state));
}

void Worker::run_function(const std::function<void(Orchestrator&)>& fn, const RunOptions& options) {
  const auto node = state().running("run");
  TaskBody body;
  body.config = options.config;
  detail::TaskContext context = root_context(*node, body, options);
  detail::RunState run;
  const detail::OrchestrationFunction call = [&fn](Orchestrator& orch, TaskArgs&) { fn(orch); };
  detail::throw_if_error(detail::run_orchestration(*node, run, call, context));
}

// --- questions
// ----------------------------------------------------------------------------------------

NodeInfo Worker::tree() const {
  state().check_here("tree");
  if (const auto node = state().running_or_null()) {
    NodeInfo info = node->info(kTreeBudget);
    state().add_doubts(info);
    return info;
  }
  const std::lock_guard lock(state().mutex);
  return state().planned_info("");
}

std::string Worker::describe() const {
  return describe_tree(tree());
}

int Worker::level() const {
  return state().options.level;
}
const std::string& Worker::name() const {
  return state().options.name;
}
std::string Worker::path() const {
  return state().path();
}

WorkerId Worker::sub_worker(std::size_t i) const {
  if (i >= state().sub_worker_count()) {
    throw_bad_argument(
        fmt::format("sub-worker {} of {}, which has {}", i, name(), state().sub_worker_count()));
  }
  return WorkerId{static_cast<std::uint32_t>(i)};
}

WorkerId Worker::chip(std::size_t i) const {
  if (i >= state().options.chips.size()) {
    throw_bad_argument(
        fmt::format("chip {} of {}, which has {}", i, name(), state().options.chips.size()));
  }
  return WorkerId{static_cast<std::uint32_t>(state().sub_worker_count() + i)};
}

namespace {

std::span<std::byte> whole_pages(std::span<const std::byte> memory) {
  const auto page = page_bytes();
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(memory.data()) + memory.size()) / page * page;
  if (end <= begin) return {};
  return {reinterpret_cast<std::byte*>(begin), end - begin};
}

}  // namespace

void keep_private(std::span<const std::byte> memory) {
  const std::span<std::byte> pages = whole_pages(memory);
  if (!pages.empty()) detail::throw_if_error(exclude_from_forks(pages.data(), pages.size()));
}

void end_private(std::span<const std::byte> memory) {
  const std::span<std::byte> pages = whole_pages(memory);
  if (!pages.empty()) detail::throw_if_error(include_in_forks(pages.data(), pages.size()));
}

}  // namespace echelon
