// SPDX-License-Identifier: Apache-2.0
//
// FloorMeter: what this machine can do at best, to hold figures against - a message of 64 bytes
// from one spinning process to another and back (docs/design/0008-measuring.md).
//
// The cores of a virtual machine come near and go far by themselves, so a floor is worth something
// only when it is taken between the samples of what it is compared with: short rounds of one and
// the other in turn. Between rounds the partner sleeps.
//
// Processes: forks one, killed with this object or with this process. Make it before any Worker is
//   started, so that no tree has a thread yet.
// Threads: one. Blocking: as long as a round takes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <vector>

#include "cli/anonymous_memory.h"

namespace echelon::cli {

class FloorMeter {
 public:
  /// Throws std::system_error where it cannot fork.
  FloorMeter();
  ~FloorMeter();
  FloorMeter(const FloorMeter&) = delete;
  FloorMeter& operator=(const FloorMeter&) = delete;

  /// Takes `samples` samples, each the mean of kTripsPerSample round trips, after a warm-up; fewer
  /// (at least one) where that takes more than 20 ms.
  void round(std::size_t samples = 100);

  /// Of all samples so far, in nanoseconds.
  double p50() const;
  double p99() const;

  static constexpr unsigned kTripsPerSample = 16;

 private:
  struct PageData;
  PageData& page() const;
  [[noreturn]] void answer_for_ever();
  void trip(unsigned char last);

  AnonymousMemory memory_;
  pid_t partner_ = -1;
  unsigned trips_ = 0;
  std::vector<double> samples_;
};

}  // namespace echelon::cli
