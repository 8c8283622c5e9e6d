// SPDX-License-Identifier: Apache-2.0
#include "remote/manifest_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "remote/transport.h"

namespace echelon {
namespace {

Status refuse(std::string what, Reason reason = Reason::kBadArgument) {
  return Status::error(Code::kInvalidArgument, reason, "session manifest: " + std::move(what));
}

Status check_text(std::string_view what, std::string_view text, std::size_t least,
                  std::size_t most) {
  if (text.size() >= least && text.size() <= most) return {};
  return refuse(
      fmt::format("its {} has {} bytes; {} to {} are allowed", what, text.size(), least, most));
}

/// What stands in logs and in the names of processes.
Status check_line(std::string_view what, std::string_view text) {
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  if (std::none_of(text.begin(), text.end(), control)) return {};
  return refuse(fmt::format("its {} has control characters", what));
}

Status check_count(std::string_view what, std::size_t count, std::size_t most) {
  if (count <= most) return {};
  return refuse(fmt::format("{} {}; at most {} are allowed", count, what, most), Reason::kTooLarge);
}

Status check_patience(std::string_view what, std::chrono::nanoseconds given,
                      std::chrono::nanoseconds least) {
  if (given >= least && given <= kSessionPatienceMax) return {};
  const auto seconds = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
  };
  return refuse(fmt::format("{} of {:g} s; {:g} s to {:g} s are allowed", what, seconds(given),
                            seconds(least), seconds(kSessionPatienceMax)));
}

Status check_digest(std::string_view what, const std::string& name, const Payload* payload,
                    const Digest& digest) {
  const Digest found = payload != nullptr ? sha256(payload->bytes()) : sha256(std::string_view());
  if (found == digest) return {};
  return refuse(fmt::format("{} '{}' says that its SHA-256 is {}, and it is {}", what, name,
                            to_hex(digest), to_hex(found)));
}

Status check_callable(std::size_t slot, const ManifestCallable& callable) {
  if (callable.kind > RegisteredKind::kLibrary) {
    return refuse(fmt::format("callable {} is of kind {}, which this version does not know", slot,
                              static_cast<unsigned>(callable.kind)));
  }
  if (callable.form > embedding::Form::kImage) {
    return refuse(fmt::format("callable {} is of form {}, which this version does not know", slot,
                              static_cast<unsigned>(callable.form)));
  }
  ECHELON_RETURN_IF_ERROR(check_text("callable's name", callable.name, 0, kCallableNameBytesMax));
  if (callable.form == embedding::Form::kInherited) return {};
  return check_digest("callable", callable.name, callable.payload.get(), callable.digest);
}

Status check_place(const SessionManifest& manifest) {
  ECHELON_RETURN_IF_ERROR(check_text("path", manifest.path, 1, kManifestPathBytesMax));
  ECHELON_RETURN_IF_ERROR(check_text("name", manifest.name, 1, kManifestNameBytesMax));
  ECHELON_RETURN_IF_ERROR(check_line("path", manifest.path));
  ECHELON_RETURN_IF_ERROR(check_line("name", manifest.name));
  if (manifest.runtime > SessionRuntime::kPython) {
    return refuse(fmt::format("runtime {}, which this version does not know",
                              static_cast<unsigned>(manifest.runtime)));
  }
  if (manifest.level < kSessionLevelMin || manifest.level > kSessionLevelMax) {
    return refuse(fmt::format("level {}; a session is a Worker of level {} to {}", manifest.level,
                              kSessionLevelMin, kSessionLevelMax));
  }
  return {};
}

Status check_chip(const ManifestChip& chip) {
  ECHELON_RETURN_IF_ERROR(check_text("chip's driver", chip.driver, 1, kManifestDriverBytesMax));
  // A file of that host's, as a path names one, would be the parent's choice of code to run.
  if (chip.driver.find('/') != std::string::npos) {
    return refuse(fmt::format(
        "chip driver \"{}\": on another host drivers are named, as `echelon doctor` lists them "
        "there; a path is for this machine's own",
        chip.driver));
  }
  if (chip.device < 0) {
    return refuse(fmt::format("chip device {}: devices are counted from 0", chip.device));
  }
  return {};
}

Status check_remotes(std::int32_t level, const std::vector<ManifestRemote>& remotes);

Status check_remote(std::int32_t level, const ManifestRemote& remote) {
  ECHELON_RETURN_IF_ERROR(
      check_text("remote Worker's name", remote.name, 1, kManifestNameBytesMax));
  ECHELON_RETURN_IF_ERROR(check_line("remote Worker's name", remote.name));
  ECHELON_RETURN_IF_ERROR(
      check_text("remote Worker's address", remote.address, 1, kManifestAddressBytesMax));
  ECHELON_RETURN_IF_ERROR(check_line("remote Worker's address", remote.address));
  ECHELON_RETURN_IF_ERROR(address_is_local(remote.address).status());
  if (remote.level < kSessionLevelMin || remote.level >= level) {
    return refuse(
        fmt::format("remote Worker {} is at level {}; below level {} belong levels {} "
                    "to {}",
                    remote.name, remote.level, level, kSessionLevelMin, level - 1));
  }
  if (remote.runtime > SessionRuntime::kPython) {
    return refuse(fmt::format("remote Worker {} of runtime {}, which this version does not know",
                              remote.name, static_cast<unsigned>(remote.runtime)));
  }
  ECHELON_RETURN_IF_ERROR(check_count("sub-workers", remote.sub_workers, kManifestSubWorkersMax));
  ECHELON_RETURN_IF_ERROR(check_count("chips", remote.chips.size(), kManifestChipsMax));
  for (const ManifestChip& chip : remote.chips) ECHELON_RETURN_IF_ERROR(check_chip(chip));
  if (remote.lane != "grpc") {
    return refuse(fmt::format("remote Worker {} by a lane \"{}\"; \"grpc\" is there", remote.name,
                              remote.lane));
  }
  ECHELON_RETURN_IF_ERROR(
      check_patience("a connect_timeout", remote.connect_timeout, kStartDeadlineMin));
  ECHELON_RETURN_IF_ERROR(check_patience("a lease", remote.lease, kSessionPatienceMin));
  ECHELON_RETURN_IF_ERROR(
      check_patience("a health_deadline", remote.health_deadline, kSessionPatienceMin));
  ECHELON_RETURN_IF_ERROR(
      check_patience("an unresponsive_after", remote.unresponsive_after, kSessionPatienceMin));
  return check_remotes(remote.level, remote.remotes);
}

Status check_remotes(std::int32_t level, const std::vector<ManifestRemote>& remotes) {
  ECHELON_RETURN_IF_ERROR(check_count("remote Workers", remotes.size(), kManifestRemotesMax));
  for (auto one = remotes.begin(); one != remotes.end(); ++one) {
    ECHELON_RETURN_IF_ERROR(check_remote(level, *one));
    if (std::any_of(remotes.begin(), one, [&](const auto& it) { return it.name == one->name; })) {
      return refuse(fmt::format("two remote Workers called {}", one->name));
    }
  }
  return {};
}

}  // namespace

