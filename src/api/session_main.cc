// SPDX-License-Identifier: Apache-2.0
#include "api/session_main.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "api/child_main.h"
#include "api/manifest_remotes.h"
#include "api/manifest_table.h"
#include "api/next_level.h"
#include "api/session_pool.h"
#include "api/shipped_callable.h"
#include "process/child_connection.h"
#include "process/control_server.h"
#include "process/last_words.h"
#include "remote/session_boot.h"
#include "remote/session_server.h"
#include "remote/transport.h"

namespace echelon::detail {
namespace {

/// From a lost parent to the end of a session whose function does not stop.
constexpr MonotonicNs kLostGraceNs = 500'000'000;
/// For its parent to connect the lanes; a longer lease is longer patience.
constexpr std::chrono::nanoseconds kLanesPatienceMin = std::chrono::seconds(30);

/// Beside the daemon's, on a port or path of its own.
std::string lanes_address(const std::string& daemon, pid_t pid) {
  if (daemon.starts_with("unix:")) return fmt::format("{}.{}", daemon, pid);
  return daemon.substr(0, daemon.rfind(':')) + ":0";
}

std::string make_token(Env& env) {
  return fmt::format("{:016x}{:016x}", env.random_nonzero(), env.random_nonzero());
}

/// To reach another session, which listens already.
constexpr std::chrono::seconds kPeerConnectTimeout{3};

/// What its daemon says over the control ring, and the end that a lost parent means, on the
/// keeper's thread.
class SessionDuties final : public KeeperDuties {
 public:
  SessionDuties(ControlServer& control, ChildConnection& connection)
      : parent_(control, connection), connection_(connection) {}

  void arm(std::vector<FutexWaiter>& words) override { parent_.arm(words); }

  MonotonicNs attend(MonotonicNs now) override {
    const MonotonicNs next = parent_.attend(now);
    // pairs with leave_by()
    const MonotonicNs leave_at = leave_at_.load(std::memory_order_acquire);
    if (leave_at == 0) return next;
    if (now >= leave_at) leave_child(connection_.fail(why_));
    return std::min(next, leave_at);
  }

  /// Once. Whoever serves has until then to end by itself.
  void leave_by(MonotonicNs when, const Status& why) {
    why_ = why;
    // pairs with attend()
    leave_at_.store(when, std::memory_order_release);
  }

 private:
  ParentDuties parent_;
  ChildConnection& connection_;
  Status why_;
  std::atomic<MonotonicNs> leave_at_{0};
};

/// The daemon has looked at the manifest; this looks at what comes while the session runs.
class AllowedRegistrations final : public RegistrationHooks {
 public:
  /// All must outlive it; `server` is made after it.
  AllowedRegistrations(const SessionPlace& place, RegistrationHooks& to,
                       const std::unique_ptr<SessionServer>& server, const Node& node)
      : place_(place), to_(to), server_(server), node_(node) {}

  void on_register(std::uint64_t token, const RegisterFrame& frame) override {
    const RegisterRequest& request = frame.request;
    // What nobody reads here need not be allowed: its name is kept, to be refused.
    const bool unread = node_.language() == nullptr && needs_language(request.form);
    const Status allowed =
        unread ? Status()
               : check_form(place_.allowed, request.form, to_string(request.kind), request.name);
    if (allowed.ok()) return to_.on_register(token, frame);
    // Its payload has come already, and is not kept.
    if (frame.push != 0) static_cast<void>(server_->take_payload(frame.push, frame.payload_bytes));
    SubtreeAnswer answer;
    answer.add({AnswerOutcome::kRefused, ::getpid(), node_.path(), allowed.info().message});
    // A parent that reads no answers gets none: whoever asked has a deadline of its own.
    static_cast<void>(server_->answer(FrameKind::kRegisterReply, token,
                                      encode_answer(answer, kAnswerMessageBytesMax)));
  }
  void on_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial) override {
    to_.on_unregister(token, slot, serial);
  }

