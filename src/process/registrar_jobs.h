// SPDX-License-Identifier: Apache-2.0
//
// RegistrarJobs: what it takes to make callables in a child, and to let them go, in order. Both may
// block - loading reads files, or waits for an interpreter that a task holds - so whoever works
// here leaves the answering of pings to another thread.
//
//   post() -> (waits) -> the job, which may block -> its Finish, which does not
//
// Threads: any; one at a time is at work. Blocking: work() as the jobs do; wait(); stop() waits for
//   a Finish, never for a job.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace echelon {

class RegistrarJobs {
 public:
  /// What follows the blocking part, and does not block; called again 1 ms later while it returns
  /// false. None runs or begins once stop() has returned, so it may use what outlives that.
  using Finish = std::function<bool()>;
  /// May block, and must own what it uses.
  using Job = std::function<Finish()>;

  /// In order. Calls the hook of when_posted(), if any.
  void post(Job job);
  /// The same without the hook: for a thread that works here next.
  void add(Job job);
  /// How a thread that works here is woken; it must not block. Before the first post(). Not called
  /// after stop().
  void when_posted(std::function<void()> hook) { posted_ = std::move(hook); }

  /// Whether a job waits, and nobody is at work.
  bool waiting() const;
  /// Does what waits; nothing where another thread is at work, which then does that, too.
  void work();
  /// Sleeps until waiting(). False: stopped.
  bool wait();
  /// Ends work() after what it is at. Returns the thread that a job holds, which cannot be joined
  /// and ends with its process; none: a default id.
  std::thread::id stop();

 private:
  void finish(const Finish& then, std::unique_lock<std::mutex>& lock);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::function<void()> posted_;
  bool stopping_ = false;
  bool working_ = false;
  bool finishing_ = false;   // in a Finish
  std::thread::id blocked_;  // in a job
};

/// Joins a thread that worked, if it was started; leaves it to the end of its process where it is
/// `blocked`, which stop() returned.
void join_or_leave(std::thread& thread, std::thread::id blocked);

}  // namespace echelon
