// SPDX-License-Identifier: Apache-2.0
#include "cli/remote_rig.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <memory>
#include <utility>

#include "cli/process_tree.h"

namespace echelon::cli {
namespace {

constexpr auto kDaemonPatience = std::chrono::seconds(30);
constexpr std::chrono::milliseconds kStartDeadline{120'000};

// The session's processes are this program, too, and find it by name.
#define ECHELON_BENCH_EMPTY "echelon.bench.empty"
ECHELON_ORCH(ECHELON_BENCH_EMPTY, [](Orchestrator&, TaskArgs&) {});

void collect_names(const NodeInfo& node, std::map<std::int64_t, std::string>& names) {
  names[node.pid] = node.path;
  for (const NodeInfo& child : node.children) collect_names(child, names);
}

}  // namespace

Result<RemoteRig> RemoteRig::start() {
  ECHELON_ASSIGN_OR_RETURN(const std::string program, this_program());
  ECHELON_ASSIGN_OR_RETURN(TemporaryFolder folder, TemporaryFolder::make("echelon-bench"));
  ECHELON_ASSIGN_OR_RETURN(GrpcFloor grpc, GrpcFloor::start(folder.path()));
  auto tcp = std::make_unique<TcpFloor>();
  std::set<std::int64_t> floors;
  for (const ProcessStat& process : process_tree(getpid())) floors.insert(process.pid);
  floors.erase(getpid());

  BackgroundProgram::Options options;
  options.command = {program,          "daemon", "--listen", "127.0.0.1:0",
                     "--max-sessions", "128",    "--name",   "bench"};
  options.log_path = folder.path() + "/daemon.log";
  ECHELON_ASSIGN_OR_RETURN(BackgroundProgram daemon, BackgroundProgram::start(options));
  ECHELON_ASSIGN_OR_RETURN(std::string address, daemon.await_line("serving at ", kDaemonPatience));
  return RemoteRig(std::move(folder), std::move(tcp), std::move(grpc), std::move(floors),
                   std::move(daemon), std::move(address));
}

std::vector<ProcessUse> RemoteRig::processes(const Worker& pod) const {
  std::map<std::int64_t, std::string> names;
  collect_names(pod.tree(), names);
  names[daemon_.pid()] = "daemon";
  std::vector<ProcessUse> uses;
  for (const ProcessStat& process : process_tree(getpid())) {
    if (floors_.count(process.pid) != 0) continue;
    std::string& name = names[process.pid];
    if (name.empty()) name = fmt::format("spawner of {}", names[process.parent]);
    uses.push_back({.pid = process.pid, .name = name});
  }
  return uses;
}

RemotePod::RemotePod(const std::string& address, const Options& options)
    : pod_({.level = 4, .name = "pod0", .start_deadline = kStartDeadline}) {
  empty_ = pod_.register_orch(ECHELON_BENCH_EMPTY);
  for (int i = 0; i < options.sessions; ++i) {
    RemoteWorkerSpec host;
    host.address = address;
    host.name = fmt::format("host{}", i);
    host.sub_workers = options.sub_workers;
    for (int chip = 0; chip < options.chips; ++chip) host.chips.push_back({"cpu", chip});
    host.memory_bytes_max = options.memory_bytes;
    const WorkerId worker = pod_.add_remote_worker(host);
    if (i == 0) first_ = worker;
  }
  const Stopwatch watch;
  pod_.start();
  start_ms_ = watch.ms();
}

void RemotePod::run_tasks(int count, const Args& args) {
  pod_.run([&](Orchestrator& orch) {
    for (int i = 0; i < count; ++i) orch.submit(empty_, args, {.worker = first_});
  });
}

}  // namespace echelon::cli
