// SPDX-License-Identifier: Apache-2.0
//
// What `echelon bench remote` measures on: a daemon of this very program on loopback, the floors
// beside it, and pods whose hosts are its sessions.
//
// Processes: the floors' partners and the daemon are started here, before any Worker, and end with
//   this object or with this process.
// Errors: std::runtime_error, std::system_error, and what the runtime throws.
#pragma once

#include <echelon/echelon.h>
#include <echelon/remote.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "cli/background_program.h"
#include "cli/grpc_floor.h"
#include "cli/idle_watch.h"
#include "cli/stopwatch.h"
#include "cli/tcp_floor.h"
#include "cli/temporary_folder.h"

namespace echelon::cli {

class RemoteRig {
 public:
  /// REQUIRES: this process has one thread. Errors: kNotFound where this installation lacks the
  /// program of the gRPC floor, which comes with the transport; kSystem.
  static Result<RemoteRig> start();

  TcpFloor& tcp() { return *tcp_; }
  GrpcFloor& grpc() { return grpc_; }
  /// Where the daemon serves.
  const std::string& address() const { return address_; }
  /// Those of the tree and of the daemon, this one included; not the floors'.
  std::vector<ProcessUse> processes(const Worker& pod) const;

 private:
  RemoteRig(TemporaryFolder folder, std::unique_ptr<TcpFloor> tcp, GrpcFloor grpc,
            std::set<std::int64_t> floors, BackgroundProgram daemon, std::string address)
      : folder_(std::move(folder)),
        tcp_(std::move(tcp)),
        grpc_(std::move(grpc)),
        floors_(std::move(floors)),
        daemon_(std::move(daemon)),
        address_(std::move(address)) {}

  TemporaryFolder folder_;
  std::unique_ptr<TcpFloor> tcp_;
  GrpcFloor grpc_;
  std::set<std::int64_t> floors_;
  BackgroundProgram daemon_;
  std::string address_;
};

/// A pod whose hosts are sessions, started. Its tasks do nothing and go to the first of them.
class RemotePod {
 public:
  struct Options {
    int sessions = 1;
    int sub_workers = 0;  // of each
    int chips = 0;        // of each, by the cpu driver
    std::size_t memory_bytes = std::size_t{1} << 20;
  };
  RemotePod(const std::string& address, const Options& options);

  /// What start() took.
  double start_ms() const { return start_ms_; }
  /// One run().
  void run_tasks(int count, const Args& args = {});
  Worker& pod() { return pod_; }
  WorkerId first() const { return first_; }

 private:
  Worker pod_;
  OrchHandle empty_;
  WorkerId first_;
  double start_ms_ = 0;
};

}  // namespace echelon::cli