 private:
  const SessionPlace& place_;
  RegistrationHooks& to_;
  const std::unique_ptr<SessionServer>& server_;
  const Node& node_;
};

Result<std::vector<ChildPlan>> plans_of(const SessionManifest& manifest, const CallableTable& table,
                                        const embedding::Language* language,
                                        const SessionPlace& place) {
  std::vector<ChildPlan> plans;
  for (std::uint32_t i = 0; i < manifest.sub_workers; ++i) {
    ChildPlan& plan = plans.emplace_back();
    plan.kind = ChildKind::kSub;
    plan.name = fmt::format("sub{}", i);
    plan.main = [&table, language](ChildBoot boot) {
      return run_sub_worker(std::move(boot), table, language);
    };
  }
  for (std::size_t i = 0; i < manifest.chips.size(); ++i) {
    ChildPlan& plan = plans.emplace_back();
    plan.kind = ChildKind::kChip;
    plan.name = fmt::format("chip{}", i);
    plan.level = 2;
    plan.chip.driver = manifest.chips[i].driver;
    plan.chip.device = manifest.chips[i].device;
  }
  for (const ManifestRemote& remote : manifest.remotes) {
    ChildPlan& plan = plans.emplace_back();
    plan.kind = ChildKind::kWorker;
    plan.name = remote.name;
    plan.level = remote.level;
    ECHELON_ASSIGN_OR_RETURN(plan.remote, remote_spec(remote, place.credentials));
  }
  return plans;
}

/// Where its lanes come in. Closed as soon as they are there: nobody else has business here.
class LaneDoor {
 public:
  void open(std::unique_ptr<LaneListener> listener) {
    const std::lock_guard lock(mutex_);
    address_ = listener->address();
    listener_ = std::move(listener);
  }
  /// Unless a peer is expected already.
  void close() {
    const std::lock_guard lock(mutex_);
    if (!for_peers_) listener_.reset();
  }
  /// For good.
  void shut() {
    const std::lock_guard lock(mutex_);
    listener_.reset();
    shut_ = true;
    shutting_.notify_all();
  }
  /// Where it is closed it is opened again for peers, at the same address, and stays open: `listen`
  /// makes it. The listener that was there leaves its port a little after it was closed.
  template <class Listen>
  Status expect_peer(const std::string& token, std::uint64_t link, std::chrono::nanoseconds life,
                     Listen&& listen) {
    std::unique_lock lock(mutex_);
    const auto end = std::chrono::steady_clock::now() + kPortIsLeftIn;
    while (!shut_ && listener_ == nullptr) {
      auto made = listen(address_);
      if (made.ok()) {
        listener_ = std::move(made).value();
      } else if (std::chrono::steady_clock::now() > end) {
        return made.status();
      } else {
        shutting_.wait_for(lock, kTryPortEvery, [this] { return shut_; });
      }
    }
    if (shut_) {
      return Status::error(Code::kCancelled, Reason::kCancelled, "the session is ending");
    }
    for_peers_ = true;
    return listener_->expect_peer(token, link, life);
  }
  std::string address() const {
    const std::lock_guard lock(mutex_);
    return address_;
  }

 private:
  static constexpr std::chrono::seconds kPortIsLeftIn{2};
  static constexpr std::chrono::milliseconds kTryPortEvery{2};

  mutable std::mutex mutex_;
  std::condition_variable shutting_;
  std::unique_ptr<LaneListener> listener_;
  std::string address_;
  bool for_peers_ = false;
  bool shut_ = false;
};

/// One session, wired together.
class Session {
 public:
  struct Around {
    ChildConnection& connection;
    const SessionPlace& place;
    RemoteTransport& transport;
    std::shared_ptr<const embedding::Language> language;
  };
  Session(Around around, SessionManifest manifest)
      : connection_(around.connection),
        manifest_(std::move(manifest)),
        place_(around.place),
        transport_(around.transport),
        language_(std::move(around.language)),
        token_(make_token(connection_.env())) {}

  Status run();

 private:
  Status make_node();
  ControlHooks parent_hooks();
  ControlHooks daemon_hooks();
  Status listen();
  Status expect_peer(const std::string& token, std::uint64_t link, std::chrono::nanoseconds life);
  Status say_ready(ControlServer& control);
  void parent_lost(const Status& why);