Status check_protocol(std::uint32_t major, std::uint32_t minor) {
  if (major == kRemoteProtocolMajor) return {};
  return Status::error(
      Code::kUnimplemented, Reason::kBadArgument,
      fmt::format("protocol version {}.{} from the other side, and this one speaks {}.{}: run the "
                  "same Echelon on both hosts",
                  major, minor, kRemoteProtocolMajor, kRemoteProtocolMinor));
}

Status check_manifest(const SessionManifest& manifest) {
  ECHELON_RETURN_IF_ERROR(check_place(manifest));
  ECHELON_RETURN_IF_ERROR(check_count("sub-workers", manifest.sub_workers, kManifestSubWorkersMax));
  ECHELON_RETURN_IF_ERROR(check_count("chips", manifest.chips.size(), kManifestChipsMax));
  ECHELON_RETURN_IF_ERROR(
      check_count("libraries", manifest.libraries.size(), kManifestLibrariesMax));
  ECHELON_RETURN_IF_ERROR(
      check_count("callables", manifest.callables.size(), kManifestCallablesMax));
  ECHELON_RETURN_IF_ERROR(check_count("workers", manifest.workers.size(), kManifestWorkersMax));
  ECHELON_RETURN_IF_ERROR(
      check_patience("a start deadline", manifest.start_deadline, kStartDeadlineMin));
  ECHELON_RETURN_IF_ERROR(
      check_patience("an unresponsive_after", manifest.unresponsive_after, kSessionPatienceMin));
  ECHELON_RETURN_IF_ERROR(check_patience("a lease", manifest.lease, kSessionPatienceMin));
  for (const ManifestChip& chip : manifest.chips) ECHELON_RETURN_IF_ERROR(check_chip(chip));
  ECHELON_RETURN_IF_ERROR(check_remotes(manifest.level, manifest.remotes));
  for (const ManifestLibrary& library : manifest.libraries) {
    ECHELON_RETURN_IF_ERROR(check_text("library's name", library.name, 0, kCallableNameBytesMax));
    ECHELON_RETURN_IF_ERROR(
        check_digest("library", library.name, library.payload.get(), library.digest));
  }
  for (std::size_t i = 0; i < manifest.callables.size(); ++i) {
    ECHELON_RETURN_IF_ERROR(check_callable(i + 1, manifest.callables[i]));
  }
  return {};
}

}  // namespace echelon
