// SPDX-License-Identifier: Apache-2.0
//
// Env: the clock and the randomness of everything deterministic. The engine and the protocols take
// time and random bits from here alone, so that a simulation can own both.
#pragma once

#include <cstdint>

namespace echelon {

/// A point on CLOCK_MONOTONIC, in nanoseconds. 0 means "none" for deadlines.
using MonotonicNs = std::uint64_t;

class Env {
 public:
  virtual ~Env() = default;
  virtual MonotonicNs now_ns() = 0;
  /// 64 uniformly random bits, never 0.
  virtual std::uint64_t random_nonzero() = 0;
};

/// CLOCK_MONOTONIC and getrandom(2). Threads: safe.
class SystemEnv final : public Env {
 public:
  MonotonicNs now_ns() override;
  std::uint64_t random_nonzero() override;
};

}  // namespace echelon
