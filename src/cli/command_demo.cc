// SPDX-License-Identifier: Apache-2.0
#include <digits/demo.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/app.h"

namespace echelon::cli {
namespace {

/// An option whose value lies in 1..max; its description says so.
void add_count(CLI::App& command, const char* name, int& value, int max, const char* what) {
  command.add_option(name, value, fmt::format("{}, 1 to {}", what, max))
      ->check(CLI::Range(1, max).description(""))
      ->type_name("N");
}

}  // namespace

void add_demo(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "demo", "Train a classifier on a tree of processes, and check it bit for bit");
  const auto options = std::make_shared<digits::DemoOptions>();
  add_count(*command, "--hosts", options->hosts, digits::kHostsMax, "Hosts of the pod");
  add_count(*command, "--chips", options->chips, digits::kChipsMax, "Chips of each host");
  command
      ->add_option("--data", options->data,
                   "CSV of numbers with an integer label last, gzip or not; else digits")
      ->type_name("FILE");
  add_count(*command, "--epochs", options->epochs, digits::kEpochsMax,
            "Times the data is gone through");
  add_count(*command, "--hidden", options->hidden, digits::kHiddenMax, "Units of the hidden layer");
  command->add_flag("--json", options->json,
                    "The closing summary as one JSON object, and nothing else");
  command->footer(
      "Examples:\n"
      "  echelon demo\n"
      "  echelon demo --hosts 4 --chips 1 --json\n"
      "  echelon demo --data measurements.csv --epochs 50 --hidden 32\n"
      "\n"
      "The parameters are the same, bit for bit, for any number of hosts and chips.");
  command->callback(
      [options, &action] { action = [options] { return digits::demo_main(*options); }; });
}

}  // namespace echelon::cli
