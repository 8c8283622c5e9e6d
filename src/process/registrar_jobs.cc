// SPDX-License-Identifier: Apache-2.0
#include "process/registrar_jobs.h"

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

namespace echelon {

void RegistrarJobs::add(Job job) {
  const std::lock_guard lock(mutex_);
  if (!stopping_) jobs_.push_back(std::move(job));
}

void RegistrarJobs::post(Job job) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  if (posted_) posted_();
}

bool RegistrarJobs::waiting() const {
  const std::lock_guard lock(mutex_);
  return !stopping_ && !working_ && !jobs_.empty();
}

void RegistrarJobs::work() {
  std::unique_lock lock(mutex_);
  if (working_) return;
  working_ = true;
  while (!stopping_ && !jobs_.empty()) {
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    blocked_ = std::this_thread::get_id();
    lock.unlock();
    const Finish then = job();
    job = nullptr;
    lock.lock();
    blocked_ = {};
    finish(then, lock);
  }
  working_ = false;
}

void RegistrarJobs::finish(const Finish& then, std::unique_lock<std::mutex>& lock) {
  while (!stopping_) {
    finishing_ = true;
    lock.unlock();
    const bool done = then();
    lock.lock();
    finishing_ = false;
    if (stopping_) changed_.notify_all();
    if (done) return;
    changed_.wait_for(lock, std::chrono::milliseconds(1), [this] { return stopping_; });
  }
}

bool RegistrarJobs::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || (!working_ && !jobs_.empty()); });
  return !stopping_;
}

std::thread::id RegistrarJobs::stop() {
  std::deque<Job> left;  // destroyed without the lock: what they own may own this
  std::unique_lock lock(mutex_);
  stopping_ = true;
  std::swap(left, jobs_);
  changed_.notify_all();
  changed_.wait(lock, [this] { return !finishing_; });
  const std::thread::id blocked = blocked_;
  lock.unlock();
  return blocked;
}

void join_or_leave(std::thread& thread, std::thread::id blocked) {
  if (!thread.joinable()) return;
  if (thread.get_id() != blocked) return thread.join();
  // Never destroyed: a thread that is still joinable must not be.
  static std::mutex mutex;
  static std::vector<std::thread>& left = *std::make_unique<std::vector<std::thread>>().release();
  const std::lock_guard lock(mutex);
  left.push_back(std::move(thread));
}

}  // namespace echelon
