// SPDX-License-Identifier: Apache-2.0
//
// Time for benchmarks: CLOCK_MONOTONIC, and a pause that uses no processor.
#pragma once

#include <chrono>
#include <cstdint>

namespace echelon::cli {

/// Nanoseconds on CLOCK_MONOTONIC.
std::uint64_t now_ns();

/// Sleeps so long; what is measured then is what others do meanwhile.
void pause_for(std::chrono::nanoseconds duration);

class Stopwatch {
 public:
  Stopwatch() : begin_(now_ns()) {}
  double ns() const { return static_cast<double>(now_ns() - begin_); }
  double ms() const { return ns() / 1e6; }
  double seconds() const { return ns() / 1e9; }
  void restart() { begin_ = now_ns(); }

 private:
  std::uint64_t begin_;
};

}  // namespace echelon::cli
