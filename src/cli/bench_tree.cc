// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_tree.h"

namespace echelon::cli {
namespace {

constexpr int kHosts = 2;
constexpr int kChipsPerHost = 2;

}  // namespace

BenchTree::BenchTree() : pod({.level = 4, .name = "pod0"}) {
  const SubHandle empty = pod.register_sub("empty", [](Task&) {});
  visit = pod.register_orch("visit", [empty](Orchestrator& orch) { orch.submit(empty); });
  for (int i = 0; i < kHosts; ++i) {
    WorkerOptions host{.level = 3, .name = "host" + std::to_string(i), .sub_workers = 1};
    for (int chip = 0; chip < kChipsPerHost; ++chip)
      host.chips.push_back({"cpu", i * kChipsPerHost + chip});
    pod.add_worker(Worker(std::move(host)));
  }
}

}  // namespace echelon::cli
