// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/background.h"

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace echelon {
namespace {

struct Worked {
  std::atomic<bool> ended{false};
  std::thread thread;
};

struct Background {
  std::mutex mutex;
  std::list<Worked> threads;  // guarded by mutex
};

/// Never destroyed: threads that still run when the process ends go with it.
Background& background() {
  static auto& all = *std::make_unique<Background>().release();
  return all;
}

}  // namespace

void run_in_background(std::function<void()> work) {
  Background& all = background();
  const std::lock_guard lock(all.mutex);
  all.threads.remove_if([](Worked& one) {
    if (!one.ended.load(std::memory_order_relaxed)) return false;
    one.thread.join();
    return true;
  });
  Worked& one = all.threads.emplace_back();
  one.thread = std::thread([&one, work = std::move(work)]() mutable {
    work();
    work = nullptr;  // what it holds goes before anybody can wait for this thread
    one.ended.store(true, std::memory_order_relaxed);
  });
}

}  // namespace echelon
