// SPDX-License-Identifier: Apache-2.0
//
// TaskLane: a session's executor - takes tasks from the task lane, calls the handler, answers each
// with exactly one completion. What TaskServer is over a ring (process/task_server.h).
//
// TASK-1  The lane is polled while the inbox is empty, and at no other time: what waits here is
// what
//         one poll() brings, a lane's buffer at most, and the one body that it completes. All else
//         waits in the lane, and then at the parent (LANE-2).
//
// Threads: serve() on the executor; attach(), stop(), fail(), request_cancel() any.
// Blocking: serve() until told to stop; between tasks it waits as doorbell waiting does.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/env.h"
#include "process/task_run.h"
#include "process/task_server.h"
#include "remote/lane.h"
#include "remote/lane_sleeper.h"
#include "remote/lane_words.h"
#include "remote/wire.h"
#include "shm/waiter.h"

namespace echelon {

class TaskLane final : private LaneEvents {
 public:
  TaskLane(std::string path, Env& env) : path_(std::move(path)), env_(env), spin_(env, kLaneSpin) {}

  LaneOptions lane_options() { return poking(sleeper_); }
  void attach(std::unique_ptr<Lane> lane);
  /// Until stop(): OK. Otherwise what fail() was given, or what is wrong with the lane.
  Status serve(TaskHandler& handler);
  void stop();
  /// A stop for another reason than its parent's will: what fails from here on fails because of it,
  /// and is no completion. The parent hears how the session ends.
  void abandon();
  /// As abandon(). The first cause stays.
  void fail(const Status& why);
  void close(const Status& why);
  /// Of the lane, after close().
  bool is_closing() const {
    const Lane* lane = lane_.load(std::memory_order_acquire);  // pairs with attach()
    return lane != nullptr && lane->is_closing();
  }

  void request_cancel(TaskId task);
  const TaskServerCounters& counters() const { return counters_; }
  TaskId running() const { return TaskId{running_.load(std::memory_order_relaxed)}; }
  // pairs with the seq_cst store in stop()
  bool stopping() const { return stopping_.load(std::memory_order_seq_cst); }

 private:
  struct Inbound {
    TaskKind kind = TaskKind::kSub;
    std::uint64_t task = 0;
    std::uint32_t slot = 0;
    MonotonicNs deadline_ns = 0;
    std::vector<std::byte> body;  // keeps its size from task to task
  };

  void on_message(std::span<const std::byte> message) override;
  void on_down(const Status& why) override { fail(lane_down(LaneRole::kTask, why)); }
  Status take(LaneFrame& frame, MonotonicNs now);

  bool over() const;
  bool has_news() const;
  void execute(const Inbound& task, TaskHandler& handler);
  bool cancelled_before(TaskId task);
  void publish(TaskId task);
  void send(LaneFrame frame);

  const std::string path_;
  Env& env_;
  const std::shared_ptr<LaneSleeper> sleeper_ = std::make_shared<LaneSleeper>();
  std::unique_ptr<Lane> owned_;
  std::atomic<Lane*> lane_{nullptr};

  // The executor's.
  SpinPolicy spin_;
  BodyAssembly assembly_;
  std::array<Inbound, kRemoteWindowMax> inbox_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  TaskBody body_;
  TaskOutcome outcome_;

  TaskServerCounters counters_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> abandoned_{false};
  std::atomic<bool> has_failed_{false};
  std::atomic<std::uint64_t> running_{0};
  std::atomic<std::uint64_t> cancelled_{0};

  /// A cancel may come before its task does: the last few are kept.
  static constexpr std::size_t kCancelsMax = 2 * kRemoteWindowMax;
  std::atomic<bool> cancels_known_{false};
  mutable std::mutex mutex_;  // guards what follows
  std::array<std::uint64_t, kCancelsMax> cancels_{};
  std::size_t next_cancel_ = 0;
  Status failed_;
};

}  // namespace echelon
