// SPDX-License-Identifier: Apache-2.0
#include "base/env.h"

#include <sys/random.h>
#include <time.h>

#include <cerrno>

#include "base/check.h"

namespace echelon {

MonotonicNs SystemEnv::now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<MonotonicNs>(now.tv_sec) * 1'000'000'000u +
         static_cast<MonotonicNs>(now.tv_nsec);
}

std::uint64_t SystemEnv::random_nonzero() {
  std::uint64_t bits = 0;
  while (bits == 0) {
    const ssize_t got = ::getrandom(&bits, sizeof(bits), 0);
    if (got == sizeof(bits)) continue;
    ECHELON_CHECK(got < 0 && errno == EINTR, got, errno);
    bits = 0;
  }
  return bits;
}

}  // namespace echelon
