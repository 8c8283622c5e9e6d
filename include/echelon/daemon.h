// SPDX-License-Identifier: Apache-2.0
//
// A program that is a daemon: what answers, on a host, when a Worker on another one starts with
// add_remote_worker(). `echelon daemon` is such a program; another one may register callables of
// its own first, which sessions then find by name.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <echelon/export.h>

namespace echelon {

/// How a daemon serves.
struct DaemonConfig {
  /// HOST:PORT, [V6]:PORT or unix:/PATH; port 0: any free one. Sessions listen at the same host, on
  /// ports of their own.
  std::string listen = "127.0.0.1:7171";
  /// ca.pem, host.pem and host.key, as `echelon keys issue` makes them. Needed for any address but
  /// loopback and unix sockets.
  std::string tls_dir;
  /// Plain text at any address: whoever reaches it can run code here.
  bool insecure = false;
  /// Of this host, for errors; empty: the machine's.
  std::string name;
  /// Code that parents may bring along: "library,pickle,source" or parts of it. What this
  /// installation has, and names in it, need not be allowed.
  std::string allow;
  /// The Python (its program) in which sessions of Workers run whose runtime is Python; one such
  /// process is kept ready. It needs this version of the package `echelon`. Empty: such sessions
  /// are refused.
  std::string python;
  /// Python modules, "a.b,c", with all that is below them: import paths and pickles may name these
  /// alone. Empty: pickles, where they are allowed, may name any, and import paths too; where they
  /// are not, import paths may name none.
  std::string modules;
  /// At once.
  std::uint32_t sessions_max = 16;
  /// For the tensors of all sessions together; 0: half of this machine's memory.
  std::uint64_t memory_bytes_max = 0;
};

/// Serves until SIGTERM or SIGINT, then ends its sessions and returns the signal. `serving` hears
/// the address once it can be reached. On the main thread, before the program has another: it
/// forks. Raises the soft limit of descriptors to the hard one. Throws InvalidArgument (an address,
/// a word, keys), Error where the address is taken, ChildLost when no session can be started any
/// more.
ECHELON_API int run_daemon(const DaemonConfig& config,
                           const std::function<void(const std::string& address)>& serving);

}  // namespace echelon
