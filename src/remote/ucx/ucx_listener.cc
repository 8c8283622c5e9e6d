// SPDX-License-Identifier: Apache-2.0
#include "remote/ucx/ucx_listener.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>
#include <vector>

#include "remote/ucx/ucx_address.h"
#include "remote/ucx/ucx_context.h"
#include "remote/ucx/ucx_core.h"

namespace echelon {
namespace {

constexpr MonotonicNs kHelloWithinNs = 5'000'000'000;
/// Connections that have not said HELLO yet; more are turned away.
constexpr std::size_t kStrangersMax = 16;

/// Listens, with a worker of its own; each connection gets another.
class LaneServer final : public UcxWatched, public std::enable_shared_from_this<LaneServer> {
 public:
  explicit LaneServer(LaneListen where) : where_(std::move(where)) {}
  ~LaneServer() override { end(); }

  Status start();
  /// Lanes that were let in go on.
  void stop();
  const std::string& address() const { return address_; }

  bool tend(Why why) override;
  void release() override { end(); }
  int event_fd() const override { return event_fd_; }
  MonotonicNs deadline_ns() const override {
    return stopping_.load(std::memory_order_relaxed) ? 1 : 0;
  }
  bool polled() const override { return false; }

 private:
  static void on_request(ucp_conn_request_h request, void* server);
  void take(ucp_conn_request_h request);
  void accept(ucp_conn_request_h request);
  Status admit(UcxCore& core, LaneRole role, std::string_view token);
  void let_in(LaneRole role, std::unique_ptr<Lane> lane);
  void leave(LaneRole role);
  void end();

  const LaneListen where_;
  std::string address_;
  int event_fd_ = -1;
  std::atomic<bool> stopping_{false};

  // The watch's thread's, once it is added.
  ucp_worker_h worker_ = nullptr;
  ucp_listener_h listener_ = nullptr;
  std::vector<ucp_conn_request_h> requests_;
  std::vector<std::weak_ptr<UcxCore>> strangers_;

