// SPDX-License-Identifier: Apache-2.0
#include "remote/faults/fault_net.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>

#include "remote/keys.h"

namespace echelon::remote_test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kDaemonPort = 7171;
/// Where left's sessions listen: as many as the proxy leads to.
constexpr std::uint16_t kFirstPort = 40000;
constexpr std::uint16_t kPorts = 16;

/// The ports that this network's kernel chooses from.
int bound_ports() {
  const std::string range =
      std::to_string(kFirstPort) + " " + std::to_string(kFirstPort + kPorts - 1);
  const UniqueFd file(::open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC));
  if (!file) return errno;
  const auto size = static_cast<ssize_t>(range.size());
  return ::write(file.get(), range.data(), range.size()) == size ? 0 : errno;
}

ECHELON_SUB("fault wait", [](Task& task) {
  ::prctl(PR_SET_NAME, kWaiting);
  while (!task.cancelled()) std::this_thread::sleep_for(1ms);
});
ECHELON_ORCH("fault wait below",
             [](Orchestrator& orch) { orch.submit(orch.find_sub("fault wait")); });

}  // namespace

FaultNet::FaultNet(const std::function<int()>& prepare_left) {
  auto network = cli::NetworkNamespaces::make(4);
  if (!network.ok()) {
    why_not_ = network.status().info().message;
    return;
  }
  network_ = std::move(network).value();
  const Status status = make(prepare_left);
  EXPECT_TRUE(status.ok()) << status.to_string();
}

Status FaultNet::make(const std::function<int()>& prepare_left) {
  ECHELON_ASSIGN_OR_RETURN(auto folder, cli::TemporaryFolder::make("echelon-faults"));
  folder_.emplace(std::move(folder));
  ECHELON_RETURN_IF_ERROR(make_authority(keys("authority")));
  const auto issue = [&](const std::string& host, std::vector<std::string> addresses) {
    return issue_host_keys({keys("authority"), host, std::move(addresses), keys(host)}).status();
  };
  ECHELON_RETURN_IF_ERROR(issue("pod0", {}));
  ECHELON_RETURN_IF_ERROR(issue("left", {network_->address(1), network_->address(3)}));
  ECHELON_RETURN_IF_ERROR(issue("right", {network_->address(2)}));

  DaemonConfig config;
  // All of its addresses: sessions then tell none of their own, and are reached by the proxy, too.
  config.listen = "0.0.0.0:" + std::to_string(kDaemonPort);
  config.allow = "library";
  for (const bool left : {true, false}) {
    config.tls_dir = keys(left ? "left" : "right");
    config.name = left ? "left-host" : "right-host";
    (left ? left_ : right_) = std::make_unique<RemoteHost>(config, [&, left] {
      if (const int error = network_->enter(left ? 1 : 2); error != 0) return error;
      if (const int error = bound_ports(); error != 0) return error;
      return left && prepare_left ? prepare_left() : 0;
    });
  }
  FaultProxy::Options options;
  options.listen = network_->address(3);
  options.target = network_->address(1);
  options.ports.push_back(kDaemonPort);
  for (std::uint16_t i = 0; i < kPorts; ++i) {
    options.ports.push_back(static_cast<std::uint16_t>(kFirstPort + i));
  }
  options.prepare = [this] { return network_->enter(3); };
  proxy_ = std::make_unique<FaultProxy>(options);
  return {};
}

void FaultNet::set_left_link(bool up) const {
  const Status status = network_->set_link(1, up);
  EXPECT_TRUE(status.ok()) << status.to_string();
}

RemoteWorkerSpec FaultNet::spec(const std::string& name, const std::string& address) const {
  RemoteWorkerSpec given;
  given.address = address + ":" + std::to_string(kDaemonPort);
  given.name = name;
  given.sub_workers = 1;
  given.tls_dir = keys("pod0");
  given.connect_timeout = 60s;
  given.health_deadline = 30s;
  given.lease = 60s;
  given.unresponsive_after = 60s;
  return given;
}

OrchHandle register_wait_below(Worker& top) {
  top.register_sub("fault wait");
  return top.register_orch("fault wait below");
}

FaultPod::FaultPod(const RemoteWorkerSpec& to_left, const RemoteWorkerSpec& to_right)
    : left(pod.add_remote_worker(to_left)), right(pod.add_remote_worker(to_right)) {
  pod.start();
}

Place FaultPod::where(WorkerId worker) {
  return pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.where_orch, {}, {.worker = worker}).result<Place>();
  });
}

Place FaultPod::sub(WorkerId worker) {
  return pod.run([&](Orchestrator& orch) {
    return orch.submit(functions.ask, {}, {.worker = worker}).result<Place>();
  });
}

Run FaultPod::wait_in_left() {
  const pid_t pid = sub(left).pid;
  Run run = pod.submit([&](Orchestrator& orch) { orch.submit(wait_below, {}, {.worker = left}); });
  EXPECT_TRUE(tree_test::eventually([&] { return tree_test::name_of(pid) == kWaiting; }));
  return run;
}

}  // namespace echelon::remote_test
