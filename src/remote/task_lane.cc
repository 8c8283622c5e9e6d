// SPDX-License-Identifier: Apache-2.0
#include "remote/task_lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace echelon {
namespace {

/// What a place in the inbox keeps of its memory from task to task.
constexpr std::size_t kKeptBodyBytes = 16 * 1024;

}  // namespace

void TaskLane::attach(std::unique_ptr<Lane> lane) {
  ECHELON_CHECK(owned_ == nullptr);
  owned_ = std::move(lane);
  // pairs with the acquire loads: the lane as it was made
  lane_.store(owned_.get(), std::memory_order_release);
  sleeper_->poke();
}

void TaskLane::stop() {
  // pairs with the seq_cst load in over(): the sleeper's re-read sees it, or is woken
  stopping_.store(true, std::memory_order_seq_cst);
  sleeper_->poke();
}

void TaskLane::abandon() {
  // pairs with the load in execute(): whoever is made to fail by this was told after it
  abandoned_.store(true, std::memory_order_release);
  stop();
}

void TaskLane::fail(const Status& why) {
  {
    const std::lock_guard lock(mutex_);
    if (!failed_.ok()) return;
    failed_ = why;
  }
  // pairs with the load in execute()
  abandoned_.store(true, std::memory_order_release);
  has_failed_.store(true, std::memory_order_seq_cst);  // pairs with over()
  sleeper_->poke();
}

void TaskLane::close(const Status& why) {
  // pairs with attach()
  if (Lane* lane = lane_.load(std::memory_order_acquire); lane != nullptr) lane->close(why);
}

bool TaskLane::over() const {
  // pairs with the seq_cst stores in stop() and fail()
  return stopping_.load(std::memory_order_seq_cst) || has_failed_.load(std::memory_order_seq_cst);
}

bool TaskLane::has_news() const {
  const Lane* lane = lane_.load(std::memory_order_acquire);  // pairs with attach()
  return lane != nullptr && lane->has_news();
}

Status TaskLane::serve(TaskHandler& handler) {
  spin_.restart();
  while (!over()) {
    if (count_ != 0) {
      const std::size_t at = std::exchange(first_, (first_ + 1) % inbox_.size());
      --count_;
      execute(inbox_[at], handler);
      spin_.restart();
      continue;
    }
    sleeper_->look();
    Lane* const lane = lane_.load(std::memory_order_acquire);  // pairs with attach()
    // TASK-1: only here, where the inbox is empty.
    if (lane != nullptr && lane->poll(*this) != 0) {
      spin_.restart();
    } else if (spin_.step() == SpinStep::kSleep) {
      sleeper_->sleep([&] { return over() || has_news(); }, 0);
      spin_.restart();
    }
  }
  if (stopping()) return {};
  const std::lock_guard lock(mutex_);
  return failed_;
}

// --- in
// -------------------------------------------------------------------------------------------

void TaskLane::on_message(std::span<const std::byte> message) {
  const MonotonicNs now = env_.now_ns();
  LaneFrameReader reader(message);
  LaneFrame frame;
  while (reader.next(frame)) {
    if (const Status taken = take(frame, now); !taken.ok()) return fail(taken);
  }
  if (!reader.status().ok()) fail(reader.status());
}

Status TaskLane::take(LaneFrame& frame, MonotonicNs now) {
  const auto kind = task_kind(frame.kind);
  if (!kind.has_value() || frame.task == 0 || (frame.flags & kFlagError) != 0) {
    return bad_message(fmt::format("a frame of kind {}, flags {:#x}, task {:#x} is no task",
                                   static_cast<unsigned>(frame.kind), frame.flags, frame.task));
  }
  ECHELON_ASSIGN_OR_RETURN(const bool whole, assembly_.add(frame));
  if (!whole) return {};
  if (count_ == inbox_.size()) {
    return bad_message(fmt::format("more than {} unfinished tasks", inbox_.size()));
  }
  Inbound& into = inbox_[(first_ + count_++) % inbox_.size()];
  into.kind = *kind;
  into.task = frame.task;
  into.slot = frame.slot;
  into.deadline_ns = deadline_of(frame.remaining_ns, now);
  if (into.body.capacity() > kKeptBodyBytes) into.body = {};
  assembly_.take(frame, into.body);
  assembly_.clear();
  return {};
}