  ChildConnection& connection_;
  const SessionManifest manifest_;
  const SessionPlace& place_;
  RemoteTransport& transport_;
  const std::shared_ptr<const embedding::Language> language_;
  const std::string token_;
  Presence presence_{language_.get()};  // left when the node's threads, which may want it, are gone
  std::shared_ptr<const CallableTable> table_;
  std::shared_ptr<OwnPool> pool_;
  std::shared_ptr<Node> node_;
  std::unique_ptr<OrchHandler> handler_;
  std::unique_ptr<SessionPool> memory_;
  std::unique_ptr<AllowedRegistrations> registrations_;
  std::unique_ptr<SessionServer> server_;
  SessionDuties* duties_ = nullptr;
  LaneDoor door_;
};

Status Session::make_node() {
  ECHELON_ASSIGN_OR_RETURN(table_, make_table(manifest_, language_.get()));
  ECHELON_ASSIGN_OR_RETURN(pool_, make_own_pool(manifest_.memory_bytes_max, manifest_.path));
  NodeOptions options;
  options.level = manifest_.level;
  options.name = manifest_.name;
  options.path = manifest_.path;
  ECHELON_ASSIGN_OR_RETURN(options.children, plans_of(manifest_, *table_, language_.get(), place_));
  options.language = language_;
  options.callables = table_.get();
  options.pool = pool_;
  options.start_deadline = manifest_.start_deadline;
  options.unresponsive_after = manifest_.unresponsive_after;
  options.keeps = {table_};
  node_ = std::make_shared<Node>(std::move(options), connection_.pools());
  handler_ = std::make_unique<OrchHandler>(*node_);
  memory_ = std::make_unique<SessionPool>(pool_);
  return {};
}

ControlHooks Session::parent_hooks() {
  ControlHooks hooks;
  hooks.cancel = [this](TaskId task) { handler_->cancel(task); };
  hooks.shutdown = [this] { server_->stop(); };
  add_node_hooks(hooks, *node_);
  registrations_ =
      std::make_unique<AllowedRegistrations>(place_, node_->registrar(), server_, *node_);
  hooks.registration = registrations_.get();
  return hooks;
}

ControlHooks Session::daemon_hooks() {
  ControlHooks hooks;
  hooks.shutdown = [this] {
    server_->abandon();
    handler_->cancel_all(
        Status::error(Code::kCancelled, Reason::kCancelled, "the session was ended by its daemon"));
  };
  add_node_hooks(hooks, *node_);
  hooks.registration = nullptr;
  return hooks;
}

void Session::parent_lost(const Status& why) {
  duties_->leave_by(connection_.env().now_ns() + kLostGraceNs, why);
  handler_->cancel_all(why);
  node_->nudge();
}

/// The session's own token has let its three lanes in: nobody else knows the one of the door that
/// is opened again.
Status Session::expect_peer(const std::string& token, std::uint64_t link,
                            std::chrono::nanoseconds life) {
  return door_.expect_peer(token, link, life, [this](const std::string& address) {
    LaneListen where;
    where.address = address;
    where.credentials = place_.credentials;
    where.token = make_token(connection_.env());
    where.silent_max = manifest_.lease;
    where.options = [this](LaneRole role) { return server_->lane_options(role); };
    where.accept = [](LaneRole, std::unique_ptr<Lane>) {};
    where.accept_peer = [this](std::uint64_t of, std::unique_ptr<Lane> lane) {
      server_->accept_peer(of, std::move(lane));
    };
    return transport_.listen_lanes(std::move(where));
  });
}

Status Session::listen() {
  LaneListen where;
  where.address = lanes_address(place_.daemon, ::getpid());
  where.credentials = place_.credentials;
  where.token = token_;
  where.silent_max = manifest_.lease;
  where.options = [this](LaneRole role) { return server_->lane_options(role); };
  where.accept = [this](LaneRole role, std::unique_ptr<Lane> lane) {
    server_->attach(role, std::move(lane));
  };
  where.accept_peer = [this](std::uint64_t link, std::unique_ptr<Lane> lane) {
    server_->accept_peer(link, std::move(lane));
  };
  ECHELON_ASSIGN_OR_RETURN(auto listener, transport_.listen_lanes(std::move(where)));
  door_.open(std::move(listener));
  PeerPlace peers;
  peers.expect = [this](const std::string& token, std::uint64_t link,
                        std::chrono::nanoseconds life) { return expect_peer(token, link, life); };
  peers.connect = [this](const std::string& address, const std::string& token,
                         LaneOptions options) {
    return transport_.connect_lane(
        {address, place_.credentials, token, LaneRole::kPeer, kPeerConnectTimeout},
        std::move(options));
  };
  server_->connect_peers(std::move(peers));
  return {};
}

/// What its daemon does not know of it.
Status Session::say_ready(ControlServer& control) {
  SessionReady ready;
  ready.address = door_.address();
  ready.token = token_;
  ready.pool = pool_->pool->issuer();
  ready.memory_bytes_max = manifest_.memory_bytes_max;
  ECHELON_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, encode_announcement(ready));
  ECHELON_CHECK(control.announce(bytes), bytes.size());
  connection_.ready();
  return {};
}

