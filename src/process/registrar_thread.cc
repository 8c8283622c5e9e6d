// SPDX-License-Identifier: Apache-2.0
#include "process/registrar_thread.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "process/child_boot.h"

namespace echelon {

struct RegistrarThread::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Job> jobs;
  bool stopping = false;
  bool blocking = false;   // in a job
  bool finishing = false;  // in a Finish
  std::thread thread;

  void run();
  void finish(const Finish& then, std::unique_lock<std::mutex>& lock);
};

RegistrarThread::RegistrarThread() : state_(std::make_shared<State>()) {}

RegistrarThread::~RegistrarThread() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
  state_->changed.wait(lock, [this] { return !state_->finishing; });
  if (!state_->thread.joinable()) return;
  if (state_->blocking) {
    // It cannot be joined, and ends with the process.
    static_cast<void>(std::make_unique<std::thread>(std::move(state_->thread)).release());
  } else {
    lock.unlock();
    state_->thread.join();
  }
}

void RegistrarThread::Handle::post(Job job) const {
  const std::shared_ptr<State> state = state_.lock();
  if (state == nullptr) return;
  const std::lock_guard lock(state->mutex);
  if (state->stopping) return;
  state->jobs.push_back(std::move(job));
  if (state->thread.joinable()) return state->changed.notify_all();
  // Signals are the executor's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  state->thread = std::thread([state] { state->run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void RegistrarThread::State::run() {
  ::pthread_setname_np(::pthread_self(), "registrar");
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [this] { return stopping || !jobs.empty(); });
    if (stopping) return;
    Job job = std::move(jobs.front());
    jobs.pop_front();
    blocking = true;
    lock.unlock();
    const Finish then = job();
    job = nullptr;
    lock.lock();
    blocking = false;
    finish(then, lock);
  }
}

void RegistrarThread::State::finish(const Finish& then, std::unique_lock<std::mutex>& lock) {
  while (!stopping) {
    finishing = true;
    lock.unlock();
    const bool done = then();
    lock.lock();
    finishing = false;
    changed.notify_all();
    if (done) return;
    changed.wait_for(lock, std::chrono::milliseconds(1), [this] { return stopping; });
  }
}

}  // namespace echelon
