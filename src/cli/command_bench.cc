// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/app.h"
#include "cli/bench.h"
#include "cli/ledger.h"
#include "cli/machine.h"

namespace echelon::cli {
namespace {

struct Output {
  bool json = false;
  bool markdown = false;
  BenchOptions bench;
};

int run_one(const Bench& bench, const Output& output) {
  Progress progress;
  const Machine machine = this_machine();
  const Report report = bench.run(output.bench, progress);
  progress.clear();
  if (output.json) {
    Json object = to_json(report);
    object["machine"] = to_json(machine);
    fmt::print("{}\n", object.dump(2));
  } else if (output.markdown) {
    fmt::print("{}", to_markdown(report));
  } else {
    fmt::print("{}\n{}", describe(machine), to_text(report));
  }
  return 0;
}

int run_all(const Output& output) {
  const Ledger ledger = take_ledger(output.bench);
  if (output.json)
    fmt::print("{}\n", to_json(ledger).dump(2));
  else
    fmt::print("{}", output.markdown ? to_markdown(ledger) : to_text(ledger));
  return ledger.complete ? 0 : kExitFailed;
}

void add_options(CLI::App& command, const std::shared_ptr<Output>& output) {
  CLI::Option* json =
      command.add_flag("--json", output->json, "One JSON object on standard output");
  command.add_flag("--markdown", output->markdown, "As docs/ledger.md holds it")->excludes(json);
  command.add_flag("--quick", output->bench.quick,
                   "See that it works; the figures then say nothing");
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  CLI::App* group = app.add_subcommand(
      "bench", "Measure what each step costs here, beside what the machine can do at best");
  group->require_subcommand(1);
  group->footer(
      "Each prints the machine's floor, taken in the same run, and the project's target beside\n"
      "each figure. Leave the machine alone meanwhile.\n"
      "\n"
      "Examples:\n"
      "  echelon bench dispatch\n"
      "  echelon bench all --json > ledger.json");
  for (const Bench& bench : benches()) {
    CLI::App* command = group->add_subcommand(bench.name, bench.summary);
    const auto output = std::make_shared<Output>();
    add_options(*command, output);
    command->callback([output, &bench, &action] {
      action = [output, &bench] { return run_one(bench, *output); };
    });
  }
  CLI::App* all = group->add_subcommand("all", "All of these: the whole ledger");
  const auto output = std::make_shared<Output>();
  add_options(*all, output);
  for (CLI::App* command : group->get_subcommands([](const CLI::App*) { return true; }))
    command->group("Benchmarks");
  all->callback([output, &action] { action = [output] { return run_all(*output); }; });
}

}  // namespace echelon::cli
