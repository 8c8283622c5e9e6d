// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/manifest_codec.h"

#include <echelon/v1/session.pb.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "remote/descriptors.h"
#include "remote/manifest_check.h"

namespace echelon {
namespace {

constexpr std::size_t kTokenBytesMax = 256;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

Status too_large(std::size_t bytes) {
  return Status::error(Code::kInvalidArgument, Reason::kTooLarge,
                       fmt::format("a session manifest of {} bytes; at most {} are allowed: "
                                   "register fewer or smaller libraries before start()",
                                   bytes, kManifestBytesMax));
}

Result<Digest> read_digest(std::string_view what, const std::string& name,
                           const std::string& bytes) {
  Digest digest{};
  if (bytes.size() != digest.size()) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("session manifest: the digest of {} '{}' has {} bytes, "
                                     "expected {}",
                                     what, name, bytes.size(), digest.size()));
  }
  std::ranges::copy(bytes_of(bytes), digest.begin());
  return digest;
}

Result<ManifestLibrary> read_library(const v1::Library& wire) {
  ManifestLibrary library;
  library.name = wire.name();
  ECHELON_ASSIGN_OR_RETURN(library.digest, read_digest("library", wire.name(), wire.digest()));
  if (wire.payload().empty()) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("session manifest: library '{}' is empty", wire.name()));
  }
  ECHELON_ASSIGN_OR_RETURN(library.payload,
                           Payload::make_file(bytes_of(wire.payload()), MemfdUse::kExecutable));
  return library;
}

// Out of range, and so refused by check_manifest(), where the wire's value does not fit.
template <class T>
T small_enum(int value) {
  return static_cast<T>(value >= 0 && value <= 0xFE ? value : 0xFF);
}

Result<ManifestCallable> read_callable(const v1::Callable& wire) {
  ManifestCallable callable;
  callable.owner = wire.owner();
  callable.kind = small_enum<RegisteredKind>(wire.kind());
  callable.form = small_enum<embedding::Form>(wire.form());
  callable.name = wire.name();
  if (callable.form == embedding::Form::kInherited && wire.payload().empty()) return callable;
  ECHELON_ASSIGN_OR_RETURN(callable.digest, read_digest("callable", wire.name(), wire.digest()));
  ECHELON_ASSIGN_OR_RETURN(callable.payload, Payload::make(bytes_of(wire.payload())));
  return callable;
}

/// Each library is a file here, and each larger payload.
std::uint64_t descriptors_of(const v1::SessionManifest& wire) {
  const auto large = std::ranges::count_if(wire.callables(), [](const v1::Callable& callable) {
    return callable.payload().size() > kInlinePayloadMax;
  });
  return static_cast<std::uint64_t>(large) + static_cast<std::uint64_t>(wire.libraries_size());
}

void to_wire(const ManifestRemote& remote, v1::RemoteWorker& wire) {
  wire.set_address(remote.address);
  wire.set_name(remote.name);
  wire.set_level(remote.level);
  wire.set_runtime(static_cast<v1::Runtime>(remote.runtime));
  wire.set_sub_workers(remote.sub_workers);
  for (const ManifestChip& chip : remote.chips) {
    v1::ChipSpec& out = *wire.add_chips();
    out.set_driver(chip.driver);
    out.set_device(chip.device);
  }
  wire.set_memory_bytes_max(remote.memory_bytes_max);
  wire.set_lane(remote.lane);
  wire.set_insecure(remote.insecure);
  wire.set_trust_results(remote.trust_results);
  wire.set_stage_copies(remote.stage_copies);
  wire.set_copies_by_session(!remote.direct_copies);
  wire.set_connect_timeout_ns(remote.connect_timeout.count());
  wire.set_lease_ns(remote.lease.count());
  wire.set_health_deadline_ns(remote.health_deadline.count());
  wire.set_unresponsive_after_ns(remote.unresponsive_after.count());
  for (const ManifestRemote& below : remote.remotes) to_wire(below, *wire.add_remote_workers());
}

