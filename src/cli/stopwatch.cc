// SPDX-License-Identifier: Apache-2.0
#include "cli/stopwatch.h"

#include <ctime>

#include <atomic>

#include "base/syscall.h"

namespace echelon::cli {

std::uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void pause_for(std::chrono::nanoseconds duration) {
  const std::atomic<std::uint32_t> never_changed{0};
  const std::uint64_t until = now_ns() + static_cast<std::uint64_t>(duration.count());
  while (now_ns() < until) futex_wait(never_changed, 0, until);
}

}  // namespace echelon::cli
