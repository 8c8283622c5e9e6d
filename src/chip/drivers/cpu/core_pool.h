// SPDX-License-Identifier: Apache-2.0
//
// CorePool: the cores of a cpu chip. The thread that launches is core 0; the others are threads
// made when a launch first wants them, asleep between launches.
//
// Threads: run() by one thread at a time. Blocking: run() returns when every core has left the
// work.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace echelon::cpu {

class CorePool {
 public:
  using Work = std::function<void(unsigned core)>;

  CorePool() = default;
  ~CorePool();
  CorePool(const CorePool&) = delete;
  CorePool& operator=(const CorePool&) = delete;

  /// Calls work(core) once for core 0, on this thread, and at most once for each of 1..cores-1. A
  /// core that wakes up after core 0 has finished is not called any more, so the work must be taken
  /// from a common counter. `work` must not throw.
  void run(unsigned cores, const Work& work);

  /// Threads made so far.
  std::size_t thread_count() const { return threads_.size(); }

 private:
  void make_threads(unsigned count);
  void serve(unsigned core);

  std::vector<std::thread> threads_;  // the launching thread's

  std::mutex mutex_;
  // Guarded by mutex_:
  std::condition_variable begin_, end_;
  const Work* work_ = nullptr;  // null: nothing to join
  unsigned cores_ = 0;          // of work_
  std::uint64_t serial_ = 0;    // of work_
  unsigned active_ = 0;         // threads inside work_
  bool stop_ = false;
};

}  // namespace echelon::cpu
