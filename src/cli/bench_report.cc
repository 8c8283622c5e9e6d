// SPDX-License-Identifier: Apache-2.0
//
// What every report begins with; apart from the benchmarks, as the Python package links it, too.
#include "cli/bench.h"
#include "cli/floor.h"

namespace echelon::cli {

Report make_report(const char* name, const char* title, const BenchOptions& options) {
  Report report;
  report.name = name;
  report.title = title;
  if (options.quick) {
    report.notes.push_back("shortened by --quick: these figures say nothing about speed");
    report.more["quick"] = true;
  }
  return report;
}

Figure floor_figure(const FloorMeter& floor) {
  return {"floor_ns_p50", "floor: 64 bytes there and back, p50", Unit::kNanoseconds, floor.p50()};
}

}  // namespace echelon::cli
