// SPDX-License-Identifier: Apache-2.0
//
// RegistrarThread: makes callables in a child beside its tasks. Loading may block - it reads files,
// or waits for an interpreter that a task holds - so neither the executor nor the thread that
// answers pings does it.
//
// Threads: one, made with the first job. Blocking: the destructor waits for a job only once its
//   blocking part is over; what still blocks then is left to the end of the process.
#pragma once

#include <functional>
#include <memory>
#include <utility>

namespace echelon {

class RegistrarThread {
 public:
  RegistrarThread();
  ~RegistrarThread();
  RegistrarThread(const RegistrarThread&) = delete;
  RegistrarThread& operator=(const RegistrarThread&) = delete;

  /// What follows the blocking part, and does not block; called again 1 ms later while it returns
  /// false. The destructor waits for it, and none begins after that, so it may use whatever
  /// outlives this object.
  using Finish = std::function<bool()>;
  using Job = std::function<Finish()>;
  /// In order. `job` may block, and must own what it uses.
  void post(Job job) { handle().post(std::move(job)); }

 private:
  struct State;

 public:
  /// For jobs that post others: does nothing once the thread is being destroyed.
  class Handle {
   public:
    explicit Handle(std::weak_ptr<State> state) : state_(std::move(state)) {}
    void post(Job job) const;

   private:
    std::weak_ptr<State> state_;
  };
  Handle handle() const { return Handle(state_); }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace echelon
