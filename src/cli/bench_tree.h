// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <echelon/echelon.h>

namespace echelon::cli {

/// The tree of the idle and startup benchmarks, unstarted: a pod (L4) with two hosts (L3), each
/// with two cpu chips and one sub-worker. `visit` runs one task on each host and each sub-worker.
struct BenchTree {
  BenchTree();

  Worker pod;
  OrchHandle visit;
};

}  // namespace echelon::cli
