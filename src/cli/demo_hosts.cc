// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_hosts.h"

#include <fmt/format.h>

#include <utility>

#include "cli/network_namespaces.h"
#include "remote/keys.h"

namespace echelon::cli {
namespace {

constexpr const char* kServing = "serving at ";
constexpr auto kStartPatience = std::chrono::seconds(30);

/// Of one host, and of the program at the top.
Result<std::string> keys_for(const std::string& folder, const std::string& name,
                             const std::string& address) {
  HostKeysWanted wanted;
  wanted.authority = folder + "/authority";
  wanted.host = name;
  wanted.addresses = {address};
  wanted.out = folder + "/" + name;
  return issue_host_keys(wanted);
}

}  // namespace

Result<DemoHosts> DemoHosts::start(int count) {
  ECHELON_ASSIGN_OR_RETURN(const std::string program, this_program());
  ECHELON_ASSIGN_OR_RETURN(TemporaryFolder folder, TemporaryFolder::make("echelon-demo"));
  DemoHosts made(std::move(folder));
  const std::string& at = made.folder_.path();
  const auto network = NetworkNamespaces::make(static_cast<std::size_t>(count) + 1);
  made.where_ = network.ok() ? "netns" : "loopback";
  if (!network.ok()) made.note_ = network.status().info().message;
  const auto address_of = [&](std::size_t host) {
    return network.ok() ? network->address(host) : std::string("127.0.0.1");
  };

  ECHELON_RETURN_IF_ERROR(make_authority(at + "/authority"));
  ECHELON_ASSIGN_OR_RETURN(const std::string own_keys, keys_for(at, "pod0", address_of(0)));
  for (std::size_t host = 0; host < static_cast<std::size_t>(count); ++host) {
    const std::string name = fmt::format("host{}", host);
    const std::string address = address_of(host + 1);
    ECHELON_ASSIGN_OR_RETURN(const std::string keys, keys_for(at, name, address));
    BackgroundProgram::Options options;
    options.command = {program, "daemon",  "--listen", address + ":0", "--tls-dir",
                       keys,    "--allow", "library",  "--name",       name};
    options.log_path = at + "/" + name + ".log";
    if (network.ok()) options.prepare = [&, host] { return network->enter(host + 1); };
    ECHELON_ASSIGN_OR_RETURN(BackgroundProgram daemon, BackgroundProgram::start(options));
    made.daemons_.push_back(std::move(daemon));
  }
  for (BackgroundProgram& daemon : made.daemons_) {
    auto address = daemon.await_line(kServing, kStartPatience);
    if (!address.ok()) {
      return Status::error(Code::kUnavailable, Reason::kSystem,
                           fmt::format("the daemon of host{}: {}", made.hosts_.size(),
                                       address.status().info().message));
    }
    made.hosts_.push_back({std::move(address).value(), own_keys});
  }
  return made;
}

std::string DemoHosts::logs() const {
  std::string text;
  for (std::size_t host = 0; host < daemons_.size(); ++host) {
    text += fmt::format("--- the daemon of host{}\n{}", host, daemons_[host].output());
  }
  return text;
}

}  // namespace echelon::cli
