// SPDX-License-Identifier: Apache-2.0
#include "chip/drivers/cpu/core_pool.h"

#include <csignal>

#include <system_error>

namespace echelon::cpu {

CorePool::~CorePool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  begin_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void CorePool::run(unsigned cores, const Work& work) {
  if (cores <= 1) {
    work(0);
    return;
  }
  make_threads(cores - 1);
  {
    const std::lock_guard lock(mutex_);
    work_ = &work;
    cores_ = cores;
    ++serial_;
  }
  begin_.notify_all();
  work(0);
  std::unique_lock lock(mutex_);
  work_ = nullptr;
  end_.wait(lock, [this] { return active_ == 0; });
}

void CorePool::make_threads(unsigned count) {
  if (threads_.size() >= count) return;
  // Signals are the chip process's own affair: these threads never take one.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    while (threads_.size() < count) {
      threads_.emplace_back(&CorePool::serve, this, static_cast<unsigned>(threads_.size() + 1));
    }
  } catch (const std::system_error&) {
    // The blocks are spread over the threads that there are.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void CorePool::serve(unsigned core) {
  std::uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    begin_.wait(lock,
                [&] { return stop_ || (work_ != nullptr && serial_ != seen && core < cores_); });
    if (stop_) return;
    seen = serial_;
    const Work& work = *work_;
    ++active_;
    lock.unlock();
    work(core);
    lock.lock();
    if (--active_ == 0) end_.notify_one();
  }
}

}  // namespace echelon::cpu
