// SPDX-License-Identifier: Apache-2.0
#include "cli/hosts_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "remote/transport.h"

namespace echelon::cli {
namespace {

Status refuse(std::string what) {
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument, std::move(what));
}

Result<digits::RemoteHost> parse_host(const std::vector<std::string>& words,
                                      const std::filesystem::path& folder) {
  if (words.size() > 2) {
    return refuse(fmt::format("{} words; a host is ADDRESS [TLS-DIR]", words.size()));
  }
  digits::RemoteHost host;
  host.address = words.front();
  ECHELON_ASSIGN_OR_RETURN(const bool local, address_is_local(host.address));
  if (words.size() == 2) host.tls_dir = (folder / words[1]).string();
  if (!local && host.tls_dir.empty()) {
    return refuse(fmt::format(
        "{} is not on this machine, and needs a folder of keys behind it (echelon keys issue)",
        host.address));
  }
  return host;
}

}  // namespace

Result<std::vector<digits::RemoteHost>> parse_hosts(std::string_view text,
                                                    const std::string& folder) {
  std::vector<digits::RemoteHost> hosts;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream given(line.substr(0, line.find('#')));
    const std::vector<std::string> words(std::istream_iterator<std::string>(given), {});
    if (words.empty()) continue;
    auto host = parse_host(words, folder);
    if (!host.ok()) return refuse(fmt::format("line {}: {}", number, host.status().info().message));
    hosts.push_back(std::move(host).value());
  }
  if (hosts.empty()) return refuse("there is no host in it; a host is a line: ADDRESS [TLS-DIR]");
  return hosts;
}

Result<std::vector<digits::RemoteHost>> read_hosts_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) return refuse(fmt::format("{} cannot be read", path));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto hosts = parse_hosts(text, std::filesystem::path(path).parent_path().string());
  if (!hosts.ok()) return refuse(fmt::format("{}: {}", path, hosts.status().info().message));
  return hosts;
}

}  // namespace echelon::cli