/// `levels`: how many of them may still be below each other.
Result<ManifestRemote> read_remote(const v1::RemoteWorker& wire, int levels) {
  if (levels == 0) {
    return Status::error(Code::kInvalidArgument, Reason::kTooLarge,
                         fmt::format("session manifest: more than {} levels of remote Workers "
                                     "below a session",
                                     kManifestRemoteLevelsMax));
  }
  ManifestRemote remote;
  remote.address = wire.address();
  remote.name = wire.name();
  remote.level = wire.level();
  remote.runtime = small_enum<SessionRuntime>(wire.runtime());
  remote.sub_workers = wire.sub_workers();
  for (const v1::ChipSpec& chip : wire.chips()) {
    remote.chips.push_back({chip.driver(), chip.device()});
  }
  remote.memory_bytes_max = wire.memory_bytes_max();
  remote.lane = wire.lane();
  remote.insecure = wire.insecure();
  remote.trust_results = wire.trust_results();
  remote.stage_copies = wire.stage_copies();
  remote.direct_copies = !wire.copies_by_session();
  remote.connect_timeout = std::chrono::nanoseconds(wire.connect_timeout_ns());
  remote.lease = std::chrono::nanoseconds(wire.lease_ns());
  remote.health_deadline = std::chrono::nanoseconds(wire.health_deadline_ns());
  remote.unresponsive_after = std::chrono::nanoseconds(wire.unresponsive_after_ns());
  for (const v1::RemoteWorker& below : wire.remote_workers()) {
    ECHELON_ASSIGN_OR_RETURN(ManifestRemote one, read_remote(below, levels - 1));
    remote.remotes.push_back(std::move(one));
  }
  return remote;
}

Status check_counts(const v1::SessionManifest& wire) {
  const std::size_t bytes = wire.ByteSizeLong();
  if (bytes > kManifestBytesMax) return too_large(bytes);
  const auto libraries = static_cast<std::size_t>(wire.libraries_size());
  const auto callables = static_cast<std::size_t>(wire.callables_size());
  if (libraries <= kManifestLibrariesMax && callables <= kManifestCallablesMax) {
    return check_descriptors(descriptors_of(wire) + kDescriptorsOfSession);
  }
  return Status::error(
      Code::kInvalidArgument, Reason::kTooLarge,
      fmt::format("session manifest: {} libraries and {} callables; at most {} "
                  "and {} are allowed",
                  libraries, callables, kManifestLibrariesMax, kManifestCallablesMax));
}

}  // namespace

void to_wire(const SessionManifest& manifest, v1::SessionManifest& wire) {
  wire.set_protocol_major(manifest.protocol_major);
  wire.set_protocol_minor(manifest.protocol_minor);
  wire.set_runtime(static_cast<v1::Runtime>(manifest.runtime));
  wire.set_path(manifest.path);
  wire.set_name(manifest.name);
  wire.set_level(manifest.level);
  wire.set_sub_workers(manifest.sub_workers);
  for (const ManifestChip& chip : manifest.chips) {
    v1::ChipSpec& out = *wire.add_chips();
    out.set_driver(chip.driver);
    out.set_device(chip.device);
  }
  wire.set_memory_bytes_max(manifest.memory_bytes_max);
  wire.set_start_deadline_ns(manifest.start_deadline.count());
  wire.set_unresponsive_after_ns(manifest.unresponsive_after.count());
  wire.set_lease_ns(manifest.lease.count());
  for (const ManifestLibrary& library : manifest.libraries) {
    v1::Library& out = *wire.add_libraries();
    out.set_name(library.name);
    if (library.payload != nullptr) out.set_payload(text_of(library.payload->bytes()));
    out.set_digest(text_of(library.digest));
  }
  for (const ManifestCallable& callable : manifest.callables) {
    v1::Callable& out = *wire.add_callables();
    out.set_owner(callable.owner);
    out.set_kind(static_cast<v1::CallableKind>(callable.kind));
    out.set_form(static_cast<v1::CallableForm>(callable.form));
    out.set_name(callable.name);
    if (callable.payload != nullptr) out.set_payload(text_of(callable.payload->bytes()));
    out.set_digest(text_of(callable.digest));
  }
  for (const std::uint64_t worker : manifest.workers) wire.add_workers(worker);
  for (const ManifestRemote& remote : manifest.remotes) {
    to_wire(remote, *wire.add_remote_workers());
  }
}

