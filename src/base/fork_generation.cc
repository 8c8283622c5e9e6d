// SPDX-License-Identifier: Apache-2.0
#include "base/fork_generation.h"

#include <pthread.h>

#include <atomic>

#include "base/check.h"

namespace echelon {
namespace {

std::atomic<std::uint32_t> generation{1};

void in_child() {
  generation.fetch_add(1, std::memory_order_relaxed);
}

int watch_forks() {
  const int error = ::pthread_atfork(nullptr, nullptr, &in_child);
  ECHELON_CHECK(error == 0, error);
  return 0;
}

}  // namespace

std::uint32_t fork_generation() {
  [[maybe_unused]] static const int watching = watch_forks();
  return generation.load(std::memory_order_relaxed);
}

}  // namespace echelon
