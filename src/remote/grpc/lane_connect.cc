// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/lane_connect.h"

#include <fmt/format.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "remote/grpc/channel_options.h"
#include "remote/grpc/credentials.h"
#include "remote/grpc/lane_core.h"
#include "remote/grpc/reactor.h"
#include "remote/lane_words.h"

namespace echelon {
namespace {

constexpr std::size_t kRoles = 4;

/// Whoever polls a queue asks for all of its sockets, so that a lane is the slower the more lanes
/// it shares its queue with (dispatch_64_sessions_over_1). Those of tasks have so many queues, and
/// as many threads; the others are not polled in a task's way.
constexpr std::size_t kTaskReactorsMax = 16;

/// Of one role, for ever: bulk data is not in front of tasks, nothing in front of health.
struct ClientReactors {
  std::mutex mutex;
  std::vector<std::shared_ptr<Reactor>> all;
};

/// The one with the fewest lanes, which it holds: lanes that connect at the same time count, too.
std::shared_ptr<Reactor> hold_reactor(LaneRole role) {
  // Never destroyed: lanes of other static objects may still close when the process ends.
  static auto& roles = *std::make_unique<std::array<ClientReactors, kRoles>>().release();
  ClientReactors& reactors = roles[static_cast<std::size_t>(role) - 1];
  const std::lock_guard lock(reactors.mutex);
  const auto by_lanes = [](const auto& a, const auto& b) { return a->holders() < b->holders(); };
  const auto least = std::min_element(reactors.all.begin(), reactors.all.end(), by_lanes);
  const std::size_t most = role == LaneRole::kTask ? kTaskReactorsMax : 1;
  const bool idle = least != reactors.all.end() && (*least)->holders() == 0;
  if (!idle && reactors.all.size() < most) {
    reactors.all.push_back(Reactor::start(std::make_unique<grpc::CompletionQueue>()));
    reactors.all.back()->hold();
    return reactors.all.back();
  }
  (*least)->hold();
  return *least;
}

/// As long as a lane connects; then it holds its reactor itself.
class HeldReactor {
 public:
  explicit HeldReactor(LaneRole role) : reactor_(hold_reactor(role)) {}
  ~HeldReactor() { reactor_->release(); }
  HeldReactor(const HeldReactor&) = delete;
  HeldReactor& operator=(const HeldReactor&) = delete;
  const std::shared_ptr<Reactor>& get() const { return reactor_; }

 private:
  const std::shared_ptr<Reactor> reactor_;
};

struct ClientStream final : LaneStream {
  void read(grpc::ByteBuffer& into, void* tag) override { call->Read(&into, tag); }
  void write(const grpc::ByteBuffer& from, void* tag) override { call->Write(from, tag); }
  void writes_done(void* tag) override { call->WritesDone(tag); }
  bool says_last() const override { return true; }
  void finish(void* tag) override { call->Finish(&result, tag); }
  const grpc::Status& status() const override { return result; }
  void cancel() override { context.TryCancel(); }

  std::shared_ptr<grpc::Channel> channel;
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
  grpc::Status result;
};

/// The first exchange of a call: metadata there and back. Holds itself until it is through, so that
/// who waits for it may give up.
class Opening final : public Completion, public std::enable_shared_from_this<Opening> {
 public:
  explicit Opening(std::unique_ptr<ClientStream> stream) : stream_(std::move(stream)) {}

  void start() {
    self_ = shared_from_this();
    stream_->call->StartCall(tag());
  }

  void complete(bool ok) override {
    switch (std::exchange(step_, Step::kFinishing)) {
      case Step::kStarting:
        if (!ok) return stream_->finish(tag());
        step_ = Step::kMetadata;
        return stream_->call->ReadInitialMetadata(tag());
      case Step::kMetadata: {
        const auto& metadata = stream_->context.GetServerInitialMetadata();
        const auto version = metadata.find(kProtocolKey);
        // Without one it was refused, or something else answers: the status says more.
        if (version == metadata.end()) return stream_->finish(tag());
        return through(std::string(version->second.data(), version->second.size()));
      }
      case Step::kFinishing:
        return through({});
    }
  }

