// SPDX-License-Identifier: Apache-2.0
//
// FaultProxy: stands between a program and a host, and cuts, corrupts, delays or holds what passes.
// A process of its own, so that it can stand in another network; each call returns when the proxy
// has done what it says.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"

namespace echelon::remote_test {

enum class ProxyFault : std::uint8_t {
  kNone,
  kCut,      // resets connections; new ones are taken
  kCorrupt,  // every byte
  kHold,     // passes nothing on, and says nothing of it
};

/// Connections in the order in which a parent makes them to one session, as bits.
enum ProxyConnection : std::uint32_t {
  kDaemonCall = 1u << 0,
  kHealthLane = 1u << 1,
  kTaskLane = 1u << 2,
  kDataLane = 1u << 3,
  kEveryConnection = ~0u,
};

class FaultProxy {
 public:
  struct Options {
    std::string listen;  // IPv4 addresses, in network notation
    std::string target;
    std::vector<std::uint16_t> ports;  // of both
    /// In its process, before it listens: 0, or an errno.
    std::function<int()> prepare;
  };
  /// Before the test has a thread.
  explicit FaultProxy(const Options& options);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  /// These connections, from now on; the others behave.
  void misbehave(ProxyFault fault, std::uint32_t connections = kEveryConnection);
  /// Everything that passes from now on comes so much later.
  void delay(std::chrono::milliseconds delay);
  struct Command {
    ProxyFault fault = ProxyFault::kNone;
    std::uint32_t connections = 0;
    std::uint32_t delay_ms = 0;
  };

 private:
  void tell();

  pid_t pid_ = -1;
  Command command_;
  UniqueFd commands_;
};

}  // namespace echelon::remote_test
