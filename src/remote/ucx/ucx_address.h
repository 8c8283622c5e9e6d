// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <string_view>

#include "base/status.h"

namespace echelon {

struct UcxAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Of "HOST:PORT" or "[V6]:PORT"; asks the resolver. Errors: kBadArgument for what is no such
/// address, and for unix sockets, which UCX does not know; kSystem for a name that does not
/// resolve.
Result<UcxAddress> resolve_ucx_address(std::string_view address);

/// `address` with another port.
std::string with_port(std::string_view address, const sockaddr_storage& bound);

}  // namespace echelon