Status Session::run() {
  ECHELON_RETURN_IF_ERROR(make_node());
  ECHELON_RETURN_IF_ERROR(watch_stack());
  SessionServerOptions options;
  options.path = manifest_.path;
  options.lease = manifest_.lease;
  options.lanes_within = std::max(kLanesPatienceMin, manifest_.lease);
  options.on_lanes = [this] { door_.close(); };
  options.on_lost = [this](const Status& why) { parent_lost(why); };
  server_ = std::make_unique<SessionServer>(std::move(options), *memory_, parent_hooks(),
                                            connection_.env());
  node_->set_own_counters(&server_->counters());
  node_->registrar().connect(server_.get());
  ControlServer control(connection_.channel(), connection_.parent_doorbell(), daemon_hooks());
  SessionDuties duties(control, connection_);
  duties_ = &duties;
  node_->add_duties(&duties);
  node_->when_lost([this](const Status& why) { leave_child(connection_.fail(why)); });
  Status status = node_->start([this](std::string_view phase) { connection_.phase(phase); });
  // Its lanes' threads, and the registrar's, may want the language from here on.
  presence_.enter();
  if (status.ok()) {
    connection_.phase("listening for its lanes");
    status = listen();
  }
  if (status.ok()) status = say_ready(control);
  if (status.ok()) status = server_->serve(*handler_);
  door_.shut();
  node_->close();
  node_->registrar().connect(nullptr);
  server_->close(status.ok()
                     ? Status::error(Code::kCancelled, Reason::kCancelled, "the session has ended")
                     : status);
  server_.reset();
  return status;
}

Status serve_session(ChildConnection& connection, ChildBoot& payload, const SessionPlace& place,
                     std::shared_ptr<const embedding::Language> language) {
  connection.phase("reading its manifest");
  // Nothing of the transport has a thread before the first call that talks to somebody, which comes
  // after the node has forked.
  ECHELON_ASSIGN_OR_RETURN(RemoteTransport * transport, load_transport("grpc"));
  ECHELON_ASSIGN_OR_RETURN(const auto bytes, take_manifest(payload));
  ECHELON_ASSIGN_OR_RETURN(SessionManifest manifest, transport->decode_manifest(bytes->bytes()));
  return Session({connection, place, *transport, std::move(language)}, std::move(manifest)).run();
}

}  // namespace

Status check_lanes_address(const std::string& daemon) {
  if (!daemon.starts_with("unix:")) return {};
  constexpr pid_t kPidMax = 4'194'304;
  const auto local = address_is_local(lanes_address(daemon, kPidMax));
  if (local.ok()) return {};
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                       fmt::format("sessions listen beside their daemon, at its path with their "
                                   "process's number after it: {}",
                                   local.status().info().message));
}

int run_session(ChildBoot boot, const SessionPlace& place,
                std::shared_ptr<const embedding::Language> language) {
  SystemEnv env;
  ChildBoot payload;  // what the connection does not take
  payload.path = boot.path;
  payload.payload = std::move(boot.payload);
  auto connection = ChildConnection::open(std::move(boot), env);
  if (!connection.ok()) return 1;
  const Status status = serve_session(**connection, payload, place, std::move(language));
  return status.ok() ? 0 : (*connection)->fail(status);
}

}  // namespace echelon::detail
