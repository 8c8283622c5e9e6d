// SPDX-License-Identifier: Apache-2.0
//
// RemoteTransport, LaneTransport: what talks to other hosts - lanes, and the control service
// between a parent and a daemon. One shared object each, loaded only for remote children and after
// the spawner was forked, so that a process that never goes remote has none of its threads.
//
// Threads: a transport's calls from any thread. Callbacks come on threads of the transport's and
//   must not block. Blocking: connect_lane(), listen_*() and ~SessionCall, bounded.
// Fork: nothing of this may be used in a forked child.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "remote/lane.h"
#include "remote/manifest.h"

namespace echelon {

/// Who may speak with whom. `tls_dir` holds ca.pem, host.pem and host.key as `echelon keys` makes
/// them: both ends show a certificate and check the other's. Without it the connection is in plain
/// text, which is refused for any address but loopback and unix sockets unless `insecure`.
struct Credentials {
  std::string tls_dir;
  bool insecure = false;
};

/// True for loopback addresses and unix sockets; "host:port", "[v6]:port", "unix:/path". Errors:
/// kBadArgument for what is no address, saying what one looks like.
Result<bool> address_is_local(std::string_view address);

struct LaneConnect {
  std::string address;
  Credentials credentials;
  std::string token;
  LaneRole role = LaneRole::kTask;
  std::chrono::nanoseconds timeout{std::chrono::seconds(5)};
  /// A peer that is silent for so long is still waited for (the session's health_deadline).
  std::chrono::nanoseconds silent_max{std::chrono::seconds(2)};
};

struct LaneListen {
  std::string address;  // port 0: any free one
  Credentials credentials;
  std::string token;  // accepted once a role
  /// As in LaneConnect: the session's lease.
  std::chrono::nanoseconds silent_max{std::chrono::seconds(10)};
  /// Notified lanes are made with these; one a role.
  std::function<LaneOptions(LaneRole)> options;
  /// A lane that was let in. On the transport's thread.
  std::function<void(LaneRole, std::unique_ptr<Lane>)> accept;
  /// The same, of one that was let in by expect_peer().
  std::function<void(std::uint64_t link, std::unique_ptr<Lane>)> accept_peer = {};
};

class LaneListener {
 public:
  /// Stops listening; lanes that were let in go on.
  virtual ~LaneListener() = default;
  /// With the port that was chosen.
  virtual std::string address() const = 0;
  /// Lets in one lane of LaneRole::kPeer that shows `token`, within `life`, under the rules of all
  /// others; it comes to LaneListen::accept_peer with `link`. Errors: kBadArgument (a token that is
  /// none; lanes of this kind take no peers).
  virtual Status expect_peer(std::string token, std::uint64_t link, std::chrono::nanoseconds life);
};

/// What is heard of a session from its daemon. Threads: the transport's, one at a time.
class SessionEvents {
 public:
  /// What its start is at: "chip1: opening device".
  virtual void on_phase(std::string_view phase) = 0;
  virtual void on_ready(const SessionReady& ready) = 0;
  /// Once, last: it could not start, or it ended, or nothing is heard of the daemon any more. The
  /// status carries path, pid, host, cause and last words as far as they are known.
  virtual void on_ended(const Status& why) = 0;

 protected:
  ~SessionEvents() = default;
};

/// A session as its parent holds it: one call to the daemon, as long as the session.
class SessionCall {
 public:
  /// Asks the daemon to end the session, and waits until no event can come any more.
  virtual ~SessionCall() = default;
  /// on_ended() follows.
  virtual void end(std::string_view why) = 0;
};

struct DaemonAddress {
  std::string address;
  Credentials credentials;
  std::chrono::nanoseconds connect_timeout{std::chrono::seconds(5)};
  /// A daemon that is silent for so long is still waited for (the session's health_deadline).
  std::chrono::nanoseconds silent_max{std::chrono::seconds(2)};
};

/// A session as its daemon hands it to the service. Threads: any.
class SessionTicket {
 public:
  virtual ~SessionTicket() = default;
  virtual void phase(std::string_view text) = 0;
  virtual void ready(const SessionReady& ready) = 0;
  /// Once, last.
  virtual void ended(const Status& why) = 0;
};

/// A daemon's answers as its service asks for them. Called on the transport's threads.
class DaemonHooks {
 public:
  /// `ticket` lives until it was told ended(). Errors: refused at once.
  virtual Status open_session(std::uint64_t call, SessionManifest manifest,
                              std::shared_ptr<SessionTicket> ticket) = 0;
  /// The parent has ended the call, or is gone.
  virtual void close_session(std::uint64_t call, std::string_view why) = 0;
  /// Whether sessions can be opened: for gRPC's health service.
  virtual bool serving() const = 0;
  /// Before more than a piece of a large manifest is taken in. Errors: none is taken now.
  virtual Status admit_call() { return {}; }
  /// Of all manifests that are on their way and not read yet, together.
  virtual std::uint64_t manifest_bytes_max() const { return kManifestBytesMax; }
  /// A line for the operator. Must not block.
  virtual void warn(std::string_view line) { static_cast<void>(line); }

 protected:
  ~DaemonHooks() = default;
};

struct DaemonListen {
  std::string address;
  Credentials credentials;
};

class DaemonServer {
 public:
  /// Stops: calls in progress hear that the daemon ends.
  virtual ~DaemonServer() = default;
  virtual std::string address() const = 0;
};

/// What carries lanes.
class LaneTransport {
 public:
  virtual ~LaneTransport() = default;
  virtual std::string_view name() const = 0;  // "grpc", "ucx"

  /// Errors: kBadArgument (address), kSystem (nobody there, something else answers, refused
  /// token or certificate), each with the address and what to look at; kDeadline.
  virtual Result<std::unique_ptr<Lane>> connect_lane(const LaneConnect& where,
                                                     LaneOptions options) = 0;
  virtual Result<std::unique_ptr<LaneListener>> listen_lanes(LaneListen where) = 0;
};

/// What carries sessions, too.
class RemoteTransport : public LaneTransport {
 public:
  /// `events` must outlive the call. What goes wrong is on_ended()'s.
  virtual Result<std::unique_ptr<SessionCall>> open_session(const DaemonAddress& daemon,
                                                            const SessionManifest& manifest,
                                                            SessionEvents& events) = 0;
  virtual Result<std::unique_ptr<DaemonServer>> serve_daemon(const DaemonListen& where,
                                                             DaemonHooks& hooks) = 0;

  /// The wire form of a manifest, bounded and checked; for handing it to a session's process.
  virtual std::vector<std::byte> encode_manifest(const SessionManifest& manifest) = 0;
  virtual Result<SessionManifest> decode_manifest(std::span<const std::byte> bytes) = 0;
};

/// What a transport's shared object exports; nullptr where `build` is not the build it is of.
using RemoteTransportEntry = RemoteTransport* (*)(const char* build);
inline constexpr const char* kRemoteTransportSymbol = "echelon_remote_transport";

/// What the shared object of a transport exports that carries lanes alone; as above.
using LaneTransportEntry = LaneTransport* (*)(const char* build);
inline constexpr const char* kLaneTransportSymbol = "echelon_lane_transport";

/// Loads lib/echelon/libechelon_NAME.so, once a process. Errors: kNotFound with where it was looked
/// for, kSystem with the loader's words.
Result<RemoteTransport*> load_transport(std::string_view name);
/// The same for one of which lanes are wanted; "grpc" has both.
Result<LaneTransport*> load_lanes(std::string_view name);

}  // namespace echelon
