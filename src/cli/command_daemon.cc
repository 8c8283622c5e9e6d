// SPDX-License-Identifier: Apache-2.0
#include <echelon/daemon.h>
#include <echelon/error.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/app.h"

namespace echelon::cli {
namespace {

constexpr const char* kMore =
    "One line on standard output says where it serves; its log goes to standard error, a line an\n"
    "event, the time first. What sessions print follows, marked with their path. SIGTERM or "
    "SIGINT\n"
    "ends it: sessions are asked to end, then killed, within 5 seconds; exit code 0.\n"
    "\n"
    "Who may connect: at a loopback address or a unix socket, this machine's users. At any other\n"
    "address, holders of a certificate of the same authority:\n"
    "  echelon keys init keys              once, on a machine that is no host of the pod\n"
    "  echelon keys issue keys host1       for each host; copy keys/host1 there\n"
    "  echelon daemon --listen host1:7171 --tls-dir host1\n"
    "\n"
    "What they may bring along is nothing but names of what is installed here, unless allowed:\n"
    "  --allow library     shared objects and chip images: machine code\n"
    "  --allow pickle      Python's pickle, which runs code as it is read\n"
    "  --allow source      code as text; nothing of this version brings any\n"
    "  --modules a.b,c     Python: modules that import paths and pickles may name; without it, "
    "any\n"
    "                      where pickles are allowed, and else none\n"
    "Allow what you would let those parents run under this user.";

int serve(const DaemonConfig& config) {
  try {
    run_daemon(config, [](const std::string& address) {
      fmt::print("echelon daemon: serving at {}\n", address);
      std::fflush(stdout);
    });
  } catch (const InvalidArgument& error) {
    fmt::print(stderr, "echelon daemon: {}\n", error.message());
    return kExitUsage;
  }
  return 0;
}

}  // namespace

void add_daemon(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("daemon", "Serve sessions: Workers whose parents are on other hosts");
  const auto config = std::make_shared<DaemonConfig>();
  command->add_option("--listen", config->listen, "Where: HOST:PORT, [V6]:PORT or unix:/PATH")
      ->type_name("ADDR");
  auto* tls = command
                  ->add_option("--tls-dir", config->tls_dir,
                               "Folder of ca.pem, host.pem and host.key (echelon keys issue)")
                  ->type_name("DIR");
  command
      ->add_flag("--insecure", config->insecure,
                 "Plain text at any address: whoever reaches it can run code here")
      ->excludes(tls);
  command
      ->add_option("--allow", config->allow, "Code that parents may bring: library,pickle,source")
      ->type_name("LIST");
  command
      ->add_option("--modules", config->modules,
                   "Python modules, with those below, that import paths and pickles may name")
      ->type_name("LIST");
  command
      ->add_option("--python", config->python,
                   "The Python of sessions that run Python; with python -m echelon, that one")
      ->type_name("PATH");
  command->add_option("--max-sessions", config->sessions_max, "Sessions at once, 1 to 1024")
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N");
  command
      ->add_option("--memory", config->memory_bytes_max,
                   "Of all sessions' tensors together, as 8GiB; 0: half of the machine's")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->type_name("BYTES");
  command->add_option("--name", config->name, "Of this host, in errors; else the machine's")
      ->type_name("NAME");
  command->footer(kMore);
  command->callback([config, &action] { action = [config] { return serve(*config); }; });
}

}  // namespace echelon::cli