  /// False: not within `timeout`.
  bool wait(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    if (through_signal_.wait_for(lock, timeout, [this] { return through_; })) return true;
    stream_->cancel();
    return false;
  }
  /// After wait(). Empty: the call has ended, and stream().status() says how.
  const std::string& version() const { return version_; }
  ClientStream& stream() { return *stream_; }
  std::unique_ptr<ClientStream> take_stream() { return std::move(stream_); }

 private:
  enum class Step { kStarting, kMetadata, kFinishing };

  void* tag() { return static_cast<Completion*>(this); }
  void through(std::string version) {
    const std::shared_ptr<Opening> keep = std::move(self_);
    const std::lock_guard lock(mutex_);
    version_ = std::move(version);
    through_ = true;
    through_signal_.notify_all();
  }

  std::unique_ptr<ClientStream> stream_;
  Step step_ = Step::kStarting;
  std::shared_ptr<Opening> self_;
  std::mutex mutex_;
  std::condition_variable through_signal_;
  bool through_ = false;
  std::string version_;
};

Status no_answer(const LaneConnect& where) {
  return Status::error(
      Code::kDeadlineExceeded, Reason::kDeadline,
      fmt::format("no answer from {} within {:.1f} s: what listens there accepts and says nothing, "
                  "or the network drops what is sent to it",
                  where.address, std::chrono::duration<double>(where.timeout).count()));
}

}  // namespace

std::string lane_method(LaneRole role) {
  switch (role) {
    case LaneRole::kTask:
      return "/echelon.v1.Lanes/Task";
    case LaneRole::kData:
      return "/echelon.v1.Lanes/Data";
    case LaneRole::kPeer:
      return "/echelon.v1.Lanes/Peer";
    case LaneRole::kHealth:
      break;
  }
  return "/echelon.v1.Lanes/Health";
}

Result<std::unique_ptr<Lane>> connect_grpc_lane(const LaneConnect& where, LaneOptions options) {
  ECHELON_RETURN_IF_ERROR(check_lane_token(where.token));
  ECHELON_ASSIGN_OR_RETURN(const auto credentials,
                           make_channel_credentials(where.address, where.credentials));
  const HeldReactor held(where.role);
  const std::shared_ptr<Reactor>& reactor = held.get();
  auto stream = std::make_unique<ClientStream>();
  stream->channel = grpc::CreateCustomChannel(where.address, credentials,
                                              lane_channel_arguments(where.silent_max));
  stream->context.AddMetadata(kTokenKey, where.token);
  stream->context.AddMetadata(kProtocolKey, protocol_version());
  stream->call = grpc::GenericStub(stream->channel)
                     .PrepareCall(&stream->context, lane_method(where.role), reactor->queue());
  const auto opening = std::make_shared<Opening>(std::move(stream));
  opening->start();
  reactor->watch();
  if (!opening->wait(where.timeout)) return no_answer(where);
  const std::string version = opening->version();
  if (version.empty()) {
    return call_error(opening->stream().status(), where.address, where.credentials);
  }

  auto broken = [address = where.address,
                 credentials = where.credentials](const grpc::Status& status) -> Status {
    // The other end destroyed its lane, or its process closed the connection in order.
    if (status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) return lane_peer_gone();
    return Status::error(
        Code::kUnavailable, Reason::kSystem,
        fmt::format("the connection to {} broke: {}", address, status.error_message()));
  };
  const auto core = std::make_shared<LaneCore>(reactor, opening->take_stream(), std::move(options),
                                               std::move(broken));
  auto lane = make_grpc_lane(core);
  core->start();
  // A lane of another version goes out of scope, and so the call is cancelled.
  ECHELON_RETURN_IF_ERROR(
      check_protocol_version(version, fmt::format("the session at {}", where.address)));
  return lane;
}

}  // namespace echelon
