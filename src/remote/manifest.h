// SPDX-License-Identifier: Apache-2.0
//
// What a parent asks of a daemon: the Worker that a session is to be, and the callables that were
// registered before start(). proto/echelon/v1/session.proto is the wire form, field by field.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <echelon/callable_form.h>

#include "base/digest.h"
#include "base/ids.h"
#include "process/payload.h"
#include "process/registration_codec.h"

namespace echelon {

/// Both sides name theirs; sessions are refused where the major versions differ.
inline constexpr std::uint32_t kRemoteProtocolMajor = 1;
inline constexpr std::uint32_t kRemoteProtocolMinor = 0;

inline constexpr std::size_t kManifestBytesMax = std::size_t{256} << 20;
inline constexpr std::size_t kManifestCallablesMax = 1u << 16;
/// From the root at level 6 to the session's own.
inline constexpr std::size_t kManifestWorkersMax = 4;

struct ManifestChip {
  std::string driver;
  std::int32_t device = 0;
};

/// One callable that the session's Worker sees, in the order of slots: the root's first to its
/// own last (api/callables.h).
struct ManifestCallable {
  std::uint64_t owner = 0;  // identity of the Worker that it was registered on
  RegisteredKind kind = RegisteredKind::kSub;
  /// kInherited: it holds state of the parent's process and exists there alone; its slot is kept.
  embedding::Form form = embedding::Form::kInherited;
  std::string name;
  /// kName: the function's name; kImage, kPickle, kImportPath: as in a RegisterRequest; kInherited:
  /// a text, why it cannot leave its process, or nullptr.
  std::shared_ptr<const Payload> payload;
  Digest digest{};  // SHA-256 of the payload
};

/// A shared object by content, loaded before the callables are looked up.
struct ManifestLibrary {
  std::string name;
  std::shared_ptr<const Payload> payload;
  Digest digest{};
};

enum class SessionRuntime : std::uint8_t { kNative = 0, kPython = 1 };

/// A Worker on a further host, below the session's own (RemoteWorkerSpec, without keys).
struct ManifestRemote {
  std::string address;  // of its daemon, as the session's host sees it
  std::string name;
  std::int32_t level = 3;
  SessionRuntime runtime = SessionRuntime::kNative;
  std::uint32_t sub_workers = 0;
  std::vector<ManifestChip> chips;
  std::uint64_t memory_bytes_max = 0;
  std::string lane;
  bool insecure = false;
  bool trust_results = false;
  bool stage_copies = false;
  bool direct_copies = true;
  std::chrono::nanoseconds connect_timeout{std::chrono::seconds(5)};
  std::chrono::nanoseconds lease{std::chrono::seconds(10)};
  std::chrono::nanoseconds health_deadline{std::chrono::seconds(2)};
  std::chrono::nanoseconds unresponsive_after{std::chrono::seconds(10)};
  std::vector<ManifestRemote> remotes;
};

struct SessionManifest {
  std::uint32_t protocol_major = kRemoteProtocolMajor;
  std::uint32_t protocol_minor = kRemoteProtocolMinor;
  SessionRuntime runtime = SessionRuntime::kNative;
  std::string path;  // in the tree: "pod0/host1"
  std::string name;  // "host1"
  std::int32_t level = 3;
  std::uint32_t sub_workers = 0;
  std::vector<ManifestChip> chips;
  std::uint64_t memory_bytes_max = 0;  // 0: the daemon's choice
  std::chrono::nanoseconds start_deadline{std::chrono::seconds(30)};
  std::chrono::nanoseconds unresponsive_after{std::chrono::seconds(10)};
  /// A parent that is silent for so long is taken for lost.
  std::chrono::nanoseconds lease{std::chrono::seconds(10)};
  std::vector<ManifestLibrary> libraries;
  std::vector<ManifestCallable> callables;
  /// Identities of the Workers whose handles are known here, from the root down; owners of
  /// callables are among them, in this order. Empty: the owners.
  std::vector<std::uint64_t> workers;
  /// Its children on further hosts.
  std::vector<ManifestRemote> remotes;
};

/// What a session says of itself when it is READY.
struct SessionReady {
  std::uint64_t session = 0;  // the daemon's number for it
  std::int64_t pid = 0;
  std::string host;     // name of the machine
  std::string address;  // where its lanes listen
  std::string token;    // for the lanes; each role may use it once
  Uid pool;             // issuer of the buffers of its Worker's memory
  std::uint64_t memory_bytes_max = 0;
};

}  // namespace echelon
