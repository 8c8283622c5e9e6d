// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <fmt/format.h>

#include <sys/un.h>

#include <charconv>
#include <string>

#include "remote/transport.h"

namespace echelon {
namespace {

constexpr unsigned kPortMax = 65535;
/// Without the zero that ends it.
constexpr std::size_t kUnixPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;

Status no_address(std::string_view given, std::string_view why) {
  return Status::error(
      Code::kInvalidArgument, Reason::kBadArgument,
      fmt::format("\"{}\" is no address: {}; write HOST:PORT, [V6]:PORT or unix:/PATH", given,
                  why));
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, port);
  return error == std::errc() && at == end && port <= kPortMax;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return ::inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace

Result<bool> address_is_local(std::string_view address) {
  constexpr std::string_view kUnix = "unix:";
  if (address.starts_with(kUnix)) {
    const std::size_t bytes = address.size() - kUnix.size();
    if (bytes == 0) return no_address(address, "there is no path");
    if (bytes > kUnixPathBytesMax) {
      return no_address(address, fmt::format("its path has {} bytes, and that of a socket at most "
                                             "{}: choose a shorter folder",
                                             bytes, kUnixPathBytesMax));
    }
    return true;
  }
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return no_address(address, "there is no port");
  std::string_view host = address.substr(0, colon);
  if (!is_port(address.substr(colon + 1))) {
    return no_address(address, "the port is no number from 0 to 65535");
  }
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return no_address(address, "an IPv6 address stands in brackets");
  }
  if (host.empty()) return no_address(address, "there is no host");
  return is_loopback(std::string(host));
}

}  // namespace echelon
