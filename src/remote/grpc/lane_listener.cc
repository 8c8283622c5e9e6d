// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/lane_listener.h"

#include <echelon/v1/lane.grpc.pb.h>
#include <fmt/format.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <openssl/crypto.h>

#include <array>
#include <chrono>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "remote/grpc/background.h"
#include "remote/grpc/channel_options.h"
#include "remote/grpc/credentials.h"
#include "remote/grpc/lane_core.h"
#include "remote/grpc/reactor.h"
#include "remote/lane_words.h"

namespace echelon {
namespace {

// The messages are not decoded by protobuf: lane_codec.h does it without copying them.
using Service = v1::Lanes::WithRawMethod_Task<v1::Lanes::WithRawMethod_Data<
    v1::Lanes::WithRawMethod_Health<v1::Lanes::WithRawMethod_Peer<v1::Lanes::Service>>>>;
using Call = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;
/// gRPC gives accepted connections to its queues in turn, beside the queue of the call that comes
/// over them. Where the two differ, two threads read one socket, and one brings the other what it
/// has read: hence queues in the order of the connections. (Whoever else connects first costs this
/// order, and that is time alone.)
constexpr std::array kRoles = kLaneConnectOrder;
/// Peers that were announced, and those that came lately or not at all, for telling these apart.
constexpr std::size_t kExpectedMax = 512;

/// Peers share the data lane's queue: bytes of tensors, both.
std::size_t queue_of(LaneRole role) {
  return static_cast<std::size_t>(role == LaneRole::kPeer ? LaneRole::kData : role) - 1;
}

struct ServerStream final : LaneStream {
  void read(grpc::ByteBuffer& into, void* tag) override { call.Read(&into, tag); }
  void write(const grpc::ByteBuffer& from, void* tag) override { call.Write(from, tag); }
  void writes_done(void*) override {}
  bool says_last() const override { return false; }
  void finish(void* tag) override { call.Finish(grpc::Status::OK, tag); }
  const grpc::Status& status() const override { return grpc::Status::OK; }
  void cancel() override { context.TryCancel(); }

  std::string_view metadata(const char* key) const {
    const auto found = context.client_metadata().find(key);
    if (found == context.client_metadata().end()) return {};
    return {found->second.data(), found->second.size()};
  }

  // What still calls gRPC through the server outlives, by gRPC's own count, the call: first in,
  // last out.
  std::shared_ptr<void> server;
  std::uint64_t link = 0;  // of a peer
  grpc::ServerContext context;
  Call call{&context};
};

/// The server and who may still come in. Shared by the listener and the calls that wait.
class LaneServer : public std::enable_shared_from_this<LaneServer> {
 public:
  explicit LaneServer(LaneListen where) : where_(std::move(where)) {}

  Status start();
  /// Stops listening. Lanes that were let in go on; the last takes the server with it.
  void stop();
  const std::string& address() const { return address_; }
  Status expect_peer(std::string token, std::uint64_t link, std::chrono::nanoseconds life);

 private:
  class Caller;
  struct Expected {
    std::string token;
    std::uint64_t link = 0;
    std::chrono::steady_clock::time_point until;
    bool used = false;
  };

  void await_call(LaneRole role);
  /// The errors are for the caller to read.
  grpc::Status admit(LaneRole role, ServerStream& stream);
  grpc::Status admit_peer(std::string_view token, ServerStream& stream);
  void readmit(LaneRole role);
  void let_in(LaneRole role, std::unique_ptr<ServerStream> stream);
  std::shared_ptr<Reactor>& reactor(LaneRole role) { return reactors_[queue_of(role)]; }

  const LaneListen where_;
  std::string address_;
  Service service_;
  std::array<std::shared_ptr<Reactor>, kRoles.size()> reactors_;
  std::array<grpc::ServerCompletionQueue*, kRoles.size()> queues_{};
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;  // guards what follows
  std::deque<Expected> expected_;
  std::array<bool, kRoles.size()> taken_{};
  bool stopping_ = false;
};

/// A call from when it is waited for until it is let in or refused.
class LaneServer::Caller final : public Completion {
 public:
  Caller(std::shared_ptr<LaneServer> server, LaneRole role)
      : server_(std::move(server)), role_(role), stream_(std::make_unique<ServerStream>()) {
    server_->reactor(role_)->hold();
  }
  ~Caller() {
    stream_.reset();
    server_->reactor(role_)->release();
  }

