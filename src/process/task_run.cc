// SPDX-License-Identifier: Apache-2.0
#include "process/task_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <exception>

#include "base/error_codec.h"

namespace echelon {

FrameKind frame_kind(TaskKind kind) {
  switch (kind) {
    case TaskKind::kSub:
      return FrameKind::kSubTask;
    case TaskKind::kOrch:
      return FrameKind::kOrchTask;
    case TaskKind::kChip:
      return FrameKind::kChipTask;
    case TaskKind::kCopy:
      return FrameKind::kCopyTask;
  }
  return FrameKind::kNone;
}

std::optional<TaskKind> task_kind(FrameKind kind) {
  switch (kind) {
    case FrameKind::kSubTask:
      return TaskKind::kSub;
    case FrameKind::kOrchTask:
      return TaskKind::kOrch;
    case FrameKind::kChipTask:
      return TaskKind::kChip;
    case FrameKind::kCopyTask:
      return TaskKind::kCopy;
    default:
      return std::nullopt;
  }
}

void TaskOutcome::clear() {
  bytes_.clear();
  error_.reset();
}

void TaskOutcome::result(std::span<const std::byte> bytes) {
  error_.reset();
  bytes_.assign(bytes.begin(), bytes.end());
}

void TaskOutcome::error(const ErrorInfo& info) {
  bytes_.clear();
  error_ = info;
}

void TaskOutcome::refuse(const Status& why, Phase phase) {
  ErrorInfo info = why.info();
  info.phase = phase;
  if (info.cause == Cause::kNone) {
    info.cause = info.reason == Reason::kDeadline ? Cause::kDeadline : Cause::kRefused;
  }
  error(info);
}

std::span<const std::byte> TaskOutcome::encoded_error(std::string_view path) {
  ErrorInfo& info = *error_;
  if (info.path.empty()) info.path = path;
  if (info.pid == 0 && info.path == path) info.pid = ::getpid();
  if (info.code == Code::kOk) info.code = Code::kUnknown;
  bytes_ = encode_error(info, kErrorBytesMax);
  return bytes_;
}

TensorBytes tensor_bytes(const TaskBody& body) {
  TensorBytes sum;
  for (const TaggedTensor& tensor : body.tensors) {
    const std::uint64_t bytes = tensor.desc.payload_bytes();
    const bool written_only = tensor.tag == Tag::kOutput || tensor.tag == Tag::kOutputExisting;
    if (!written_only) sum.read += bytes;
    if (written_only || tensor.tag == Tag::kInout) sum.written += bytes;
  }
  return sum;
}

void run_guarded(TaskHandler& handler, const TaskFrame& task, TaskOutcome& outcome) {
  ErrorInfo info;
  try {
    return handler.run(task, outcome);
  } catch (const std::exception& error) {
    info.message = fmt::format("uncaught exception: {}", error.what());
  } catch (...) {
    info.message = "uncaught exception of a type not derived from std::exception";
  }
  info.code = Code::kUnknown;
  info.reason = Reason::kException;
  info.cause = Cause::kException;
  info.phase = Phase::kRunning;
  outcome.error(info);
}

Status too_late() {
  return Status::error(Code::kDeadlineExceeded, Reason::kDeadline,
                       "its deadline had passed before it began");
}

void count_task(TaskServerCounters& counters, bool failed, std::uint64_t busy_ns,
                const TensorBytes& bytes) {
  // One writer: no exchange needed.
  const auto add = [](std::atomic<std::uint64_t>& to, std::uint64_t more) {
    to.store(to.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  };
  add(counters.tasks, 1);
  if (failed) add(counters.failed, 1);
  add(counters.busy_ns, busy_ns);
  add(counters.bytes_in, bytes.read);
  add(counters.bytes_out, bytes.written);
}

}  // namespace echelon
