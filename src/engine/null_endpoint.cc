// SPDX-License-Identifier: Apache-2.0
#include "engine/null_endpoint.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace echelon {

NullEndpoint::NullEndpoint(ChildIndex self, Options options, Function function)
    : self_(self), options_(options), function_(std::move(function)), ring_(options.room) {
  ECHELON_CHECK(options.room != 0);
}

std::size_t NullEndpoint::place_of(TaskId task) const {
  std::size_t place = 0;
  while (place < count_ && at(place).task.task != task) ++place;
  return place;
}

void NullEndpoint::erase(std::size_t place) {
  if (place == 0) {
    first_ = first_ + 1 == ring_.size() ? 0 : first_ + 1;
  } else {
    for (; place + 1 < count_; ++place) std::swap(at(place), at(place + 1));
  }
  --count_;
}

// --- by hand ------------------------------------------------------------------------------------
std::optional<TaskId> NullEndpoint::take() {
  for (std::size_t place = 0; place < count_; ++place) {
    if (at(place).taken) continue;
    at(place).taken = true;
    return at(place).task.task;
  }
  return std::nullopt;
}

void NullEndpoint::finish(TaskId task, Status status, std::span<const std::byte> result) {
  const std::size_t place = place_of(task);
  ECHELON_CHECK(place < count_, task);
  Held& held = at(place);
  held.taken = held.finished = true;
  held.status = std::move(status);
  held.result.assign(result.begin(), result.end());
}

void NullEndpoint::die(const Status& why) {
  if (!death_) death_ = why;
}

std::span<const std::byte> NullEndpoint::body(TaskId task) const {
  const std::size_t place = place_of(task);
  ECHELON_CHECK(place < count_, task);
  return at(place).body;
}

// --- Endpoint -----------------------------------------------------------------------------------
DispatchResult NullEndpoint::try_dispatch(const Dispatch& task) {
  if (death_) return DispatchResult::kDown;
  if (refusing_ || count_ == ring_.size()) return DispatchResult::kNoRoom;
  Held& held = at(count_++);
  held.task = task;
  held.taken = held.finished = false;
  if (options_.manual || function_) {
    held.body.assign(task.body.begin(), task.body.end());
    held.result.clear();
  }
  ++dispatched_;
  return DispatchResult::kSent;
}

bool NullEndpoint::try_recall(TaskId task) {
  const std::size_t place = place_of(task);
  if (place == count_ || at(place).taken || down_reported_) return false;
  erase(place);
  return true;
}

Progress NullEndpoint::progress(TaskId task) const {
  const std::size_t place = place_of(task);
  ECHELON_CHECK(place < count_, task);
  return at(place).taken ? Progress::kTaken : Progress::kQueued;
}

void NullEndpoint::request_cancel(TaskId task) {
  cancel_requests_.push_back(task);
}

void NullEndpoint::terminate(const Status& why) {
  terminated_ = true;
  die(why);
}

void NullEndpoint::run(Held& held) {
  held.taken = held.finished = true;
  if (!function_) return;
  Dispatch task = held.task;
  task.body = held.body;
  held.status = function_(task, held.result);
}

std::size_t NullEndpoint::report_finished(EndpointEvents& events) {
  std::size_t reported = 0;
  // By hand: whatever was finished. Else in order, as a child would.
  for (std::size_t place = 0; place < count_;) {
    if (options_.completions_per_poll != 0 && reported == options_.completions_per_poll) break;
    Held& held = at(place);
    if (!options_.manual && !death_ && !held.finished) run(held);
    if (!held.finished) {
      ++place;
      continue;
    }
    const Completion completion{held.task.task, std::move(held.status), held.result};
    held.status = Status();
    events.on_completion(self_, completion);
    erase(place);
    ++reported;
  }
  return reported;
}

std::size_t NullEndpoint::report_death(EndpointEvents& events) {
  std::size_t reported = 0;
  if (!down_reported_) {
    events.on_down(self_, *death_);
    down_reported_ = true;
    count_ = 0;
    ++reported;
  }
  if (!gone_reported_ && (reaped_ || options_.reap_at_once)) {
    gone_reported_ = true;
    events.on_gone(self_);
    ++reported;
  }
  return reported;
}

std::size_t NullEndpoint::poll(EndpointEvents& events) {
  const std::size_t finished = report_finished(events);
  return death_ ? finished + report_death(events) : finished;
}

}  // namespace echelon
