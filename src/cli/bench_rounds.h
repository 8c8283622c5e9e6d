// SPDX-License-Identifier: Apache-2.0
//
// Rounds: samples of an operation and of the floor in turn, so that both belong to the same
// placement of processes on cores.
#pragma once

#include <vector>

#include "cli/floor.h"
#include "cli/stopwatch.h"

namespace echelon::cli {

struct Rounds {
  int rounds = 1;
  int warm_up = 30;  // unmeasured operations at the begin of each round: the peers woke up
  int samples = 200;
};

/// Nanoseconds of each measured `operation()`.
template <class Operation>
std::vector<double> sample_in_rounds(FloorMeter& floor, const Rounds& plan, Operation&& operation) {
  std::vector<double> samples;
  samples.reserve(static_cast<std::size_t>(plan.rounds) * static_cast<std::size_t>(plan.samples));
  for (int round = 0; round < plan.rounds; ++round) {
    floor.round(40);
    for (int i = 0; i < plan.warm_up; ++i) operation();
    for (int i = 0; i < plan.samples; ++i) {
      const Stopwatch watch;
      operation();
      samples.push_back(watch.ns());
    }
  }
  return samples;
}

}  // namespace echelon::cli
