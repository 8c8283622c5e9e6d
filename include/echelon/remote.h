// SPDX-License-Identifier: Apache-2.0
//
// Remote Workers: children of a Worker on other hosts, each started by the `echelon daemon` there.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <echelon/orchestrator.h>
#include <echelon/worker.h>

namespace echelon {

/// What runs in the process of a Worker on another host, and in its sub-workers.
enum class Runtime : std::uint8_t {
  /// C++ functions: those of libraries, by name.
  kNative = 0,
  /// Python functions, too. Needs a daemon with a Python: `python -m echelon daemon`.
  kPython = 1,
};

/// A Worker on another host: where its daemon is, and what the Worker is made of. Checked by
/// Worker::add_remote_worker(), used by start().
struct RemoteWorkerSpec {
  /// Of the daemon: "host:port", "[v6]:port" or "unix:/path".
  std::string address;
  /// Unique among the children of its parent.
  std::string name;
  /// Below its parent's; 3 is a host.
  int level = 3;
  /// 0..256, on the other host.
  int sub_workers = 0;
  /// Of the other host; level 3 alone.
  std::vector<ChipSpec> chips = {};
  /// In Python kPython, unless it is said.
  Runtime runtime = Runtime::kNative;
  /// Of tensors in the remote Worker's memory; 0: as much as its daemon gives.
  std::size_t memory_bytes_max = 0;
  /// What carries tasks and tensors: "grpc". "auto" chooses.
  std::string lane = "grpc";
  /// A folder with ca.pem, host.pem and host.key, as `echelon keys` makes them: both ends show a
  /// certificate and check the other's.
  std::string tls_dir = {};
  /// Plain text to an address that is neither loopback nor a unix socket: whoever can reach the
  /// network reads and changes everything. Without this it is refused.
  bool insecure = false;
  /// To reach the daemon, and then the session, each. At most a day.
  std::chrono::milliseconds connect_timeout{5'000};
  /// A session that hears nothing from its parent for so long ends itself and all below it.
  std::chrono::milliseconds lease{10'000};
  /// A session that is silent for so long is taken for lost: its tasks fail. At most `lease`.
  std::chrono::milliseconds health_deadline{2'000};
  /// As WorkerOptions::unresponsive_after, for the remote Worker's own children.
  std::chrono::milliseconds unresponsive_after{10'000};
  /// Language bindings may unpickle what this session returns: code of its choice then runs here.
  bool trust_results = false;
  /// What becomes of local tensors that are given to this Worker's tasks, where the task says
  /// nothing itself.
  Stage stage = Stage::kRefuse;
  /// Copies between this Worker's tensors and those of another remote one go from host to host: the
  /// two sessions connect to each other, with certificates as everything else, where they listen
  /// for this program. False: they go by way of this host, which costs the way twice and needs no
  /// connection between the two.
  bool direct_copies = true;
  /// Workers on further hosts, below this one: `level` 4 or more. Its session starts them, so their
  /// addresses are as its host sees them, and their keys are that host's: `tls_dir` stays empty.
  /// In its orchestration functions they are the Workers after its sub-workers, in this order.
  std::vector<RemoteWorkerSpec> remote_workers = {};
};

}  // namespace echelon