  static void await(const std::shared_ptr<LaneServer>& server, LaneRole role) {
    auto* caller = new Caller(server, role);  // deletes itself in complete()
    caller->request();
  }

  void complete(bool ok) override {
    switch (step_) {
      case Step::kWaiting:
        return ok ? answer() : delete this;
      case Step::kRefusing:
        break;
      case Step::kLettingIn:
        if (ok) {
          server_->let_in(role_, std::move(stream_));
        } else {
          server_->readmit(role_);
        }
        break;
    }
    delete this;
  }

 private:
  enum class Step { kWaiting, kRefusing, kLettingIn };

  void* tag() { return static_cast<Completion*>(this); }

  void request() {
    auto* const queue = server_->queues_[queue_of(role_)];
    grpc::ServerContext* const context = &stream_->context;
    switch (role_) {
      case LaneRole::kTask:
        return server_->service_.RequestTask(context, &stream_->call, queue, queue, tag());
      case LaneRole::kData:
        return server_->service_.RequestData(context, &stream_->call, queue, queue, tag());
      case LaneRole::kHealth:
        return server_->service_.RequestHealth(context, &stream_->call, queue, queue, tag());
      case LaneRole::kPeer:
        return server_->service_.RequestPeer(context, &stream_->call, queue, queue, tag());
    }
  }

  void answer() {
    server_->await_call(role_);
    const grpc::Status refused = server_->admit(role_, *stream_);
    if (!refused.ok()) {
      step_ = Step::kRefusing;
      stream_->call.Finish(refused, tag());
      return;
    }
    step_ = Step::kLettingIn;
    stream_->context.AddInitialMetadata(kProtocolKey, protocol_version());
    stream_->call.SendInitialMetadata(tag());
  }

  const std::shared_ptr<LaneServer> server_;
  const LaneRole role_;
  Step step_ = Step::kWaiting;
  std::unique_ptr<ServerStream> stream_;
};

Status LaneServer::start() {
  ECHELON_RETURN_IF_ERROR(check_lane_token(where_.token));
  ECHELON_ASSIGN_OR_RETURN(const auto credentials,
                           make_server_credentials(where_.address, where_.credentials));
  grpc::ServerBuilder builder;
  set_lane_options(builder, where_.silent_max);
  int port = 0;
  builder.AddListeningPort(where_.address, credentials, &port);
  builder.RegisterService(&service_);
  for (const LaneRole role : kRoles) {
    auto queue = builder.AddCompletionQueue();
    queues_[static_cast<std::size_t>(role) - 1] = queue.get();
    reactor(role) = Reactor::start(std::move(queue));
  }
  server_ = builder.BuildAndStart();
  const bool is_unix = where_.address.starts_with("unix:");
  if (!server_ || (port == 0 && !is_unix)) {
    stop();
    return Status::error(
        Code::kFailedPrecondition, Reason::kSystem,
        fmt::format("cannot listen at {}: the address is taken, or is not this machine's",
                    where_.address));
  }
  address_ = is_unix
                 ? where_.address
                 : fmt::format("{}:{}", where_.address.substr(0, where_.address.rfind(':')), port);
  for (const LaneRole role : kRoles) Caller::await(shared_from_this(), role);
  Caller::await(shared_from_this(), LaneRole::kPeer);
  return {};
}

void LaneServer::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  // Waits for the lanes that were let in, which may be as long as the session.
  run_in_background([self = shared_from_this()] {
    if (self->server_) {
      self->server_->Shutdown();
      self->server_->Wait();
    }
    for (const auto& reactor : self->reactors_) reactor->shutdown();
  });
}

void LaneServer::await_call(LaneRole role) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
  }
  Caller::await(shared_from_this(), role);
}

bool same_token(std::string_view shown, const std::string& token) {
  // In a time that does not depend on how much of it is right.
  return shown.size() == token.size() &&
         CRYPTO_memcmp(shown.data(), token.data(), token.size()) == 0;
}

