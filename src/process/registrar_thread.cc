// SPDX-License-Identifier: Apache-2.0
#include "process/registrar_thread.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace echelon {

RegistrarThread::~RegistrarThread() {
  join_or_leave(thread_, jobs_->stop());
}

void RegistrarThread::post(Job job) {
  jobs_->post(std::move(job));
  if (thread_.joinable()) return;
  // Signals are the executor's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([jobs = jobs_] {
    ::pthread_setname_np(::pthread_self(), "registrar");
    while (jobs->wait()) jobs->work();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace echelon
