// SPDX-License-Identifier: Apache-2.0
//
// TestTree: a spawner and children with their endpoints, driven by the test's one thread; and a
// child whose tasks misbehave on request. For tests alone (of this layer and tests/conformance).
//
// Threads: none of its own, so that it can be forked under sanitizers. Blocking: pump_until(), with
// a watchdog. Fork: the constructor forks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "process/child_connection.h"
#include "process/local_endpoint.h"
#include "process/spawner.h"
#include "process/worker_pools.h"
#include "shm/segment.h"

namespace echelon {

/// What a task of the test child does; the callable slot of its frame. Its scalars are arguments.
enum class TestTask : std::uint32_t {
  kEmpty = 1,
  kEcho,            // result: its encoded body
  kThrow,           // throws, "deliberate"
  kFail,            // answers with an error of its own
  kBigResult,       // scalar 0: bytes
  kBigError,        // likewise
  kHang,            // until killed
  kUntilCancelled,  // returns when it is asked to stop
  kExit,            // scalar 0: code
  kCrash,           // SIGSEGV
  kCheck,           // ECHELON_CHECK
  kKillSelf,        // SIGKILL
  kPrint,           // scalar 0: lines, to stdout, in pieces; "oops" to stderr
  kOpenFds,         // result: what /proc/self/fd names, a line each
  kForkDaemon,      // leaves a daemonised grandchild behind; result: its pid
  kForkChild,       // leaves a child that ignores SIGTERM; result: its pid
  kIgnoreSigterm,
  kReadTensor,   // result: the first tensor's bytes
  kWriteTensor,  // adds scalar 0 to each byte of the first tensor
  kSpoilRing,    // scalar 0: Spoil, scalar 1: 0 completion ring, 1 control ring up
  kHygiene,      // result: signals, mask, parent-death signal
};

/// Ways to misuse a ring.
enum class Spoil : std::uint32_t {
  kGarbage,   // random bytes over the next frame
  kShort,     // a frame whose body does not hold what its kind needs
  kOversize,  // a length beyond the ring
  kReplay,    // the same frame again
  kUnknown,   // well formed, but of nothing that was asked for
};
inline constexpr Spoil kSpoils[] = {Spoil::kGarbage, Spoil::kShort, Spoil::kOversize,
                                    Spoil::kReplay, Spoil::kUnknown};

/// Where and with what to spoil a ring of a ChannelData.
struct SpoilPlace {
  std::span<std::byte> ring;
  std::uint64_t position = 0;  // of the next frame
  std::uint32_t sequence = 1;  // that it should have
  std::uint64_t running = 0;   // a task of this child
  std::uint64_t last = 0;      // one that has completed
};
/// Puts one such frame where the next one is due.
void spoil_ring(Spoil how, FrameKind kind, const SpoilPlace& place);

/// The life of a test child: a leaf with these tasks.
int test_child_main(ChildBoot boot);

std::vector<std::byte> test_body(std::initializer_list<std::uint64_t> scalars = {});
std::vector<std::byte> test_body(const TensorDesc& tensor, Tag tag, std::uint64_t scalar = 0);

class TestTree final : public SpawnerEvents, public EndpointEvents {
 public:
  struct Options {
    std::function<int(ChildBoot)> sub_main = test_child_main;
    std::function<int(ChildBoot)> worker_main;
    std::string chip_executable = "/does/not/exist";
    std::vector<std::string> chip_arguments = {};
    std::uint32_t children = 1;
    std::chrono::nanoseconds unresponsive_after = std::chrono::seconds(10);
    bool watch_idle = false;
    int payload = -1;                      // each child's
    std::vector<std::string> runner = {};  // then Workers are made of it
    HostPool* pool = nullptr;
    EndpointEvents* also = nullptr;  // gets what endpoints report, before it is recorded here
  };
  explicit TestTree(Options options);
  TestTree() : TestTree(Options{}) {}
  ~TestTree();

  ChildIndex add(ChildKind kind);
  LocalEndpoint& child(std::uint32_t index = 0) { return *children_[index]; }
  Spawner& spawner() { return *spawner_; }
  WorkerPools& pools() { return pools_; }

  /// One round: takes in all there is, or sleeps until something comes (50 ms at most).
  void pump();
  /// False: not within 30 s.
  bool pump_until(const std::function<bool()>& condition);
  /// All children said READY.
  bool start();
  /// Orderly; every process is reaped afterwards.
  Status close(std::chrono::milliseconds kill_after = std::chrono::milliseconds(2000));

  TaskId send(TestTask what, std::initializer_list<std::uint64_t> scalars = {},
              std::uint32_t child = 0, MonotonicNs deadline_ns = 0);
  TaskId send_body(TestTask what, std::span<const std::byte> body, std::uint32_t child = 0,
                   MonotonicNs deadline_ns = 0);
  bool pump_until_done(TaskId task);
  /// send, wait for it, and its result as text. REQUIRES: it succeeds.
  std::string run(TestTask what, std::initializer_list<std::uint64_t> scalars = {},
                  std::uint32_t child = 0);

  struct Done {
    Status status;
    std::string result;
    int times = 0;
  };
  std::map<TaskId, Done> done;
  std::map<ChildIndex, Status> down;
  std::set<ChildIndex> gone;
  std::map<ChildIndex, ExitReport> exits;
  std::map<ChildIndex, std::string> out, err;
  std::vector<std::string> order;  // "done 5", "down 0", "gone 0"
  Status lost;
  SystemEnv env;

  void on_spawned(ChildIndex child, pid_t pid) override;
  void on_exited(ChildIndex child, const ExitReport& report) override;
  void on_output(ChildIndex child, OutputStream stream, std::string_view text) override;
  void on_spawn_failed(ChildIndex child, const Status& why) override;
  void on_lost(const Status& why) override;
  void on_completion(ChildIndex child, const Completion& completion) override;
  void on_down(ChildIndex child, const Status& why) override;
  void on_gone(ChildIndex child) override;

 private:
  std::size_t look();

  Options options_;
  Segment doorbell_segment_;
  Doorbell doorbell_;
  WorkerPools pools_;
  std::unique_ptr<Spawner> spawner_;
  std::vector<std::unique_ptr<LocalEndpoint>> children_;
  std::uint64_t next_task_ = 1;
  bool closed_ = false;
};

/// True once there is no such process, or only a zombie.
bool process_ended(pid_t pid);

}  // namespace echelon
