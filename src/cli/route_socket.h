// SPDX-License-Identifier: Apache-2.0
//
// RouteSocket: makes links and addresses in the network namespace that it was opened in, over
// rtnetlink (rtnetlink(7)), so that no program has to be there for it.
//
// Blocking: the kernel answers at once. Errors: kSystem, with what was tried.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/status.h"

namespace echelon::cli {

class RouteSocket {
 public:
  static Result<RouteSocket> open();

  Status bring_up(const std::string& link) { return set_up(link, true); }
  /// Packets of it are lost until it is brought up again.
  Status take_down(const std::string& link) { return set_up(link, false); }
  /// `address` in host byte order.
  Status add_address(const std::string& link, std::uint32_t address, unsigned prefix_bits);
  Status add_bridge(const std::string& link);
  /// Two ends of a cable: `link` here, `peer` in the namespace behind `peer_namespace`.
  Status add_veth(const std::string& link, const std::string& peer, int peer_namespace);
  /// Puts `link` into the bridge `bridge`.
  Status join_bridge(const std::string& link, const std::string& bridge);

 private:
  explicit RouteSocket(UniqueFd socket) : socket_(std::move(socket)) {}
  Status set_up(const std::string& link, bool up);
  Status request(std::span<const std::byte> message, std::string_view what);

  UniqueFd socket_;
};

}  // namespace echelon::cli
