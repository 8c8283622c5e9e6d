// SPDX-License-Identifier: Apache-2.0
//
// A daemon in a process of its own, forked by the test before it has a thread.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include <echelon/daemon.h>
#include <echelon/remote.h>

namespace echelon::remote_test {

/// Listens on a free loopback port.
inline DaemonConfig loopback() {
  DaemonConfig config;
  config.listen = "127.0.0.1:0";
  config.allow = "library";
  config.sessions_max = 64;
  return config;
}

class RemoteHost {
 public:
  /// `prepare` is called in the daemon's process before all else: 0, or an errno.
  explicit RemoteHost(DaemonConfig config = loopback(), const std::function<int()>& prepare = {});
  /// Ends the daemon, and all of its sessions with it.
  ~RemoteHost();
  RemoteHost(const RemoteHost&) = delete;
  RemoteHost& operator=(const RemoteHost&) = delete;

  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }
  void kill();
  /// It stands still until it is destroyed.
  void stop() const;

  /// A Worker of this host: two sub-workers.
  RemoteWorkerSpec spec(const std::string& name) const;

 private:
  pid_t pid_ = -1;
  std::string address_;
};

}  // namespace echelon::remote_test
