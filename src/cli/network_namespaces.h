// SPDX-License-Identifier: Apache-2.0
//
// NetworkNamespaces: several hosts on this one - network namespaces, joined by a bridge, host 0
// being this process. They have no names: the kernel removes them, links and all, with the last
// process in them, however that ends.
//
//   host 0: 10.77.0.1      host 1: 10.77.0.2      ...
//       hosts0 (bridge) ─┬─ host1 ═ eth0
//                        └─ host2 ═ eth0 of host 2
//
// Processes: one that has CAP_SYS_ADMIN, or may make user namespaces (it is then in one of its own,
// with its own user alone). Blocking: some milliseconds.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace echelon::cli {

inline constexpr std::size_t kNamespaceHostsMax = 64;

class NetworkNamespaces {
 public:
  /// Moves this process into the first of `hosts` new namespaces. REQUIRES: it has one thread; 1 to
  /// kNamespaceHostsMax hosts. Errors (kSystem): what is not permitted here; nothing has changed.
  static Result<NetworkNamespaces> make(std::size_t hosts);

  std::size_t size() const { return hosts_.size(); }
  std::string address(std::size_t host) const;
  /// Moves a forked child with one thread to a host. Returns 0 or an errno; allocates nothing.
  int enter(std::size_t host) const;
  /// Takes the cable of a host (1 and up) out, or puts it in again. REQUIRES: called in host 0.
  Status set_link(std::size_t host, bool up) const;

 private:
  NetworkNamespaces() = default;
  static Result<NetworkNamespaces> make_here(std::size_t hosts);
  Status connect(std::size_t host);

  std::vector<UniqueFd> hosts_;
};

}  // namespace echelon::cli
