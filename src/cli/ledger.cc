// SPDX-License-Identifier: Apache-2.0
#include "cli/ledger.h"

#include <fmt/format.h>

#include <exception>

namespace echelon::cli {
namespace {

constexpr const char* kIntroduction =
    "<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
    "# The latency ledger\n"
    "\n"
    "What each step costs, beside what the machine can do at best (its floor), taken in one run.\n"
    "A floor moves with the placement of processes on cores, so figures of different runs compare\n"
    "by their ratio to the floor. How it is measured: `docs/design/0008-measuring.md`.\n"
    "\n"
    "Repeat it with `./dev echelon bench all --markdown`, on a machine with nothing else to do.\n"
    "\n";

}  // namespace

Ledger take_ledger(const BenchOptions& options) {
  Ledger ledger;
  ledger.machine = this_machine();
  Progress progress;
  for (const Bench& bench : benches()) {
    try {
      ledger.reports.push_back(bench.run(options, progress));
    } catch (const std::exception& error) {
      ledger.complete = false;
      Report failed = make_report(bench.name, bench.summary, options);
      failed.notes.push_back(fmt::format("not measured: {}", error.what()));
      failed.more["error"] = error.what();
      ledger.reports.push_back(std::move(failed));
    }
  }
  return ledger;
}

Json to_json(const Ledger& ledger) {
  Json json = {{"machine", to_json(ledger.machine)}, {"complete", ledger.complete}};
  for (const Report& report : ledger.reports) json[report.name] = to_json(report);
  return json;
}

std::string to_text(const Ledger& ledger) {
  std::string text = describe(ledger.machine) + "\n";
  for (const Report& report : ledger.reports) text += "\n" + to_text(report);
  return text;
}

std::string to_markdown(const Ledger& ledger) {
  const Machine& machine = ledger.machine;
  std::string text = kIntroduction;
  text += fmt::format("Machine: {}; transparent huge pages: {}; load before: {:.2f}.\n",
                      describe(machine), machine.huge_pages, machine.load);
  text += fmt::format("Echelon {}, build `{:.12}`, {}.\n", machine.version, machine.build,
                      machine.compiler);
  for (const Report& report : ledger.reports) text += "\n" + to_markdown(report);
  return text;
}

}  // namespace echelon::cli