grpc::Status unknown_token() {
  return {grpc::StatusCode::UNAUTHENTICATED,
          "the session does not know this token: it is another session's, or was not given out "
          "by its daemon"};
}

Status LaneServer::expect_peer(std::string token, std::uint64_t link,
                               std::chrono::nanoseconds life) {
  ECHELON_RETURN_IF_ERROR(check_lane_token(token));
  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::duration_cast<std::chrono::steady_clock::duration>(life);
  const std::lock_guard lock(mutex_);
  if (expected_.size() == kExpectedMax) expected_.pop_front();
  expected_.push_back({std::move(token), link, until, false});
  return {};
}

/// A token for one pair of sessions, that their parent gave out.
grpc::Status LaneServer::admit_peer(std::string_view token, ServerStream& stream) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return {grpc::StatusCode::ABORTED, "the session takes no lanes any more"};
  for (Expected& one : expected_) {
    if (!same_token(token, one.token)) continue;
    if (std::exchange(one.used, true)) {
      return {grpc::StatusCode::UNAUTHENTICATED,
              "the token was used already: a peer connects once"};
    }
    if (std::chrono::steady_clock::now() >= one.until) {
      return {grpc::StatusCode::UNAUTHENTICATED,
              "the token has expired: a peer connects soon after it was announced"};
    }
    stream.link = one.link;
    return grpc::Status::OK;
  }
  return unknown_token();
}

grpc::Status LaneServer::admit(LaneRole role, ServerStream& stream) {
  const Status version =
      check_protocol_version(stream.metadata(kProtocolKey), "the parent that calls this session");
  if (!version.ok()) {
    return {grpc::StatusCode::FAILED_PRECONDITION, version.info().message};
  }
  const std::string_view token = stream.metadata(kTokenKey);
  if (role == LaneRole::kPeer) return admit_peer(token, stream);
  if (!same_token(token, where_.token)) return unknown_token();
  const std::lock_guard lock(mutex_);
  if (stopping_) return {grpc::StatusCode::ABORTED, "the session takes no lanes any more"};
  bool& taken = taken_[static_cast<std::size_t>(role) - 1];
  if (std::exchange(taken, true)) {
    return {grpc::StatusCode::UNAUTHENTICATED,
            fmt::format("the token was used already for the {} lane: each lane connects once",
                        to_string(role))};
  }
  return grpc::Status::OK;
}

void LaneServer::readmit(LaneRole role) {
  if (role == LaneRole::kPeer) return;
  const std::lock_guard lock(mutex_);
  taken_[static_cast<std::size_t>(role) - 1] = false;
}

void LaneServer::let_in(LaneRole role, std::unique_ptr<ServerStream> stream) {
  const std::uint64_t link = stream->link;
  stream->server = shared_from_this();
  const auto core = std::make_shared<LaneCore>(
      reactor(role), std::move(stream), where_.options ? where_.options(role) : LaneOptions(),
      [](const grpc::Status&) { return lane_peer_gone(); });
  if (role == LaneRole::kPeer) {
    if (where_.accept_peer) where_.accept_peer(link, make_grpc_lane(core));
  } else {
    where_.accept(role, make_grpc_lane(core));
  }
  core->start();
}

class GrpcListener final : public LaneListener {
 public:
  explicit GrpcListener(std::shared_ptr<LaneServer> server) : server_(std::move(server)) {}
  ~GrpcListener() override { server_->stop(); }
  std::string address() const override { return server_->address(); }
  Status expect_peer(std::string token, std::uint64_t link,
                     std::chrono::nanoseconds life) override {
    return server_->expect_peer(std::move(token), link, life);
  }

 private:
  const std::shared_ptr<LaneServer> server_;
};

}  // namespace

Result<std::unique_ptr<LaneListener>> listen_grpc_lanes(LaneListen where) {
  auto server = std::make_shared<LaneServer>(std::move(where));
  ECHELON_RETURN_IF_ERROR(server->start());
  return std::unique_ptr<LaneListener>(std::make_unique<GrpcListener>(std::move(server)));
}

}  // namespace echelon
