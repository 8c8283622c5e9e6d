// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/control_server.h"

#include <echelon/v1/session.grpc.pb.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error_codec.h"
#include "base/fd.h"
#include "remote/grpc/accept_guard.h"
#include "remote/grpc/channel_options.h"
#include "remote/grpc/control_limits.h"
#include "remote/grpc/credentials.h"
#include "remote/grpc/manifest_codec.h"
#include "remote/grpc/manifest_pieces.h"

namespace echelon {
namespace {

constexpr std::chrono::seconds kStopPatience{2};
/// Calls on one connection: more wait. A parent has a connection for each session.
constexpr int kCallsPerConnectionMax = 16;

using Reactor = grpc::ServerBidiReactor<v1::OpenSessionRequest, v1::SessionEvent>;

Status bad_request(std::string what) {
  return Status::error(Code::kInvalidArgument, Reason::kBadFrame,
                       "OpenSession: " + std::move(what));
}

Status cannot_listen(const std::string& address) {
  return Status::error(
      Code::kUnavailable, Reason::kSystem,
      fmt::format("cannot listen at {}: the address is taken, or is not this machine's", address));
}

/// gRPC would take a socket file from whoever listens there.
bool socket_is_taken(std::string_view address) {
  constexpr std::string_view kUnix = "unix:";
  if (!address.starts_with(kUnix)) return false;
  const std::string_view path = address.substr(kUnix.size());
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  if (path.size() >= sizeof(at.sun_path)) return false;
  std::copy(path.begin(), path.end(), at.sun_path);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0;
}

/// What a call needs of its service.
class CallHome {
 public:
  virtual DaemonHooks& hooks() = 0;
  virtual void over(std::uint64_t call) = 0;
  virtual void tell_health() = 0;
  /// Of all calls.
  virtual ManifestBudget& manifests() = 0;
  /// One manifest with payloads is read at a time: each takes descriptors, and its size once more.
  virtual std::mutex& reading() = 0;

