// SPDX-License-Identifier: Apache-2.0
//
// The benchmarks behind `echelon bench` (docs/design/0008-measuring.md). Each takes the machine's
// floor in the same run and reports its figures beside it; none of them judges.
//
// Processes: a benchmark forks (the floor's partner, Worker trees) and leaves nothing behind.
// Threads: called on the main thread, one at a time. Blocking: seconds.
// Errors: what the runtime throws (echelon::Error) and std::system_error pass through.
#pragma once

#include <span>

#include "cli/figure.h"
#include "cli/progress.h"

namespace echelon::cli {

class FloorMeter;

struct BenchOptions {
  /// A few samples and little memory: to see that it works, not how fast it is.
  bool quick = false;

  /// Of two sample counts (or sizes) the one that applies.
  template <class T>
  T choose(T full, T shortened) const {
    return quick ? shortened : full;
  }
};

struct Bench {
  const char* name;
  const char* summary;
  Report (*run)(const BenchOptions& options, Progress& progress);
};

/// In the order in which `bench all` runs them.
std::span<const Bench> benches();

Report bench_floor(const BenchOptions& options, Progress& progress);
Report bench_dispatch(const BenchOptions& options, Progress& progress);
Report bench_engine(const BenchOptions& options, Progress& progress);
Report bench_idle(const BenchOptions& options, Progress& progress);
Report bench_startup(const BenchOptions& options, Progress& progress);
Report bench_death(const BenchOptions& options, Progress& progress);
Report bench_remote(const BenchOptions& options, Progress& progress);

/// An empty report, with a note if the options make its figures worthless.
Report make_report(const char* name, const char* title, const BenchOptions& options);
/// The first figure of every report.
Figure floor_figure(const FloorMeter& floor);

}  // namespace echelon::cli
