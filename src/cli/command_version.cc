// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/build_id.h"
#include "cli/app.h"
#include "cli/machine.h"

namespace echelon::cli {
namespace {

int print_version(bool json) {
  if (json) {
    const Json object = {
        {"version", version_text()}, {"build", build_id()}, {"compiler", compiler_text()}};
    fmt::print("{}\n", object.dump(2));
  } else {
    fmt::print("echelon {}\nbuild {}\ncompiled by {}\n", version_text(), build_id(),
               compiler_text());
  }
  return 0;
}

}  // namespace

void add_version(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("version", "Say which Echelon this is");
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "One JSON object on standard output");
  command->callback([json, &action] { action = [json] { return print_version(*json); }; });
}

}  // namespace echelon::cli
