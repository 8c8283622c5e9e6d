// SPDX-License-Identifier: Apache-2.0
//
// RegistrarThread: a thread for RegistrarJobs, made with the first, for a Worker: its keeper must
// not block.
//
// Threads: one. Blocking: the destructor waits for a job only once its blocking part is over; what
//   still blocks then is left to the end of the process.
#pragma once

#include <memory>
#include <thread>

#include "process/registrar_jobs.h"

namespace echelon {

class RegistrarThread {
 public:
  using Finish = RegistrarJobs::Finish;
  using Job = RegistrarJobs::Job;

  RegistrarThread() : jobs_(std::make_shared<RegistrarJobs>()) {}
  ~RegistrarThread();
  RegistrarThread(const RegistrarThread&) = delete;
  RegistrarThread& operator=(const RegistrarThread&) = delete;

  /// In order. One caller at a time.
  void post(Job job);

 private:
  std::shared_ptr<RegistrarJobs> jobs_;
  std::thread thread_;
};

}  // namespace echelon