 protected:
  ~CallHome() = default;
};

/// One OpenSession call. gRPC owns it until OnDone(), the daemon as a ticket until it said ended().
///
///   Open -> Ended (the daemon said so, or refused) -> Finished (all is written) -> Done
class ServerCall final : public SessionTicket,
                         public Reactor,
                         public std::enable_shared_from_this<ServerCall> {
 public:
  ServerCall(CallHome& home, std::uint64_t number)
      : home_(home), number_(number), assembly_(home.manifests()) {}

  void start() {
    self_ = shared_from_this();
    StartSendInitialMetadata();
    StartRead(&request_);
  }

  // --- SessionTicket
  void phase(std::string_view text) override {
    v1::SessionEvent event;
    event.mutable_phase()->set_text(std::string(text));
    send(std::move(event));
  }
  void ready(const SessionReady& ready) override {
    v1::SessionEvent event;
    to_wire(ready, *event.mutable_ready());
    send(std::move(event));
  }
  void ended(const Status& why) override {
    const auto bytes = encode_error(why.ok() ? ErrorInfo{} : why.info());
    v1::SessionEvent event;
    event.mutable_ended()->set_error(bytes.data(), bytes.size());
    const std::lock_guard lock(mutex_);
    if (std::exchange(ended_, true)) return;
    queue_.push_back(std::move(event));
    pump_locked();
  }

 private:
  // --- reactions
  void OnReadDone(bool ok) override {
    if (!ok) return parent_gone("its parent ended the call");
    switch (request_.what_case()) {
      case v1::OpenSessionRequest::kManifest:
        open_small();
        break;
      case v1::OpenSessionRequest::kPiece:
        take_piece();
        break;
      case v1::OpenSessionRequest::kEnd:
        close(request_.end().why().substr(0, kEndWhyBytesMax));
        break;
      case v1::OpenSessionRequest::WHAT_NOT_SET:
        refuse(bad_request("a message that this version does not know"));
        break;
    }
    const std::lock_guard lock(mutex_);
    if (!finished_) StartRead(&request_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    queue_.pop_front();
    if (!ok) queue_.clear();
    pump_locked();
  }

  void OnCancel() override { parent_gone("its parent is gone, or has cancelled the call"); }

  void OnDone() override {
    home_.over(number_);
    std::shared_ptr<ServerCall> self;
    const std::lock_guard lock(mutex_);
    self = std::move(self_);  // destroyed after the lock is released: it is named first
  }

  // --- requests, on the reading thread
  void open_small() {
    if (set(asked_) || assembly_.begun()) return refuse_second();
    std::unique_lock<std::mutex> turn;
    if (request_.manifest().libraries_size() + request_.manifest().callables_size() != 0) {
      turn = std::unique_lock(home_.reading());
    }
    auto manifest = from_wire(request_.manifest());
    request_.Clear();
    open(std::move(manifest));
  }

  void take_piece() {
    if (is(asked_)) return refuse_second();
    if (!assembly_.begun()) {
      const Status welcome = home_.hooks().admit_call();
      if (!welcome.ok()) return give_up(welcome);
    }
    const auto whole = assembly_.add(request_.piece());
    request_.Clear();
    if (!whole.ok()) return give_up(whole.status());
    if (!*whole) return;
    set(asked_);
    const std::lock_guard turn(home_.reading());
    auto manifest = decode_manifest(assembly_.bytes());
    assembly_.clear();
    open(std::move(manifest));
  }

  /// Before there was a session: what still comes of its manifest is not looked at.
  void give_up(const Status& why) {
    set(asked_);
    ended(why);
  }

  void refuse_second() { refuse(bad_request("a second manifest; one call is one session")); }

  void open(Result<SessionManifest> manifest) {
    if (!manifest.ok()) return ended(manifest.status());
    const Status opened =
        home_.hooks().open_session(number_, std::move(manifest).value(), shared_from_this());
    home_.tell_health();
    if (!opened.ok()) return ended(opened);
    std::string gone;
    {
      const std::lock_guard lock(mutex_);
      opened_ = true;
      gone = gone_;  // meanwhile
    }
    if (!gone.empty()) home_.hooks().close_session(number_, gone);
  }

  void close(const std::string& why) {
    if (!is(opened_)) return ended(bad_request("asked to end before there was a session"));
    home_.hooks().close_session(number_, why);
  }

  void refuse(const Status& why) {
    if (is(opened_)) home_.hooks().close_session(number_, why.info().message);
    ended(why);
  }

  /// From OnReadDone and OnCancel, which may run at once.
  void parent_gone(std::string why) {
    bool close_now = false;
    bool asked = false;
    {
      const std::lock_guard lock(mutex_);
      if (!gone_.empty()) return;
      gone_ = std::move(why);
      close_now = opened_ && !ended_;
      asked = asked_;
    }
    if (close_now) {
      home_.hooks().close_session(number_, gone_);
    } else if (!asked) {
      ended(bad_request("the call ended before there was a manifest"));
    }
  }

  bool is(const bool& flag) {
    const std::lock_guard lock(mutex_);
    return flag;
  }
  /// What it was before.
  bool set(bool& flag) {
    const std::lock_guard lock(mutex_);
    return std::exchange(flag, true);
  }

  // --- events
  void send(v1::SessionEvent event) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    queue_.push_back(std::move(event));
    pump_locked();
  }

  // One write at a time; Finish() after the last, and nothing after that.
  void pump_locked() {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      writing_ = true;
      StartWrite(&queue_.front());
    } else if (ended_) {
      finished_ = true;
      Finish(grpc::Status::OK);
    }
  }

  CallHome& home_;
  const std::uint64_t number_;
  v1::OpenSessionRequest request_;
  ManifestAssembly assembly_;  // the reading thread's

  std::mutex mutex_;     // guards all below
  bool asked_ = false;   // a manifest has come
  bool opened_ = false;  // the daemon has taken it
  std::shared_ptr<ServerCall> self_;
  std::string gone_;
  std::deque<v1::SessionEvent> queue_;
  bool writing_ = false;
  bool ended_ = false;
  bool finished_ = false;
};

class SessionsService final : public v1::Sessions::CallbackService, public CallHome {
 public:
  explicit SessionsService(DaemonHooks& hooks)
      : hooks_(hooks), manifests_(hooks.manifest_bytes_max()) {}

