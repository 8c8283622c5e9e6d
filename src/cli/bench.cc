// SPDX-License-Identifier: Apache-2.0
#include "cli/bench.h"

#include "cli/floor.h"

namespace echelon::cli {
namespace {

constexpr Bench kBenches[] = {
    {"floor", "The machine alone: 64 bytes from process to process and back", bench_floor},
    {"dispatch", "Time of a run() of one task, each further task, tasks a second", bench_dispatch},
    {"engine", "The engine alone: a million empty tasks within this process", bench_engine},
    {"idle", "Processor time of a tree that has nothing to do", bench_idle},
    {"startup", "Time to start a tree, without and with much memory around", bench_startup},
    {"death", "Time from the kill of a child to the failure of its task", bench_death},
};

}  // namespace

std::span<const Bench> benches() {
  return kBenches;
}

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
