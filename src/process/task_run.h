// SPDX-License-Identifier: Apache-2.0
//
// What every executor does with a task, however it came: one that it runs guarded, whose outcome it
// keeps, whose tensors it counts.
//
// Threads: the executor alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "process/task_server.h"
#include "shm/frame.h"

namespace echelon {

/// The kinds of task frames, both ways. kNone and nullopt: none.
FrameKind frame_kind(TaskKind kind);
std::optional<TaskKind> task_kind(FrameKind kind);

/// One for all tasks of an executor: its buffers keep their size.
class TaskOutcome final : public ResultSink {
 public:
  void clear();
  void result(std::span<const std::byte> bytes) override;
  void error(const ErrorInfo& info) override;
  /// It never ran: `why`, with what refused it where it names no cause.
  void refuse(const Status& why, Phase phase);

  bool failed() const { return error_.has_value(); }
  std::span<const std::byte> bytes() const { return bytes_; }
  /// The error, encoded, with this process where it names none. REQUIRES: failed(). Valid until the
  /// next call.
  std::span<const std::byte> encoded_error(std::string_view path);

 private:
  std::vector<std::byte> bytes_;
  std::optional<ErrorInfo> error_;
};

/// Bytes of the tensors that a task was given.
struct TensorBytes {
  std::uint64_t read = 0;
  std::uint64_t written = 0;
};
TensorBytes tensor_bytes(const TaskBody& body);

/// Whatever escapes the handler becomes the task's error.
void run_guarded(TaskHandler& handler, const TaskFrame& task, TaskOutcome& outcome);

/// Its deadline had passed before it began.
Status too_late();

void count_task(TaskServerCounters& counters, bool failed, std::uint64_t busy_ns,
                const TensorBytes& bytes);

}  // namespace echelon