void TaskLane::request_cancel(TaskId task) {
  {
    const std::lock_guard lock(mutex_);
    cancels_[next_cancel_++ % kCancelsMax] = task.value;
  }
  // pairs with the seq_cst store and load in cancelled_before(): it finds the cancel, or this finds
  // the task
  cancels_known_.store(true, std::memory_order_seq_cst);
  // pairs with the store there
  if (running_.load(std::memory_order_seq_cst) == task.value) {
    cancelled_.store(task.value, std::memory_order_relaxed);
  }
}

/// The task counts as running from here on.
bool TaskLane::cancelled_before(TaskId task) {
  // pairs with the load in request_cancel()
  running_.store(task.value, std::memory_order_seq_cst);
  // pairs with the store there
  if (!cancels_known_.load(std::memory_order_seq_cst)) return false;
  const std::lock_guard lock(mutex_);
  return std::find(cancels_.begin(), cancels_.end(), task.value) != cancels_.end();
}

// --- running
// --------------------------------------------------------------------------------------

void TaskLane::execute(const Inbound& task, TaskHandler& handler) {
  const MonotonicNs began = env_.now_ns();
  outcome_.clear();
  TensorBytes bytes;
  if (cancelled_before(TaskId{task.task})) {
    ErrorInfo info;
    info.code = Code::kCancelled;
    info.reason = Reason::kCancelled;
    info.cause = Cause::kCancelled;
    info.message = "cancelled before it began";
    outcome_.refuse(Status(std::move(info)), Phase::kQueued);
  } else if (task.deadline_ns != 0 && task.deadline_ns <= began) {
    outcome_.refuse(too_late(), Phase::kQueued);
  } else if (const Status decoded = decode_task_body(task.body, body_); !decoded.ok()) {
    outcome_.refuse(decoded, Phase::kStaging);
  } else {
    bytes = tensor_bytes(body_);
    run_guarded(handler,
                TaskFrame{TaskId{task.task}, task.kind, CallableSlot{task.slot}, task.deadline_ns,
                          body_, task.body, cancelled_},
                outcome_);
  }
  running_.store(0, std::memory_order_relaxed);
  count_task(counters_, outcome_.failed(), env_.now_ns() - began, bytes);
  // pairs with the stores in abandon() and fail()
  if (outcome_.failed() && abandoned_.load(std::memory_order_acquire)) return;
  publish(TaskId{task.task});
}

void TaskLane::publish(TaskId task) {
  LaneFrame frame;
  frame.kind = FrameKind::kCompletion;
  frame.task = task.value;
  if (!outcome_.failed() && outcome_.bytes().size() > kLaneBodyBytesMax) {
    outcome_.refuse(
        Status::error(Code::kInvalidArgument, Reason::kTooLarge,
                      fmt::format("its result of {} bytes cannot be returned; {} are the most. "
                                  "Return large data as a tensor",
                                  outcome_.bytes().size(), kLaneBodyBytesMax)),
        Phase::kReturning);
  }
  if (outcome_.failed()) frame.flags = kFlagError;
  frame.body = outcome_.failed() ? outcome_.encoded_error(path_) : outcome_.bytes();
  std::span<const std::byte> rest = frame.body;
  do {
    frame.body = rest.first(std::min(rest.size(), kPieceBytes));
    rest = rest.subspan(frame.body.size());
    const unsigned more = rest.empty() ? 0u : unsigned{kFlagMore};
    frame.flags = static_cast<std::uint16_t>((frame.flags & ~kFlagMore) | more);
    send(frame);
  } while (!rest.empty() && !has_failed_.load(std::memory_order_relaxed));
}

/// Waits for room. A lane that is down is reported by poll().
void TaskLane::send(LaneFrame frame) {
  Lane* const lane = lane_.load(std::memory_order_acquire);  // pairs with attach()
  for (;;) {
    sleeper_->look();
    if (send_frame(*lane, frame) != LaneSend::kNoRoom) return;
    // A stop lets go of the answer: its parent does not read.
    if (over()) return;
    sleeper_->sleep([&] { return over(); }, 0);
  }
}

}  // namespace echelon
