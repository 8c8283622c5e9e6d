// SPDX-License-Identifier: Apache-2.0
#include "api/manifest_remotes.h"

#include <fmt/format.h>

namespace echelon::detail {
namespace {

using std::chrono::ceil;
using std::chrono::milliseconds;

RemoteWorkerSpec spec_of(const ManifestRemote& remote) {
  RemoteWorkerSpec spec;
  spec.address = remote.address;
  spec.name = remote.name;
  spec.level = remote.level;
  spec.runtime = remote.runtime == SessionRuntime::kPython ? Runtime::kPython : Runtime::kNative;
  spec.sub_workers = static_cast<int>(remote.sub_workers);
  for (const ManifestChip& chip : remote.chips) spec.chips.push_back({chip.driver, chip.device});
  spec.memory_bytes_max = remote.memory_bytes_max;
  spec.lane = remote.lane;
  spec.insecure = remote.insecure;
  spec.trust_results = remote.trust_results;
  spec.stage = remote.stage_copies ? Stage::kCopy : Stage::kRefuse;
  spec.direct_copies = remote.direct_copies;
  spec.connect_timeout = ceil<milliseconds>(remote.connect_timeout);
  spec.lease = ceil<milliseconds>(remote.lease);
  spec.health_deadline = ceil<milliseconds>(remote.health_deadline);
  spec.unresponsive_after = ceil<milliseconds>(remote.unresponsive_after);
  for (const ManifestRemote& below : remote.remotes) spec.remote_workers.push_back(spec_of(below));
  return spec;
}

}  // namespace

std::string lane_of(const RemoteWorkerSpec& spec) {
  return spec.lane == "auto" ? "grpc" : spec.lane;
}

std::vector<ManifestChip> manifest_chips(const RemoteWorkerSpec& spec) {
  std::vector<ManifestChip> chips;
  for (const ChipSpec& chip : spec.chips) chips.push_back({chip.driver, chip.device});
  return chips;
}

std::vector<ManifestRemote> manifest_remotes(const RemoteWorkerSpec& spec) {
  std::vector<ManifestRemote> remotes;
  for (const RemoteWorkerSpec& below : spec.remote_workers) {
    ManifestRemote& remote = remotes.emplace_back();
    remote.address = below.address;
    remote.name = below.name;
    remote.level = below.level;
    remote.runtime =
        below.runtime == Runtime::kPython ? SessionRuntime::kPython : SessionRuntime::kNative;
    remote.sub_workers = static_cast<std::uint32_t>(below.sub_workers);
    remote.chips = manifest_chips(below);
    remote.memory_bytes_max = below.memory_bytes_max;
    remote.lane = lane_of(below);
    remote.insecure = below.insecure;
    remote.trust_results = below.trust_results;
    remote.stage_copies = below.stage == Stage::kCopy;
    remote.direct_copies = below.direct_copies;
    remote.connect_timeout = below.connect_timeout;
    remote.lease = below.lease;
    remote.health_deadline = below.health_deadline;
    remote.unresponsive_after = below.unresponsive_after;
    remote.remotes = manifest_remotes(below);
  }
  return remotes;
}

Result<std::shared_ptr<const RemoteWorkerSpec>> remote_spec(const ManifestRemote& remote,
                                                            const Credentials& own) {
  RemoteWorkerSpec spec = spec_of(remote);
  if (!spec.insecure) spec.tls_dir = own.tls_dir;
  ECHELON_ASSIGN_OR_RETURN(const bool local, address_is_local(spec.address));
  if (!local && spec.tls_dir.empty() && !spec.insecure) {
    return Status::error(
        Code::kInvalidArgument, Reason::kBadArgument,
        fmt::format("{} at {} is another host, and nothing protects the way there: start the "
                    "daemon of this host with --tls-dir, or say insecure in the spec of {}",
                    spec.name, spec.address, spec.name));
  }
  return std::make_shared<const RemoteWorkerSpec>(std::move(spec));
}

}  // namespace echelon::detail
