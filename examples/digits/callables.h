// SPDX-License-Identifier: Apache-2.0
//
// What runs in the tree: sub functions, chip kernels, and the hosts' orchestration functions, each
// by its name. The order of arguments stands beside each submit in trainer.cc.
#pragma once

#include <cstdint>
#include <string>

#include <echelon/echelon.h>

#include "model.h"

namespace echelon::digits {

inline constexpr const char* kShuffle = "digits shuffle";
inline constexpr const char* kRead = "digits read";
inline constexpr const char* kAdd = "digits add";
inline constexpr const char* kDescend = "digits descend";
inline constexpr const char* kReport = "digits report";
inline constexpr const char* kStep = "digits step";
inline constexpr const char* kEvaluate = "digits evaluate";
inline constexpr const char* kGradient = "digits_gradient";  // the kernel's, too
inline constexpr const char* kPredict = "digits_predict";

/// Those that the pod submits. `shape` stands for three scalars i32: features, hidden, classes.
struct Callables {
  SubHandle shuffle;    // out order; scalars seed u64, epoch u64
  SubHandle descend;    // in sums [hosts, n], inout parameters, velocity, epoch loss f64[2]; shape
  SubHandle report;     // in counts [hosts, 2], inout epoch loss; returns EpochFigures
  OrchHandle step;      // out sums, in parameters, features, labels [, order: none, no rows]; shape
  OrchHandle evaluate;  // out counts, in parameters [, features, labels: none, no rows]; shape
};

/// What `report` returns.
struct EpochFigures {
  double loss_mean = 0;
  std::int64_t right = 0;
  std::int64_t held_out = 0;
};

/// The shared objects that hold them: functions, and the chips' kernels.
struct CodePaths {
  std::string callables;
  std::string kernel;
};

/// Registers all on `pod`, for its whole subtree.
Callables register_callables(Worker& pod, const CodePaths& paths);

/// The scalars that `shape` stands for.
Args& add_shape(Args& args, const ModelShape& shape);

}  // namespace echelon::digits
