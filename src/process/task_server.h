// SPDX-License-Identifier: Apache-2.0
//
// TaskServer: the executor's loop of a child - waits on the task ring, claims, decodes, calls the
// handler, publishes exactly one completion a task, rings the parent's doorbell. Serves
// sub-workers, chips and next-level Workers alike.
//
// Processes: the child. Threads: serve() on the executor, which holds the liveness word; stop()
// from
//   any thread. Blocking: serve() until told to stop; between tasks it waits as doorbell waiting
//   does.
// Fork: no.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"
#include "process/tree_edge.h"
#include "shm/channel.h"
#include "shm/doorbell.h"
#include "shm/task_body.h"

namespace echelon {

class CallableHost;

/// One task, decoded. Views are valid until TaskHandler::run returns.
struct TaskFrame {
  TaskId task;
  TaskKind kind = TaskKind::kSub;
  CallableSlot slot;
  MonotonicNs deadline_ns = 0;  // 0: none; already passed ones never come here
  const TaskBody& body;
  std::span<const std::byte> body_bytes;  // the same, encoded
  /// The task that was asked to stop; see cancelled().
  const std::atomic<std::uint64_t>& cancelled_task;

  bool cancelled() const { return cancelled_task.load(std::memory_order_relaxed) == task.value; }
};

/// Where a handler puts what becomes of its task. The last call counts; without any, the task is
/// done with an empty result. Bytes are copied.
class ResultSink {
 public:
  virtual void result(std::span<const std::byte> bytes) = 0;
  virtual void error(const ErrorInfo& info) = 0;

 protected:
  ~ResultSink() = default;
};

/// What a child does with its tasks.
class TaskHandler {
 public:
  virtual ~TaskHandler() = default;
  /// Turns what user code throws into sink.error(). Anything that escapes becomes the task's error
  /// all the same, with less said.
  virtual void run(const TaskFrame& task, ResultSink& sink) = 0;
  /// The parent frees a buffer that this child holds (chips); in order with the tasks.
  virtual void release_buffer(BufferId) {}
  /// What takes callables while tasks run; nullptr: none are taken.
  virtual std::shared_ptr<CallableHost> callable_host() { return nullptr; }
};

/// Written by the executor, read by the control thread; relaxed, as they are only figures.
struct TaskServerCounters {
  std::atomic<std::uint64_t> tasks{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> busy_ns{0};
  std::atomic<std::uint64_t> bytes_in{0};   // of tensors given to read
  std::atomic<std::uint64_t> bytes_out{0};  // of tensors given to write
};

class TaskServer {
 public:
  struct Options {
    std::string path;  // names this child in errors
  };
  /// All must outlive the server.
  TaskServer(Options options, ChannelChild& channel, TreeEdge& edge, Doorbell& parent, Env& env);
  ~TaskServer();

  /// Until stop(): OK. kBadFrame where the task ring held bytes that are no frame: the channel is
  /// marked failed, and the process should end with that in its last words.
  Status serve(TaskHandler& handler);

  /// Ends serve() after the task that is running. Async-signal-unsafe, thread-safe.
  void stop();

  /// For the control thread: `task` should stop if it is still running.
  void request_cancel(TaskId task);

  const TaskServerCounters& counters() const;
  /// The task that runs now; 0 between tasks.
  TaskId running() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace echelon
