// SPDX-License-Identifier: Apache-2.0
#include "engine/run_table.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace echelon {

// --- runs ---------------------------------------------------------------------------------------
RunId RunTable::id(std::uint32_t index) const {
  return RunId{(std::uint64_t{runs_[index].generation} << 32) | index};
}

std::uint32_t RunTable::find(RunId id) const {
  const auto index = static_cast<std::uint32_t>(id.value);
  const auto generation = static_cast<std::uint32_t>(id.value >> 32);
  if (index >= runs_.made()) return kNoIndex;
  const Run& run = runs_[index];
  return run.in_use && run.generation == generation ? index : kNoIndex;
}

std::uint32_t RunTable::allocate(const RunSpec& spec) {
  const std::uint32_t index = runs_.allocate();
  if (index == kNoIndex) return index;
  Run& run = runs_[index];
  auto errors = std::move(run.errors);  // keeps its memory
  errors.clear();
  const std::uint32_t generation = run.generation + 1;
  run = Run{};
  run.errors = std::move(errors);
  run.generation = generation == 0 ? 1 : generation;
  run.in_use = true;
  run.deadline_ns = spec.deadline_ns;
  run.token = spec.token;
  return index;
}

void RunTable::free(std::uint32_t index) {
  runs_[index].in_use = false;
  runs_[index].errors.clear();
  runs_.free(index);
}

void RunTable::record_error(Run& run, std::shared_ptr<const ErrorInfo> error) const {
  if (run.errors.size() > errors_max_)
    ++run.errors_left_out;
  else
    run.errors.push_back(std::move(error));
}

void RunTable::record_function_error(Run& run, std::shared_ptr<const ErrorInfo> error) const {
  const bool known = std::find(run.errors.begin(), run.errors.end(), error) != run.errors.end();
  const bool follows = (run.cancelled && error->reason == Reason::kCancelled) ||
                       (run.expired && error->reason == Reason::kDeadline) ||
                       (!run.errors.empty() && error->reason == Reason::kPoisoned);
  if (known || follows) return;
  run.errors.insert(run.errors.begin(), std::move(error));
}

Status RunTable::status(const Run& run) {
  if (run.errors.empty()) return {};
  ErrorInfo info = *run.errors.front();
  for (std::size_t i = 1; i < run.errors.size(); ++i) info.others.push_back(*run.errors[i]);
  if (run.errors_left_out != 0) {
    ErrorInfo more;
    more.code = info.code;
    more.reason = info.reason;
    more.message = fmt::format("and {} more errors", run.errors_left_out);
    info.others.push_back(std::move(more));
  }
  if (run.skipped != 0) {
    ErrorInfo skipped;
    skipped.code = Code::kAborted;
    skipped.reason = Reason::kPoisoned;
    skipped.cause = Cause::kDependency;
    skipped.message = fmt::format("{} {} not run, because what {} on failed", run.skipped,
                                  run.skipped == 1 ? "task was" : "tasks were",
                                  run.skipped == 1 ? "it depends" : "they depend");
    info.others.push_back(std::move(skipped));
  }
  return Status(std::move(info));
}

// --- scopes -------------------------------------------------------------------------------------
namespace {
constexpr std::uint32_t kScopeIndexBits = 16;
constexpr std::uint32_t kScopeIndexMask = (1u << kScopeIndexBits) - 1;
}  // namespace

ScopeTable::ScopeTable(const EngineLimits& limits)
    : scopes_(std::min(limits.scopes_max, kScopeIndexMask - 1)) {}

std::uint32_t ScopeTable::id(std::uint32_t index) const {
  return (scopes_[index].generation << kScopeIndexBits) | (index + 1);
}

std::uint32_t ScopeTable::find(std::uint32_t id) const {
  const std::uint32_t index = (id & kScopeIndexMask) - 1;
  if (index >= scopes_.made() || scopes_[index].run == kNoIndex) return kNoIndex;
  return this->id(index) == id ? index : kNoIndex;
}

std::uint32_t ScopeTable::open(std::uint32_t run, std::uint32_t parent, std::string_view name) {
  const std::uint32_t index = scopes_.allocate();
  Scope& scope = scopes_[index];
  scope.generation = (scope.generation + 1) & kScopeIndexMask;
  scope.run = run;
  scope.parent = parent;
  scope.live = scope.own_live = scope.children = 0;
  scope.closed = false;
  scope.name.clear();
  if (parent != kNoIndex) {
    ++scopes_[parent].children;
    scope.name = scopes_[parent].name;
    scope.name += '/';
  }
  scope.name += name;
  return index;
}

std::uint32_t ScopeTable::count(std::uint32_t index, int change) {
  scopes_[index].own_live += static_cast<std::uint32_t>(change);
  for (std::uint32_t i = index; i != kNoIndex; i = scopes_[i].parent)
    scopes_[i].live += static_cast<std::uint32_t>(change);
  return change < 0 ? forget_done(index) : 0;
}

std::uint32_t ScopeTable::close(std::uint32_t index) {
  scopes_[index].closed = true;
  return forget_done(index);
}

/// Forgets the scope and those above it that only waited for it.
std::uint32_t ScopeTable::forget_done(std::uint32_t index) {
  std::uint32_t forgotten = 0;
  while (index != kNoIndex) {
    const Scope& scope = scopes_[index];
    if (!scope.closed || scope.live != 0 || scope.children != 0) break;
    const std::uint32_t parent = scope.parent;
    forget(index);
    ++forgotten;
    if (parent != kNoIndex) --scopes_[parent].children;
    index = parent;
  }
  return forgotten;
}

void ScopeTable::forget(std::uint32_t index) {
  scopes_[index].run = kNoIndex;
  scopes_.free(index);
}

void ScopeTable::forget_run(std::uint32_t run) {
  for (std::uint32_t index = 0; index < scopes_.made(); ++index)
    if (scopes_[index].run == run) forget(index);
}

bool ScopeTable::room_will_come() const {
  for (std::uint32_t index = 0; index < scopes_.made(); ++index)
    if (scopes_[index].run != kNoIndex && scopes_[index].closed) return true;
  return false;
}

}  // namespace echelon
