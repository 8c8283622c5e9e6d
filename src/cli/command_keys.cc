// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/app.h"
#include "remote/keys.h"

namespace echelon::cli {
namespace {

constexpr const char* kMore =
    "Examples:\n"
    "  echelon keys init keys\n"
    "  echelon keys issue keys host1.example --ip 10.0.0.7     makes keys/host1.example\n"
    "  echelon keys issue keys laptop --out laptop-keys        for the program at the top\n"
    "\n"
    "Every host, and the program at the top of the tree, gets a folder of its own: copy it there,\n"
    "and name it with --tls-dir or RemoteWorkerSpec::tls_dir. Both ends of each connection show\n"
    "their certificate and check the other's; a host's must name it as its parents do.\n"
    "ca.key stays where it was made: whoever has it can make hosts. An authority lasts ten years,\n"
    "a host's certificate one; issue again, into a new folder, before that.";

int fail(const char* command, const Status& why) {
  fmt::print(stderr, "echelon keys {}: {}\n", command, why.info().message);
  return why.reason() == Reason::kBadArgument ? kExitUsage : kExitFailed;
}

int init(const std::string& folder) {
  const Status made = make_authority(folder);
  if (!made.ok()) return fail("init", made);
  fmt::print(
      "{0}/ca.pem  the authority's certificate\n{0}/ca.key  its key: keep it here, and "
      "secret\n",
      folder);
  return 0;
}

int issue(const HostKeysWanted& wanted) {
  const auto made = issue_host_keys(wanted);
  if (!made.ok()) return fail("issue", made.status());
  fmt::print(
      "{0}/host.pem  certificate of {1}, for a year\n{0}/host.key  its key: secret\n"
      "{0}/ca.pem    the authority's certificate\n",
      *made, wanted.host);
  return 0;
}

void add_init(CLI::App& keys, Action& action) {
  CLI::App* command = keys.add_subcommand("init", "Make a private authority");
  const auto folder = std::make_shared<std::string>();
  command->add_option("DIR", *folder, "Folder to make it in")->required()->type_name("");
  command->footer(kMore);
  command->callback([folder, &action] { action = [folder] { return init(*folder); }; });
}

void add_issue(CLI::App& keys, Action& action) {
  CLI::App* command = keys.add_subcommand("issue", "Make a host's key and certificate");
  const auto wanted = std::make_shared<HostKeysWanted>();
  command->add_option("DIR", wanted->authority, "Folder of the authority")
      ->required()
      ->type_name("");
  command->add_option("HOST", wanted->host, "What its parents call it: a DNS name or an IP address")
      ->required()
      ->type_name("");
  command
      ->add_option("--ip", wanted->addresses, "An address it is reached at, too; may be repeated")
      ->type_name("ADDR")
      ->allow_extra_args(false);
  command->add_option("--out", wanted->out, "Folder to write to; else DIR/HOST")->type_name("DIR");
  command->footer(kMore);
  command->callback([wanted, &action] { action = [wanted] { return issue(*wanted); }; });
}

}  // namespace

void add_keys(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("keys", "Make keys for TLS between hosts");
  command->require_subcommand(1);
  command->footer(kMore);
  command->get_formatter()->label("SUBCOMMAND", "COMMAND");
  add_init(*command, action);
  add_issue(*command, action);
}

}  // namespace echelon::cli
