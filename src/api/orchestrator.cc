// SPDX-License-Identifier: Apache-2.0
#include <echelon/orchestrator.h>

#include <fmt/format.h>

#include <algorithm>

#include "api/callable_lookup.h"
#include "api/node.h"
#include "api/run_context.h"
#include "api/throw_status.h"

namespace echelon {

namespace detail {
void throw_result_size(std::size_t have, std::size_t want) {
  throw_new(Code::kInvalidArgument, Reason::kWrongType,
            fmt::format("the result has {} bytes, and was asked for as a type of {}", have, want));
}
}  // namespace detail

using detail::RunContext;
using detail::throw_bad_argument;

// --- TaskHandle
// ---------------------------------------------------------------------------------------

namespace {

RunContext& run_of(const std::shared_ptr<RunContext>& run) {
  if (run == nullptr) throw_bad_argument("this TaskHandle is empty; submit() makes them");
  return *run;
}

}  // namespace

void TaskHandle::wait() const {
  run_of(run_).wait_task(TaskId{id_});
  if (back_ == nullptr) return;
  for (const std::uint64_t id : *back_) run_->wait_task(TaskId{id});
}
bool TaskHandle::wait_until(std::chrono::steady_clock::time_point deadline) const {
  const auto ns = deadline.time_since_epoch().count();
  const bool for_ever = deadline == std::chrono::steady_clock::time_point::max();
  const auto until = for_ever ? 0 : static_cast<MonotonicNs>(ns > 1 ? ns : 1);
  if (!run_of(run_).wait_task_until(TaskId{id_}, until)) return false;
  return back_ == nullptr || std::all_of(back_->begin(), back_->end(), [&](std::uint64_t id) {
           return run_->wait_task_until(TaskId{id}, until);
         });
}
bool TaskHandle::done() const {
  if (!run_of(run_).task_done(TaskId{id_})) return false;
  return back_ == nullptr || std::all_of(back_->begin(), back_->end(), [&](std::uint64_t id) {
           return run_->task_done(TaskId{id});
         });
}
std::string TaskHandle::describe() const {
  return run_ == nullptr ? "empty" : run_->describe_task(TaskId{id_});
}
std::vector<std::byte> TaskHandle::result_bytes() const {
  return run_of(run_).task_result(TaskId{id_});
}

bool TaskHandle::result_is_trusted() const {
  return run_of(run_).task_trusted(TaskId{id_});
}

Tensor TaskHandle::output(std::size_t i) const {
  const std::size_t count = outputs_ != nullptr ? outputs_->size() : 0;
  if (i >= count) {
    throw_bad_argument(
        fmt::format("output {} of a task for which submit() allocated {}", i, count));
  }
  return (*outputs_)[i];
}

// --- Scope
// ----------------------------------------------------------------------------------------------

Scope::Scope(std::shared_ptr<RunContext> run, std::uint32_t id) : run_(std::move(run)), id_(id) {}
Scope::Scope(Scope&& other) noexcept = default;
Scope::~Scope() {
  if (run_ != nullptr) run_->close_scope(id_);
}
void Scope::wait() {
  run_of(run_).wait_scope(id_);
}

// --- Orchestrator
// ---------------------------------------------------------------------------------------

TaskHandle Orchestrator::submit(SubHandle callable, const Args& args,
                                const SubmitOptions& options) {
  return run_->submit(TaskKind::kSub, callable.ref(), args, options);
}
TaskHandle Orchestrator::submit(OrchHandle callable, const Args& args,
                                const SubmitOptions& options) {
  return run_->submit(TaskKind::kOrch, callable.ref(), args, options);
}
TaskHandle Orchestrator::submit(ChipHandle callable, const Args& args,
                                const SubmitOptions& options) {
  return run_->submit(TaskKind::kChip, callable.ref(), args, options);
}

std::vector<TaskHandle> Orchestrator::submit_group(SubHandle callable, std::span<const Args> args,
                                                   const GroupOptions& options) {
  return run_->submit_group(TaskKind::kSub, callable.ref(), args, options);
}
std::vector<TaskHandle> Orchestrator::submit_group(OrchHandle callable, std::span<const Args> args,
                                                   const GroupOptions& options) {
  return run_->submit_group(TaskKind::kOrch, callable.ref(), args, options);
}
std::vector<TaskHandle> Orchestrator::submit_group(ChipHandle callable, std::span<const Args> args,
                                                   const GroupOptions& options) {
  return run_->submit_group(TaskKind::kChip, callable.ref(), args, options);
}

TaskHandle Orchestrator::copy(const Tensor& dst, const Tensor& src, const SubmitOptions& options) {
  return run_->copy(dst, src, options);
}

Tensor Orchestrator::alloc(Shape shape, DType dtype) {
  return run_->allocate(shape, dtype);
}

Tensor Orchestrator::chip_tensor(std::size_t chip, Shape shape, DType dtype) {
  const WorkerId id = run_->node().child(ChildKind::kChip, chip);
  return run_->node().memory().allocate_on_chip(ChildIndex{id.value}, shape, dtype);
}

Tensor Orchestrator::remote_tensor(WorkerId worker, Shape shape, DType dtype) {
  return run_->remote_tensor(worker, shape, dtype);
}

namespace {

detail::CallableRef find(RunContext& run, TaskKind kind, std::string_view name) {
  detail::Node& node = run.node();
  return detail::value_or_throw(
      detail::look_up(node.callables(), node.late(), kind, name, node.path()));
}

}  // namespace

SubHandle Orchestrator::find_sub(std::string_view name) const {
  return SubHandle(find(*run_, TaskKind::kSub, name));
}
OrchHandle Orchestrator::find_orch(std::string_view name) const {
  return OrchHandle(find(*run_, TaskKind::kOrch, name));
}
ChipHandle Orchestrator::find_chip(std::string_view name) const {
  return ChipHandle(find(*run_, TaskKind::kChip, name));
}

Scope Orchestrator::scope(std::string_view name) {
  return Scope(run_->shared_from_this(), run_->open_scope(name));
}

const CallConfig& Orchestrator::config() const {
  return run_->config();
}
const std::string& Orchestrator::path() const {
  return run_->node().path();
}
int Orchestrator::level() const {
  return run_->node().level();
}
WorkerId Orchestrator::sub_worker(std::size_t i) const {
  return run_->node().child(ChildKind::kSub, i);
}
WorkerId Orchestrator::chip(std::size_t i) const {
  return run_->node().child(ChildKind::kChip, i);
}
WorkerId Orchestrator::worker(std::size_t i) const {
  return run_->node().child(ChildKind::kWorker, i);
}
std::size_t Orchestrator::sub_worker_count() const {
  return run_->node().child_count(ChildKind::kSub);
}
std::size_t Orchestrator::chip_count() const {
  return run_->node().child_count(ChildKind::kChip);
}
std::size_t Orchestrator::worker_count() const {
  return run_->node().child_count(ChildKind::kWorker);
}

}  // namespace echelon
