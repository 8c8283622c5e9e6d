// SPDX-License-Identifier: Apache-2.0
#include "remote/ucx/ucx_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>

#include <cstring>
#include <memory>

#include "remote/transport.h"

namespace echelon {

Result<UcxAddress> resolve_ucx_address(std::string_view address) {
  ECHELON_RETURN_IF_ERROR(address_is_local(address).status());
  if (address.starts_with("unix:")) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("{}: UCX does not go over unix sockets; use the lane grpc, or "
                                     "an address HOST:PORT",
                                     address));
  }
  const std::size_t colon = address.rfind(':');
  std::string host(address.substr(0, colon));
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error =
      ::getaddrinfo(host.c_str(), std::string(address.substr(colon + 1)).c_str(), &hints, &list);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, &::freeaddrinfo);
  if (error != 0 || list == nullptr) {
    return Status::error(Code::kUnavailable, Reason::kSystem,
                         fmt::format("cannot reach {}: its host name does not resolve ({})",
                                     address, ::gai_strerror(error)));
  }
  UcxAddress resolved;
  resolved.bytes = list->ai_addrlen;
  std::memcpy(&resolved.storage, list->ai_addr, list->ai_addrlen);
  return resolved;
}

std::string with_port(std::string_view address, const sockaddr_storage& bound) {
  const in_port_t port = bound.ss_family == AF_INET6
                             ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                             : reinterpret_cast<const sockaddr_in&>(bound).sin_port;
  return fmt::format("{}:{}", address.substr(0, address.rfind(':')), ntohs(port));
}

}  // namespace echelon