  Reactor* OpenSession(grpc::CallbackServerContext* context) override {
    context->AddInitialMetadata(kProtocolKey, protocol_version());
    std::shared_ptr<ServerCall> call;
    bool stopping = false;
    {
      const std::lock_guard lock(mutex_);
      call = std::make_shared<ServerCall>(*this, ++last_call_);
      calls_[last_call_] = call;
      stopping = stopping_;
    }
    call->start();
    if (stopping) call->ended(stopping_status());
    return call.get();
  }

  /// Every call hears it, also those that come later.
  void stop() {
    std::vector<std::shared_ptr<ServerCall>> calls;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      for (const auto& [number, call] : calls_) {
        if (auto held = call.lock()) calls.push_back(std::move(held));
      }
    }
    for (const auto& call : calls) call->ended(stopping_status());
  }

  void use_health(grpc::HealthCheckServiceInterface* health) {
    // pairs with tell_health(), which calls that came at once run already
    health_.store(health, std::memory_order_release);
    tell_health();
  }

  DaemonHooks& hooks() override { return hooks_; }
  ManifestBudget& manifests() override { return manifests_; }
  std::mutex& reading() override { return reading_; }
  void over(std::uint64_t call) override {
    {
      const std::lock_guard lock(mutex_);
      calls_.erase(call);
    }
    tell_health();
  }
  void tell_health() override {
    // pairs with use_health()
    auto* const health = health_.load(std::memory_order_acquire);
    if (health != nullptr) health->SetServingStatus(hooks_.serving());
  }

 private:
  static Status stopping_status() {
    return Status::error(Code::kUnavailable, Reason::kCancelled, "the daemon ends");
  }

  DaemonHooks& hooks_;
  ManifestBudget manifests_;
  std::mutex reading_;
  std::atomic<grpc::HealthCheckServiceInterface*> health_{nullptr};
  std::mutex mutex_;
  std::map<std::uint64_t, std::weak_ptr<ServerCall>> calls_;
  std::uint64_t last_call_ = 0;
  bool stopping_ = false;
};

class GrpcDaemonServer final : public DaemonServer {
 public:
  explicit GrpcDaemonServer(DaemonHooks& hooks)
      : refusals_([&hooks](std::string_view line) { hooks.warn(line); }), service_(hooks) {}

  ~GrpcDaemonServer() override {
    if (server_ == nullptr) return;
    service_.stop();
    server_->Shutdown(std::chrono::system_clock::now() + kStopPatience);
  }

  Status start(const DaemonListen& where, const std::shared_ptr<grpc::ServerCredentials>& with) {
    if (socket_is_taken(where.address)) return cannot_listen(where.address);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = -1;
    builder.AddListeningPort(where.address, with, &port);
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(static_cast<int>(kRequestBytesMax));
    builder.SetMaxSendMessageSize(static_cast<int>(kEventBytesMax));
    const auto set = [&builder](const char* what, long long value) {
      builder.AddChannelArgument(what, static_cast<int>(value));
    };
    set(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second daemon at this address is refused
    set(GRPC_ARG_MAX_CONCURRENT_STREAMS, kCallsPerConnectionMax);
    set(GRPC_ARG_KEEPALIVE_TIME_MS, kDaemonKeepaliveEvery.count());
    set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kDaemonKeepalivePatience.count());
    set(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kConnectionIdleMax.count());
    set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMax.count());
    set(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kDaemonKeepaliveEvery.count() / 2);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return cannot_listen(where.address);
    const bool chosen = !where.address.starts_with("unix:");
    address_ = chosen
                   ? fmt::format("{}:{}", where.address.substr(0, where.address.rfind(':')), port)
                   : where.address;
    service_.use_health(server_->GetHealthCheckService());
    return {};
  }

  std::string address() const override { return address_; }

 private:
  const RefusalWatch refusals_;
  SessionsService service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace

Result<std::unique_ptr<DaemonServer>> serve_daemon_calls(const DaemonListen& where,
                                                         DaemonHooks& hooks) {
  ECHELON_ASSIGN_OR_RETURN(const auto credentials,
                           make_server_credentials(where.address, where.credentials));
  auto server = std::make_unique<GrpcDaemonServer>(hooks);
  ECHELON_RETURN_IF_ERROR(server->start(where, credentials));
  return std::unique_ptr<DaemonServer>(std::move(server));
}

}  // namespace echelon
