// SPDX-License-Identifier: Apache-2.0
//
// SessionRig: a RemoteEndpoint and the SessionServer of its session in one process, over sim lanes.
// The session's executor is a thread that runs the tasks of process/test_tree.h. For tests alone.
//
// Threads: the test's drives the endpoint. Blocking: pump_until(), with a watchdog.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/env.h"
#include "process/test_tree.h"
#include "remote/remote_endpoint.h"
#include "remote/session_server.h"
#include "remote/transport.h"

namespace echelon {

inline constexpr Uid kSessionPool{77};
inline constexpr Uid kLocalPool{11};
inline constexpr std::uint64_t kSessionMemoryMax = std::uint64_t{64} << 20;

/// Buffers by number, on the heap.
class TestMemory final : public SessionMemory {
 public:
  explicit TestMemory(Uid issuer) : issuer_(issuer) {}
  Result<TensorDesc> allocate(std::span<const std::int64_t> shape, DType dtype,
                              bool zeroed) override;
  Status free(BufferId buffer) override;
  Result<std::byte*> open(const TensorDesc& tensor, Access want) override;
  std::size_t buffers() const;

 private:
  const Uid issuer_;
  mutable std::mutex mutex_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, std::vector<std::byte>> buffers_;
};

/// What a session of the rig runs.
class TestSessionTasks final : public TaskHandler {
 public:
  TestSessionTasks(std::string path, SessionMemory& memory)
      : path_(std::move(path)), memory_(memory) {}
  void run(const TaskFrame& task, ResultSink& sink) override;
  /// Lets go of what hangs.
  void release() { released_.store(true); }
  /// A task waits to be cancelled: its code runs.
  bool waits_for_cancel() const { return waits_for_cancel_.load(); }

 private:
  void fail(ResultSink& sink, std::string message);

  const std::string path_;
  SessionMemory& memory_;
  std::atomic<bool> released_{false};
  std::atomic<bool> waits_for_cancel_{false};
};

/// What the lanes of a rig can be here.
inline std::vector<const char*> lanes_to_test() {
  std::vector<const char*> lanes = {"sim", "grpc"};
#ifdef ECHELON_HAS_UCX
  lanes.push_back("ucx");
#endif
  return lanes;
}

class SessionRig final : public EndpointEvents {
 public:
  static RemoteEndpointOptions patient() {
    RemoteEndpointOptions options;
    options.silent_max = std::chrono::seconds(20);
    return options;
  }
  struct Options {
    /// With time for a machine that does much else; what a test asserts about time it sets itself.
    RemoteEndpointOptions endpoint = patient();
    SessionServerOptions server = {};
    ControlHooks hooks = {};
    bool serve = true;               // false: the test itself is the session; see peer()
    EndpointEvents* also = nullptr;  // gets what the endpoint reports, before it is recorded here
  };
  /// What the lanes of every rig are: "sim", or the name of a transport.
  static inline std::string lanes_of_all = "sim";

  explicit SessionRig(Options options);
  SessionRig() : SessionRig(Options{}) {}
  ~SessionRig();

  RemoteEndpoint& endpoint() { return *endpoint_; }
  SessionServer& server() { return *server_; }
  const TestSessionTasks& tasks() const { return *tasks_; }
  TestMemory& memory() { return memory_; }
  TestMemory& local() { return local_; }
  /// The session's end of a lane, without a server.
  Lane& peer(LaneRole role) { return *peers_.at(static_cast<std::size_t>(role)); }
  /// The session is gone without a word; `tell`: its daemon says so.
  void kill(bool tell = true);
  /// The session neither reads nor writes from here on; its lanes stay.
  void freeze() { cut_->store(true); }

  /// One round: takes in all there is, or waits a little.
  void pump();
  bool pump_until(const std::function<bool()>& condition);
  DispatchResult try_send(std::uint64_t id, TestTask what, std::span<const std::byte> body,
                          MonotonicNs deadline_ns = 0, TaskKind kind = TaskKind::kSub);
  void send(std::uint64_t id, TestTask what, std::initializer_list<std::uint64_t> scalars = {});
  void copy(std::uint64_t id, const TensorDesc& to, const TensorDesc& from,
            MonotonicNs deadline_ns = 0);
  bool wait_for(std::uint64_t id);
  /// A tensor of the session's, asked for over its data lane.
  Result<TensorDesc> allocate(std::initializer_list<std::int64_t> shape,
                              DType dtype = DType::kUInt8, bool zeroed = false);

  struct Done {
    Status status;
    std::string result;
    int times = 0;
  };
  std::map<std::uint64_t, Done> done;
  std::vector<std::uint64_t> order;
  int down = 0, gone = 0;
  Status why;  // of down
  std::atomic<int> lost{0};
  Status ended_session;  // what the daemon was asked to end it for
  SystemEnv env;

  void on_completion(ChildIndex child, const Completion& completion) override;
  void on_down(ChildIndex child, const Status& status) override;
  void on_gone(ChildIndex child) override;

 private:
  void connect();
  /// The parent's end; the other goes to `let_in`.
  std::unique_ptr<Lane> make_lane(LaneRole role, LaneOptions session_options);
  void let_in(LaneRole role, std::unique_ptr<Lane> lane);
  void listen();

  Options options_;
  TestMemory memory_{kSessionPool};
  TestMemory local_{kLocalPool};
  std::shared_ptr<std::atomic<bool>> cut_ = std::make_shared<std::atomic<bool>>(false);
  std::atomic<bool> news_{false};
  std::unique_ptr<RemoteEndpoint> endpoint_;
  std::array<std::unique_ptr<Lane>, 4> peers_;  // by role, without a server
  std::atomic<int> attached_{0};
  std::unique_ptr<TestSessionTasks> tasks_;
  std::unique_ptr<SessionServer> server_;
  std::thread executor_;
  std::unique_ptr<LaneListener> listener_;
};

}  // namespace echelon
