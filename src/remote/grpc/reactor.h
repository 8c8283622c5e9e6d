// SPDX-License-Identifier: Apache-2.0
//
// Reactor: a completion queue, and who looks at it. While somebody polls, that thread does all the
// work of the connections itself, and no hop between threads is in a message's way; when nobody
// does, a thread of the reactor's sleeps in the queue and answers for them.
//
//   watching   the thread is in the queue
//   parked     it has seen others poll: it sleeps until watch(), or until they have stopped for
//              1 ms, so that a poller that never says that it stops is late once, not for ever
//
// Where watch() keeps coming soon after it has parked, it parks ever more seldom: two switches of
// threads for each message would cost more than both looking at once.
//
// Threads: poll() and watch() any.
// Ownership: shared by lanes, listener and its own thread, which ends after shutdown().
#pragma once

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

namespace echelon {

/// What is given to a completion queue as a tag.
class Completion {
 public:
  /// On a thread that polls, or the reactor's.
  virtual void complete(bool ok) = 0;

 protected:
  ~Completion() = default;
};

class Reactor {
 public:
  /// Starts its thread.
  static std::shared_ptr<Reactor> start(std::unique_ptr<grpc::CompletionQueue> queue);

  grpc::CompletionQueue* queue() { return queue_.get(); }
  /// Completes what is there, unless somebody did since the caller's last poll: of several lanes
  /// that are polled in turn, one looks a round. `seen` is the caller's own, 0 at first. Never
  /// waits.
  void poll(std::uint64_t& seen);
  /// The caller is about to sleep: from here on the reactor's thread looks by itself.
  void watch() {
    // pairs with park(): either the thread sees that it is wanted, or this sees that it has parked
    wanted_.store(true, std::memory_order_seq_cst);
    // pairs with park(): as above
    if (parked_.load(std::memory_order_seq_cst)) unpark();
  }
  /// Its thread ends once nobody holds it and what was under way has completed.
  void shutdown();
  /// Around the life of whatever starts operations.
  void hold();
  void release();
  /// Who holds it, about.
  std::size_t holders() const {
    const std::lock_guard lock(mutex_);
    return holders_;
  }

 private:
  explicit Reactor(std::unique_ptr<grpc::CompletionQueue> queue) : queue_(std::move(queue)) {}
  void run();
  /// False: watch() came at once, and parking was not worth it.
  bool park();
  void unpark();
  void end_queue();

  std::unique_ptr<grpc::CompletionQueue> queue_;
  std::atomic<std::uint64_t> polls_{0};
  std::atomic<bool> parked_{false};
  std::atomic<bool> wanted_{true};  // nobody has polled since the last watch()
  mutable std::mutex mutex_;
  std::condition_variable unparked_;
  std::size_t holders_ = 0;  // guarded by mutex_
  bool shut_down_ = false;   // guarded by mutex_
};

}  // namespace echelon
