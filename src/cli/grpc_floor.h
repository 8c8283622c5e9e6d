// SPDX-License-Identifier: Apache-2.0
//
// GrpcFloor: a bare gRPC stream between two processes over loopback, in short rounds, as
// FloorMeter. Both are libexec/echelon/grpc_floor (grpc_floor/main.cc), so that this process
// has no gRPC beside the one of its lanes; the one that asks takes the time.
//
// Processes: starts two, which end with this object or with this process.
// Threads: one. Blocking: as long as a round takes.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "cli/background_program.h"

namespace echelon::cli {

class GrpcFloor {
 public:
  /// Their output goes to files in `folder`. REQUIRES: this process has one thread. Errors:
  /// kNotFound where this installation lacks the program; kSystem.
  static Result<GrpcFloor> start(const std::string& folder);

  /// Takes so many samples of 64 bytes there and back, after a warm-up. Throws std::runtime_error.
  void round(unsigned samples);
  /// Nanoseconds until so many MiB were read at the other end, and an answer was here.
  double copy_ns(unsigned mebibytes);
  /// Of all round()'s samples so far, in nanoseconds.
  double p50() const;

 private:
  GrpcFloor(BackgroundProgram server, BackgroundProgram client, UniqueFd socket)
      : server_(std::move(server)), client_(std::move(client)), socket_(std::move(socket)) {}
  std::vector<double> ask(const std::string& line);

  BackgroundProgram server_, client_;
  UniqueFd socket_;  // the client's standard input and output
  std::vector<double> samples_;
};

}  // namespace echelon::cli
