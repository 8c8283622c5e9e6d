// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cli/machine.h"
#include "cli/suggest.h"

namespace echelon::cli {
namespace {

constexpr const char* kAbout =
    "Echelon runs one program over a tree of machines: tasks on chips, on functions in\n"
    "processes of their own, and on hosts that do the same again.\n";

constexpr const char* kExamples =
    "Examples:\n"
    "  echelon doctor                      is this machine fit to run trees?\n"
    "  echelon demo --hosts 2 --chips 2    train a classifier on a pod of two hosts\n"
    "  echelon bench dispatch              what a task costs here, beside the machine's floor\n"
    "  echelon daemon                      take sessions of Workers on other hosts\n"
    "\n"
    "`echelon COMMAND --help` says more. Exit codes: 0 well, 1 failed, 2 wrong usage.";

/// The command that was being given when parsing stopped: "echelon bench".
const CLI::App& innermost(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

std::string full_name(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : full_name(*parent) + " " + app.get_name();
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::string explain_unknown(const CLI::App& command, const std::string& word) {
  const bool option = word.starts_with("-");
  const auto names = option ? option_names(command) : command_names(command);
  std::string text = fmt::format("{}: there is no {} '{}'", full_name(command),
                                 option          ? "option"
                                 : names.empty() ? "argument"
                                                 : "command",
                                 word);
  if (const auto meant = nearest(word.substr(0, word.find('=')), names))
    text += fmt::format("; did you mean '{}'?", *meant);
  if (!names.empty()) text += fmt::format("\n  It has: {}", fmt::join(names, option ? " " : ", "));
  return text;
}

int explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = innermost(app);
  const auto left = app.remaining(true);
  const bool extra = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  const bool incomplete = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  std::string text;
  if ((extra || incomplete) && !left.empty())
    text = explain_unknown(command, left.front());
  else if (incomplete)
    text = fmt::format("{}: which one? {}", full_name(command),
                       fmt::join(command_names(command), ", "));
  else
    text = fmt::format("{}: {}", full_name(command), error.what());
  fmt::print(stderr, "{}\n  `{} --help` says more.\n", text, full_name(command));
  return kExitUsage;
}

/// `code`, unless what was printed did not arrive (a full disk).
int told(const CLI::App& app, int code) {
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (!failed) return code;
  fmt::print(stderr, "{}: standard output cannot be written: {}\n", full_name(innermost(app)),
             std::strerror(errno));
  return kExitFailed;
}

int act(const CLI::App& app, const Action& action) {
  try {
    return told(app, action());
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "{}: {}\n", full_name(innermost(app)), error.what());
    return kExitFailed;
  }
}

}  // namespace

int run_app(int argc, const char* const* argv) {
  CLI::App app(kAbout, "echelon");
  app.footer(kExamples);
  app.require_subcommand(0, 1);
  app.get_formatter()->column_width(28);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.set_help_flag("-h,--help", "Say what there is, and end");
  app.set_version_flag("--version", "echelon " + version_text(),
                       "Say which Echelon this is in one line, and end");
  app.option_defaults()->always_capture_default();
  Action action;
  add_demo(app, action);
  add_bench(app, action);
  add_doctor(app, action);
  add_daemon(app, action);
  add_keys(app, action);
  add_version(app, action);
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    command->group("Commands");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : explain(app, error);
  }
  if (!action) {
    fmt::print("{}", app.help());
    return told(app, 0);
  }
  return act(app, action);
}

}  // namespace echelon::cli
