// SPDX-License-Identifier: Apache-2.0
#include "cli/bench.h"

namespace echelon::cli {
namespace {

constexpr Bench kBenches[] = {
    {"floor", "The machine alone: 64 bytes from process to process and back", bench_floor},
    {"dispatch", "Time of a run() of one task, each further task, tasks a second", bench_dispatch},
    {"engine", "The engine alone: a million empty tasks within this process", bench_engine},
    {"idle", "Processor time of a tree that has nothing to do", bench_idle},
    {"startup", "Time to start a tree, without and with much memory around", bench_startup},
    {"death", "Time from the kill of a child to the failure of its task", bench_death},
    // Last: the threads of its transport stay with this process, and the others fork.
    {"remote", "Workers behind a daemon on loopback, beside TCP and gRPC alone", bench_remote},
};

}  // namespace

std::span<const Bench> benches() {
  return kBenches;
}

}  // namespace echelon::cli