  std::mutex mutex_;  // guards what follows, and calls of `where_`'s
  std::array<bool, kLaneConnectOrder.size()> taken_{};
};

Status LaneServer::start() {
  ECHELON_RETURN_IF_ERROR(check_ucx_token(where_.token));
  ECHELON_ASSIGN_OR_RETURN(const UcxAddress at, resolve_ucx_address(where_.address));
  ECHELON_ASSIGN_OR_RETURN(const ucp_context_h context, ucx_context());
  const SignalsBlocked blocked;
  ucp_worker_params_t worker{};
  worker.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  ucs_status_t status = ucp_worker_create(context, &worker, &worker_);
  if (status != UCS_OK) return ucx_error(status, "making a UCX worker");
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr.addr = at.get();
  params.sockaddr.addrlen = at.bytes;
  params.conn_handler.cb = &LaneServer::on_request;
  params.conn_handler.arg = this;
  status = ucp_listener_create(worker_, &params, &listener_);
  if (status != UCS_OK) {
    listener_ = nullptr;
    return Status::error(
        Code::kFailedPrecondition, Reason::kSystem,
        fmt::format("cannot listen at {} over UCX: the address is taken, or is not "
                    "this machine's ({})",
                    where_.address, ucs_status_string(status)));
  }
  ucp_listener_attr_t attributes{};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  status = ucp_listener_query(listener_, &attributes);
  if (status == UCS_OK) status = ucp_worker_get_efd(worker_, &event_fd_);
  if (status != UCS_OK) return ucx_error(status, "listening over UCX");
  address_ = with_port(where_.address, attributes.sockaddr);
  while (ucp_worker_arm(worker_) == UCS_ERR_BUSY) ucp_worker_progress(worker_);
  ECHELON_RETURN_IF_ERROR(UcxWatch::get().add(shared_from_this()));
  UcxWatch::get().wait_for_event(*this);
  return {};
}

void LaneServer::stop() {
  {
    // Nobody is called any more once this is through.
    const std::lock_guard lock(mutex_);
    stopping_.store(true, std::memory_order_relaxed);
  }
  UcxWatch::get().look();
}

bool LaneServer::tend(Why /*why*/) {
  if (stopping_.load(std::memory_order_relaxed)) return false;
  do {
    while (ucp_worker_progress(worker_) != 0) {}
    for (const ucp_conn_request_h request : std::exchange(requests_, {})) take(request);
  } while (ucp_worker_arm(worker_) == UCS_ERR_BUSY);
  UcxWatch::get().wait_for_event(*this);
  return true;
}

void LaneServer::on_request(ucp_conn_request_h request, void* server) {
  static_cast<LaneServer*>(server)->requests_.push_back(request);
}

void LaneServer::take(ucp_conn_request_h request) {
  std::erase_if(strangers_, [](const auto& one) {
    const auto core = one.lock();
    return core == nullptr || !core->is_stranger();
  });
  if (strangers_.size() < kStrangersMax) return accept(request);
  ucp_listener_reject(listener_, request);
}

void LaneServer::accept(ucp_conn_request_h request) {
  UcxGreeting greeting;
  const auto slot = std::make_shared<std::weak_ptr<UcxCore>>();
  greeting.admit = [self = weak_from_this(), slot](LaneRole role, std::string_view token) {
    const auto server = self.lock();
    const auto core = slot->lock();
    if (server != nullptr && core != nullptr) return server->admit(*core, role, token);
    return Status::error(Code::kAborted, Reason::kSystem, "the session takes no lanes any more");
  };
  greeting.let_in = [self = weak_from_this()](LaneRole role, std::unique_ptr<Lane> lane) {
    if (const auto server = self.lock()) server->let_in(role, std::move(lane));
  };
  greeting.left = [self = weak_from_this()](LaneRole role) {
    if (const auto server = self.lock()) server->leave(role);
  };
  auto core = UcxCore::make(std::move(greeting));
  if (!core.ok()) {
    ucp_listener_reject(listener_, request);
    return;
  }
  *slot = *core;
  SystemEnv env;
  if ((*core)->accept(request, env.now_ns() + kHelloWithinNs).ok()) strangers_.push_back(*core);
}

Status LaneServer::admit(UcxCore& core, LaneRole role, std::string_view token) {
  // In a time that does not depend on how much of it is right.
  const bool right = token.size() == where_.token.size() &&
                     CRYPTO_memcmp(token.data(), where_.token.data(), token.size()) == 0;
  if (!right) {
    return Status::error(Code::kUnauthenticated, Reason::kSystem,
                         "the session does not know this token: it is another session's, or was "
                         "not given out by its daemon");
  }
  const std::lock_guard lock(mutex_);
  if (stopping_.load(std::memory_order_relaxed)) {
    return Status::error(Code::kAborted, Reason::kSystem, "the session takes no lanes any more");
  }
  bool& taken = taken_[static_cast<std::size_t>(role) - 1];
  if (std::exchange(taken, true)) {
    return Status::error(
        Code::kUnauthenticated, Reason::kSystem,
        fmt::format("the token was used already for the {} lane: each lane connects once",
                    to_string(role)));
  }
  if (where_.options) core.set_options(where_.options(role));
  return {};
}

void LaneServer::let_in(LaneRole role, std::unique_ptr<Lane> lane) {
  const std::lock_guard lock(mutex_);
  if (!stopping_.load(std::memory_order_relaxed)) where_.accept(role, std::move(lane));
}

void LaneServer::leave(LaneRole role) {
  const std::lock_guard lock(mutex_);
  taken_[static_cast<std::size_t>(role) - 1] = false;
}

void LaneServer::end() {
  if (listener_ != nullptr) ucp_listener_destroy(std::exchange(listener_, nullptr));
  if (worker_ != nullptr) ucp_worker_destroy(std::exchange(worker_, nullptr));
}

class UcxListener final : public LaneListener {
 public:
  explicit UcxListener(std::shared_ptr<LaneServer> server) : server_(std::move(server)) {}
  ~UcxListener() override { server_->stop(); }
  std::string address() const override { return server_->address(); }

 private:
  const std::shared_ptr<LaneServer> server_;
};

}  // namespace

Result<std::unique_ptr<LaneListener>> listen_ucx_lanes(LaneListen where) {
  auto server = std::make_shared<LaneServer>(std::move(where));
  ECHELON_RETURN_IF_ERROR(server->start());
  return std::unique_ptr<LaneListener>(std::make_unique<UcxListener>(std::move(server)));
}

}  // namespace echelon
