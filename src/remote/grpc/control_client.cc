// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/control_client.h"

#include <echelon/v1/session.grpc.pb.h>
#include <fmt/format.h>
#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>

#include "base/error_codec.h"
#include "remote/grpc/channel_options.h"
#include "remote/grpc/control_limits.h"
#include "remote/grpc/credentials.h"
#include "remote/grpc/manifest_codec.h"
#include "remote/grpc/manifest_pieces.h"

namespace echelon {
namespace {

grpc::ChannelArguments channel_arguments(const DaemonAddress& daemon) {
  const Keepalive keepalive = keepalive_for(daemon.silent_max);
  grpc::ChannelArguments args;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(daemon.connect_timeout).count();
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(ms));
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(kDaemonKeepaliveEvery.count()));
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(keepalive.patience.count()));
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A connection of its own: what breaks one session's breaks no other's.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetMaxReceiveMessageSize(static_cast<int>(kEventBytesMax));
  args.SetMaxSendMessageSize(static_cast<int>(kRequestBytesMax));
  return args;
}

/// Where a session of `daemon` is reached that says it listens at `session`: on the host that the
/// user has named, whatever the daemon says, so that it sends its parents to nobody else. What it
/// may choose is the port; on a unix socket, what follows its own path.
Result<std::string> reachable(const std::string& session, const std::string& daemon) {
  constexpr std::string_view kUnix = "unix:";
  const bool is_unix = daemon.starts_with(kUnix);
  const std::size_t colon = session.rfind(':');
  if (is_unix && session.starts_with(daemon + ".") &&
      session.find('/', daemon.size()) == std::string::npos) {
    return session;
  }
  const bool has_port = colon != std::string::npos && !session.starts_with(kUnix) &&
                        address_is_local("any" + session.substr(colon)).ok();
  if (!is_unix && has_port) {
    return daemon.substr(0, daemon.rfind(':')) + session.substr(colon);
  }
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       fmt::format("it says that its session listens at \"{}\", which is no {}",
                                   session, is_unix ? "path beside its own" : "HOST:PORT"));
}

/// What the end of a call means when the daemon has not said it.
class LostCall {
 public:
  LostCall(const DaemonAddress& daemon, const std::string& path) : daemon_(daemon), path_(path) {}

  Status unanswered(const grpc::Status& status, bool gave_up) {
    if (!gave_up) return make(call_error(status, daemon_.address, daemon_.credentials).info());
    const double seconds = std::chrono::duration<double>(daemon_.connect_timeout).count();
    return make(Code::kDeadlineExceeded, Reason::kDeadline,
                fmt::format("no daemon has answered at {} for {:g} s: is it `echelon daemon` that "
                            "listens there, and can this host reach it?",
                            daemon_.address, seconds));
  }

  Status broken(const grpc::Status& status) {
    const std::string words = status.error_message().empty() ? std::string("the call was closed")
                                                             : status.error_message();
    return make(Code::kUnavailable, Reason::kChildDied,
                fmt::format("the daemon at {} is lost, and its sessions with it: {}",
                            daemon_.address, words));
  }

  Status nonsense(const Status& why) {
    return make(
        Code::kDataLoss, Reason::kBadFrame,
        fmt::format("the daemon at {} speaks nonsense: {}", daemon_.address, why.info().message));
  }

 private:
  Status make(Code code, Reason reason, std::string message) {
    return make(Status::error(code, reason, std::move(message)).info());
  }
  Status make(ErrorInfo info) {
    info.cause = Cause::kPeerLost;
    info.path = path_;
    return Status(std::move(info));
  }

  const DaemonAddress& daemon_;
  const std::string& path_;
};

/// Cancels a call that nobody has answered. Kept by the alarm, which may outlive the call.
class Patience {
 public:
  explicit Patience(grpc::ClientContext& context) : context_(&context) {}
  void expired() {
    const std::lock_guard lock(mutex_);
    if (context_ == nullptr) return;
    gave_up_ = true;
    context_->TryCancel();
  }
  void answered() {
    const std::lock_guard lock(mutex_);
    context_ = nullptr;
  }
  bool gave_up() const {
    const std::lock_guard lock(mutex_);
    return gave_up_;
  }

 private:
  mutable std::mutex mutex_;
  grpc::ClientContext* context_;
  bool gave_up_ = false;
};