Result<SessionManifest> from_wire(const v1::SessionManifest& wire) {
  ECHELON_RETURN_IF_ERROR(check_protocol(wire.protocol_major(), wire.protocol_minor()));
  ECHELON_RETURN_IF_ERROR(check_counts(wire));
  SessionManifest manifest;
  manifest.protocol_major = wire.protocol_major();
  manifest.protocol_minor = wire.protocol_minor();
  manifest.runtime = small_enum<SessionRuntime>(wire.runtime());
  manifest.path = wire.path();
  manifest.name = wire.name();
  manifest.level = wire.level();
  manifest.sub_workers = wire.sub_workers();
  for (const v1::ChipSpec& chip : wire.chips()) {
    manifest.chips.push_back({chip.driver(), chip.device()});
  }
  manifest.memory_bytes_max = wire.memory_bytes_max();
  manifest.start_deadline = std::chrono::nanoseconds(wire.start_deadline_ns());
  manifest.unresponsive_after = std::chrono::nanoseconds(wire.unresponsive_after_ns());
  manifest.lease = std::chrono::nanoseconds(wire.lease_ns());
  for (const v1::Library& library : wire.libraries()) {
    ECHELON_ASSIGN_OR_RETURN(ManifestLibrary one, read_library(library));
    manifest.libraries.push_back(std::move(one));
  }
  for (const v1::Callable& callable : wire.callables()) {
    ECHELON_ASSIGN_OR_RETURN(ManifestCallable one, read_callable(callable));
    manifest.callables.push_back(std::move(one));
  }
  manifest.workers.assign(wire.workers().begin(), wire.workers().end());
  for (const v1::RemoteWorker& remote : wire.remote_workers()) {
    ECHELON_ASSIGN_OR_RETURN(ManifestRemote one, read_remote(remote, kManifestRemoteLevelsMax));
    manifest.remotes.push_back(std::move(one));
  }
  ECHELON_RETURN_IF_ERROR(check_manifest(manifest));
  return manifest;
}

void to_wire(const SessionReady& ready, v1::SessionReady& wire) {
  wire.set_protocol_major(kRemoteProtocolMajor);
  wire.set_protocol_minor(kRemoteProtocolMinor);
  wire.set_session(ready.session);
  wire.set_pid(ready.pid);
  wire.set_host(ready.host);
  wire.set_address(ready.address);
  wire.set_token(ready.token);
  wire.set_pool(ready.pool.value);
  wire.set_memory_bytes_max(ready.memory_bytes_max);
}

Result<SessionReady> from_wire(const v1::SessionReady& wire) {
  ECHELON_RETURN_IF_ERROR(check_protocol(wire.protocol_major(), wire.protocol_minor()));
  if (wire.address().empty() || wire.address().size() > kManifestPathBytesMax ||
      wire.host().size() > kManifestNameBytesMax || wire.token().empty() ||
      wire.token().size() > kTokenBytesMax) {
    return Status::error(
        Code::kDataLoss, Reason::kBadFrame,
        fmt::format("the daemon said READY with an address of {} bytes, a host of "
                    "{} and a token of {}",
                    wire.address().size(), wire.host().size(), wire.token().size()));
  }
  SessionReady ready;
  ready.session = wire.session();
  ready.pid = wire.pid();
  ready.host = wire.host();
  ready.address = wire.address();
  ready.token = wire.token();
  ready.pool = Uid{wire.pool()};
  ready.memory_bytes_max = wire.memory_bytes_max();
  return ready;
}

std::vector<std::byte> encode_manifest(const SessionManifest& manifest) {
  v1::SessionManifest wire;
  to_wire(manifest, wire);
  std::vector<std::byte> bytes(wire.ByteSizeLong());
  ECHELON_CHECK(wire.SerializeToArray(bytes.data(), static_cast<int>(bytes.size())), bytes.size());
  return bytes;
}

Result<SessionManifest> decode_manifest(std::span<const std::byte> bytes) {
  if (bytes.size() > kManifestBytesMax) return too_large(bytes.size());
  v1::SessionManifest wire;
  if (!wire.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Status::error(Code::kDataLoss, Reason::kBadFrame,
                         fmt::format("{} bytes that are no session manifest", bytes.size()));
  }
  return from_wire(wire);
}

}  // namespace echelon
