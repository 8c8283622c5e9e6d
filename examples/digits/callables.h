// SPDX-License-Identifier: Apache-2.0
//
// What runs in the tree: sub functions, chip kernels, and the hosts' orchestration functions. The
// order of arguments stands beside each submit in trainer.cc.
#pragma once

#include <cstdint>
#include <string>

#include <echelon/echelon.h>

#include "model.h"

namespace echelon::digits {

struct Callables {
  SubHandle shuffle;    // out order; scalars seed u64, epoch u64
  SubHandle descend;    // in sums [hosts, n], inout parameters, velocity, epoch loss f64[2]
  SubHandle report;     // in counts [hosts, 2], inout epoch loss; returns EpochFigures
  OrchHandle step;      // out sums, in parameters, features, labels [, order: none, no rows]
  OrchHandle evaluate;  // out counts, in parameters [, features, labels: none, no rows]
};

/// What `report` returns.
struct EpochFigures {
  double loss_mean = 0;
  std::int64_t right = 0;
  std::int64_t held_out = 0;
};

/// Registers all on `pod`, for its whole subtree.
Callables register_callables(Worker& pod, const ModelShape& shape, const std::string& kernel_path);

}  // namespace echelon::digits
