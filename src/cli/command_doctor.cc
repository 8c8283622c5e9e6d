// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/app.h"
#include "cli/doctor.h"
#include "cli/machine.h"

namespace echelon::cli {
namespace {

int run_doctor(bool json) {
  const auto all = checks();
  const auto diagnoses = diagnose(all);
  if (json) {
    Json object = to_json(diagnoses);
    object["machine"] = to_json(this_machine());
    fmt::print("{}\n", object.dump(2));
  } else {
    fmt::print("{}\n\n{}", describe(this_machine()), to_text(diagnoses));
  }
  return worst(diagnoses) == Verdict::kFail ? kExitFailed : 0;
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("doctor", "Say what this machine offers and what is in the way");
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "One JSON object on standard output");
  command->footer(
      "Each check is ok, warn (works, but slower or with less than one might think) or FAIL.\n"
      "Exit code 1 if one fails.");
  command->callback([json, &action] { action = [json] { return run_doctor(*json); }; });
}

}  // namespace echelon::cli
