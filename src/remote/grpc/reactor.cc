// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/reactor.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "remote/grpc/background.h"

namespace echelon {
namespace {

constexpr std::chrono::milliseconds kPark{1};
constexpr std::uint32_t kSkipsMax = 255;
/// A poll that finds more leaves it to the next, so that its caller gets to see its own lane.
constexpr int kCompletionsAPollMax = 64;

}  // namespace

std::shared_ptr<Reactor> Reactor::start(std::unique_ptr<grpc::CompletionQueue> queue) {
  std::shared_ptr<Reactor> reactor(new Reactor(std::move(queue)));
  // Its own reference: the thread may be the last to let go of a lane.
  run_in_background([reactor] { reactor->run(); });
  return reactor;
}

void Reactor::poll(std::uint64_t& seen) {
  const std::uint64_t polls = polls_.load(std::memory_order_relaxed);
  if (std::exchange(seen, polls) != polls) return;
  seen = polls_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (wanted_.load(std::memory_order_relaxed)) wanted_.store(false, std::memory_order_relaxed);
  void* tag = nullptr;
  bool ok = false;
  for (int count = 0; count < kCompletionsAPollMax; ++count) {
    const auto next = queue_->AsyncNext(&tag, &ok, gpr_time_0(GPR_CLOCK_MONOTONIC));
    if (next != grpc::CompletionQueue::GOT_EVENT) return;
    static_cast<Completion*>(tag)->complete(ok);
  }
}

void Reactor::shutdown() {
  {
    const std::lock_guard lock(mutex_);
    shut_down_ = true;
    if (holders_ != 0) return;
  }
  end_queue();
}

void Reactor::hold() {
  const std::lock_guard lock(mutex_);
  ++holders_;
}

void Reactor::release() {
  {
    const std::lock_guard lock(mutex_);
    if (--holders_ != 0 || !shut_down_) return;
  }
  end_queue();
}

void Reactor::end_queue() {
  queue_->Shutdown();
  unpark();
}

void Reactor::run() {
  void* tag = nullptr;
  bool ok = false;
  std::uint32_t skips = 0;  // events for which it does not park
  std::uint32_t skips_next = 0;
  for (;;) {
    const std::uint64_t before = polls_.load(std::memory_order_relaxed);
    if (!queue_->Next(&tag, &ok)) return;
    static_cast<Completion*>(tag)->complete(ok);
    if (polls_.load(std::memory_order_relaxed) == before) continue;
    if (skips != 0) {
      --skips;
    } else if (park()) {
      skips_next = 0;
    } else {
      skips_next = std::min(2 * skips_next + 1, kSkipsMax);
      skips = skips_next;
    }
  }
}

bool Reactor::park() {
  std::unique_lock lock(mutex_);
  // pairs with watch(): who is about to sleep sees that it has to wake this thread
  parked_.store(true, std::memory_order_seq_cst);
  bool long_enough = false;
  for (std::uint64_t seen = 0;; long_enough = true) {
    // pairs with watch(): who sleeps already has this thread look
    if (wanted_.load(std::memory_order_seq_cst)) break;
    const std::uint64_t polls = polls_.load(std::memory_order_relaxed);
    if (long_enough && polls == seen) break;
    seen = polls;
    if (unparked_.wait_for(lock, kPark,
                           [this] { return !parked_.load(std::memory_order_relaxed); })) {
      break;
    }
  }
  parked_.store(false, std::memory_order_relaxed);
  return long_enough;
}

void Reactor::unpark() {
  {
    const std::lock_guard lock(mutex_);
    parked_.store(false, std::memory_order_relaxed);
  }
  unparked_.notify_one();
}

}  // namespace echelon
