// SPDX-License-Identifier: Apache-2.0
//
// A program and two hosts in networks of their own, with keys between them:
//
//   host 0: the program (the test)        10.77.0.1
//   host 1: "left", its daemon            10.77.0.2
//   host 2: "right", its daemon           10.77.0.3
//   host 3: a proxy that leads to left    10.77.0.4
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <echelon/echelon.h>
#include <echelon/remote.h>

#include "cli/network_namespaces.h"
#include "cli/temporary_folder.h"
#include "remote/faults/fault_proxy.h"
#include "remote/functions.h"
#include "remote/remote_host.h"
#include "tree/process_set.h"

namespace echelon::remote_test {

/// Of the rows that are about them; all others have time for a machine that does much else.
inline constexpr std::chrono::milliseconds kLease{5'000};
inline constexpr std::chrono::milliseconds kHealthDeadline{2'000};
inline constexpr std::chrono::milliseconds kUnresponsiveAfter{2'000};

/// What becomes of the test where the network cannot be made: it is skipped, with the reason.
class FaultNet {
 public:
  /// Before the test has a thread. `prepare_left`: as RemoteHost's, in its network.
  explicit FaultNet(const std::function<int()>& prepare_left = {});

  bool made() const { return network_.has_value(); }
  const std::string& why_not() const { return why_not_; }
  void set_left_link(bool up) const;
  FaultProxy& proxy() { return *proxy_; }
  RemoteHost& left() { return *left_; }
  RemoteHost& right() { return *right_; }
  /// Left, straight or by the proxy, and right: one sub-worker each.
  RemoteWorkerSpec left_spec() const { return spec("left", network_->address(1)); }
  RemoteWorkerSpec left_spec_by_proxy() const { return spec("left", network_->address(3)); }
  RemoteWorkerSpec right_spec() const { return spec("right", network_->address(2)); }

 private:
  Status make(const std::function<int()>& prepare_left);
  RemoteWorkerSpec spec(const std::string& name, const std::string& address) const;
  std::string keys(const std::string& name) const { return folder_->path() + "/" + name; }

  std::string why_not_;
  std::optional<cli::NetworkNamespaces> network_;
  std::optional<cli::TemporaryFolder> folder_;
  std::unique_ptr<FaultProxy> proxy_;
  std::unique_ptr<RemoteHost> left_, right_;
};

/// Registered on the Worker at the top, beside Functions: a function whose process calls itself
/// kWaiting while it runs, and waits until it is told to stop.
inline constexpr const char* kWaiting = "waits";
OrchHandle register_wait_below(Worker& top);

/// A pod of the two, started.
class FaultPod {
 public:
  FaultPod(const RemoteWorkerSpec& to_left, const RemoteWorkerSpec& to_right);

  Place where(WorkerId worker);
  Place sub(WorkerId worker);
  /// A task that waits in left's sub-worker, and has begun to.
  Run wait_in_left();

  Worker pod{{.level = 4, .name = "pod0", .start_deadline = std::chrono::seconds(120)}};
  const WorkerId left, right;
  Functions functions{pod};
  OrchHandle wait_below = register_wait_below(pod);
};

#define SKIP_WITHOUT_NETWORK(net) \
  if (!(net).made()) GTEST_SKIP() << (net).why_not()

}  // namespace echelon::remote_test