class ClientCall final : public SessionCall,
                         private grpc::ClientBidiReactor<v1::OpenSessionRequest, v1::SessionEvent> {
 public:
  ClientCall(DaemonAddress daemon, std::string path, SessionEvents& events)
      : daemon_(std::move(daemon)),
        path_(std::move(path)),
        events_(events),
        patience_(std::make_shared<Patience>(context_)) {}

  ~ClientCall() override {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    done_signal_.wait(lock, [this] { return done_; });
  }

  void start(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    stub_ = v1::Sessions::NewStub(
        grpc::CreateCustomChannel(daemon_.address, credentials, channel_arguments(daemon_)));
    done_ = false;
    stub_->async()->OpenSession(&context_, this);
    AddHold();  // for end(); taken back when nothing more can be read
    StartWrite(&request_);
    StartRead(&event_);
    StartCall();
    const auto until =
        std::chrono::system_clock::now() +
        std::chrono::duration_cast<std::chrono::microseconds>(daemon_.connect_timeout);
    alarm_.Set(until, [patience = patience_](bool fired) {
      if (fired) patience->expired();
    });
  }

  /// Before start(). Errors: kTooLarge.
  Status take(const SessionManifest& manifest) {
    v1::SessionManifest wire;
    to_wire(manifest, wire);
    return pieces_.begin(wire, path_, request_);
  }

  void end(std::string_view why) override {
    const std::lock_guard lock(mutex_);
    if (end_asked_ || over_) return;
    end_asked_ = true;
    ending_.mutable_end()->set_why(std::string(why.substr(0, kEndWhyBytesMax)));
    if (!writing_) send_end_locked();
  }

 private:
  void OnReadInitialMetadataDone(bool ok) override {
    // A call that could not be made is reported here, too: without the daemon's word.
    if (!ok || !context_.GetServerInitialMetadata().contains(kProtocolKey)) return;
    patience_->answered();
    // relaxed: OnDone() comes after every other reaction
    answered_.store(true, std::memory_order_relaxed);
    alarm_.Cancel();
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    request_.Clear();
    writing_ = false;
    if (!ok || over_) return;
    if (end_asked_) {
      if (!end_sent_) send_end_locked();
    } else if (pieces_.next(request_)) {
      writing_ = true;
      StartWrite(&request_);
    }
  }

  void send_end_locked() {
    end_sent_ = true;
    writing_ = true;
    StartWrite(&ending_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      const std::lock_guard lock(mutex_);
      if (!std::exchange(over_, true)) RemoveHold();
      return;
    }
    const Status taken = take(event_);
    if (!taken.ok()) {
      tell_ended(LostCall(daemon_, path_).nonsense(taken));
      context_.TryCancel();
    }
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    patience_->answered();
    LostCall lost(daemon_, path_);
    const bool answered = answered_.load(std::memory_order_relaxed);
    tell_ended(answered ? lost.broken(status) : lost.unanswered(status, patience_->gave_up()));
    const std::lock_guard lock(mutex_);
    done_ = true;
    done_signal_.notify_all();
  }

  Status take(const v1::SessionEvent& event) {
    if (ended_told_) return {};
    switch (event.what_case()) {
      case v1::SessionEvent::kPhase:
        events_.on_phase(event.phase().text());
        return {};
      case v1::SessionEvent::kReady: {
        ECHELON_ASSIGN_OR_RETURN(SessionReady ready, from_wire(event.ready()));
        ECHELON_ASSIGN_OR_RETURN(ready.address, reachable(ready.address, daemon_.address));
        events_.on_ready(ready);
        return {};
      }
      case v1::SessionEvent::kEnded: {
        const std::string& bytes = event.ended().error();
        ECHELON_ASSIGN_OR_RETURN(ErrorInfo info, decode_error(std::as_bytes(std::span(bytes))));
        if (info.code == Code::kOk) info.code = Code::kUnknown;
        tell_ended(Status(std::move(info)));
        return {};
      }
      case v1::SessionEvent::WHAT_NOT_SET:
        break;
    }
    return Status::error(Code::kDataLoss, Reason::kBadFrame,
                         "an event that this version does not know");
  }

  void tell_ended(const Status& why) {
    if (!std::exchange(ended_told_, true)) events_.on_ended(why);
  }

  const DaemonAddress daemon_;
  const std::string path_;
  SessionEvents& events_;
  grpc::ClientContext context_;
  const std::shared_ptr<Patience> patience_;
  grpc::Alarm alarm_;
  std::unique_ptr<v1::Sessions::Stub> stub_;
  v1::OpenSessionRequest request_, ending_;
  ManifestPieces pieces_;
  v1::SessionEvent event_;
  std::atomic<bool> answered_{false};
  bool ended_told_ = false;  // the reading reactions', which follow one another

  std::mutex mutex_;  // guards all below
  std::condition_variable done_signal_;
  bool writing_ = true;  // the manifest
  bool end_asked_ = false;
  bool end_sent_ = false;
  bool over_ = false;
  bool done_ = true;  // nothing can come: not started, or ended
};

}  // namespace

Result<std::unique_ptr<SessionCall>> open_session_call(const DaemonAddress& daemon,
                                                       const SessionManifest& manifest,
                                                       SessionEvents& events) {
  ECHELON_ASSIGN_OR_RETURN(const auto credentials,
                           make_channel_credentials(daemon.address, daemon.credentials));
  auto call = std::make_unique<ClientCall>(daemon, manifest.path, events);
  ECHELON_RETURN_IF_ERROR(call->take(manifest));
  call->start(credentials);
  return std::unique_ptr<SessionCall>(std::move(call));
}

}  // namespace echelon
