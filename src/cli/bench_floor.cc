// SPDX-License-Identifier: Apache-2.0
#include "cli/bench.h"
#include "cli/floor.h"

namespace echelon::cli {

Report bench_floor(const BenchOptions& options, Progress& progress) {
  Report report = make_report("floor", "64 bytes between two spinning processes", options);
  progress.say("floor: ping-pong");
  FloorMeter floor;
  const int rounds = options.choose(500, 5);
  for (int i = 0; i < rounds; ++i) floor.round();
  report.add(floor_figure(floor));
  report.add({"floor_ns_p99", "the same, p99", Unit::kNanoseconds, floor.p99()});
  return report;
}

}  // namespace echelon::cli
