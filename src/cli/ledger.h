// SPDX-License-Identifier: Apache-2.0
//
// The ledger: every benchmark's report, and the machine they were taken on (docs/ledger.md).
#pragma once

#include <string>
#include <vector>

#include "cli/bench.h"
#include "cli/machine.h"

namespace echelon::cli {

struct Ledger {
  Machine machine;  // as it was before the first benchmark
  std::vector<Report> reports;
  bool complete = true;  // no benchmark failed; one that did has a report whose note says why
};

/// Runs every benchmark. One that throws does not keep the others from running.
Ledger take_ledger(const BenchOptions& options);

/// {"machine": {...}, "complete": bool, one object a benchmark under its name}.
Json to_json(const Ledger& ledger);
std::string to_text(const Ledger& ledger);
/// The whole of docs/ledger.md.
std::string to_markdown(const Ledger& ledger);

}  // namespace echelon::cli
