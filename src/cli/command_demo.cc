// SPDX-License-Identifier: Apache-2.0
#include <digits/demo.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/app.h"
#include "cli/demo_hosts.h"
#include "cli/hosts_file.h"

namespace echelon::cli {
namespace {

/// An option whose value lies in 1..max; its description says so.
CLI::Option* add_count(CLI::App& command, const char* name, int& value, int max, const char* what) {
  return command.add_option(name, value, fmt::format("{}, 1 to {}", what, max))
      ->check(CLI::Range(1, max).description(""))
      ->type_name("N");
}

struct RemoteOptions {
  bool remote = false;
  std::string hosts_file;
};

int refuse(const Status& why, int code) {
  fmt::print(stderr, "echelon demo: {}\n", why.info().message);
  return code;
}

/// On hosts that have daemons already.
int run_on_given(digits::DemoOptions options, const std::string& hosts_file) {
  auto hosts = read_hosts_file(hosts_file);
  if (!hosts.ok()) return refuse(hosts.status(), kExitUsage);
  options.remote = std::move(hosts).value();
  options.hosts = static_cast<int>(options.remote.size());
  options.where = "given";
  return digits::demo_main(options);
}

int run_remote(digits::DemoOptions options) {
  auto hosts = DemoHosts::start(options.hosts);
  if (!hosts.ok()) return refuse(hosts.status(), kExitFailed);
  options.remote = hosts->hosts();
  options.where = hosts->where();
  options.where_note = hosts->note();
  const int code = digits::demo_main(options);
  // They go with their folder.
  if (code == kExitFailed) fmt::print(stderr, "{}", hosts->logs());
  return code;
}

int run(const digits::DemoOptions& options, const RemoteOptions& remote) {
  if (!remote.hosts_file.empty()) return run_on_given(options, remote.hosts_file);
  return remote.remote ? run_remote(options) : digits::demo_main(options);
}

void add_remote(CLI::App& command, RemoteOptions& remote, CLI::Option* hosts) {
  CLI::Option* flag =
      command.add_flag("--remote", remote.remote,
                       "Hosts are daemons with TLS, each in a network namespace where permitted");
  command
      .add_option("--hosts-file", remote.hosts_file,
                  "With --remote: daemons that run already, a line each: ADDRESS [TLS-DIR]")
      ->type_name("FILE")
      ->needs(flag)
      ->excludes(hosts);
}

}  // namespace

void add_demo(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "demo", "Train a classifier on a tree of processes, and check it bit for bit");
  const auto options = std::make_shared<digits::DemoOptions>();
  const auto remote = std::make_shared<RemoteOptions>();
  CLI::Option* const hosts =
      add_count(*command, "--hosts", options->hosts, digits::kHostsMax, "Hosts of the pod");
  add_count(*command, "--chips", options->chips, digits::kChipsMax, "Chips of each host");
  command
      ->add_option("--data", options->data,
                   "CSV of numbers with an integer label last, gzip or not; else digits")
      ->type_name("FILE");
  add_count(*command, "--epochs", options->epochs, digits::kEpochsMax,
            "Times the data is gone through");
  add_count(*command, "--hidden", options->hidden, digits::kHiddenMax, "Units of the hidden layer");
  add_remote(*command, *remote, hosts);
  command->add_flag("--json", options->json,
                    "The closing summary as one JSON object, and nothing else");
  command->footer(
      "Examples:\n"
      "  echelon demo\n"
      "  echelon demo --hosts 4 --chips 1 --json\n"
      "  echelon demo --remote\n"
      "  echelon demo --data measurements.csv --epochs 50 --hidden 32\n"
      "\n"
      "The parameters are the same, bit for bit, for any number of hosts and chips.");
  command->callback([options, remote, &action] {
    action = [options, remote] { return run(*options, *remote); };
  });
}

}  // namespace echelon::cli
