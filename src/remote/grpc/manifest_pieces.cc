// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/manifest_pieces.h"

#include <echelon/v1/session.pb.h>
#include <fmt/format.h>

#include <algorithm>

#include "remote/manifest_check.h"

namespace echelon {
namespace {

Status bad_piece(std::string what) {
  return Status::error(Code::kInvalidArgument, Reason::kBadFrame,
                       "OpenSession: " + std::move(what));
}

}  // namespace

// --- the parent's --------------------------------------------------------------------------------

Status ManifestPieces::begin(const v1::SessionManifest& manifest, const std::string& path,
                             v1::OpenSessionRequest& first) {
  const std::size_t bytes = manifest.ByteSizeLong();
  if (bytes > kManifestBytesMax) {
    return Status::error(
        Code::kInvalidArgument, Reason::kTooLarge,
        fmt::format("{}: what was registered before start() takes {} bytes, and {} can be sent to "
                    "a session: register fewer or smaller libraries",
                    path, bytes, kManifestBytesMax));
  }
  if (bytes <= kManifestPieceBytesMax) {
    *first.mutable_manifest() = manifest;
    return {};
  }
  manifest.SerializeToString(&whole_);
  first.mutable_piece()->set_protocol_major(manifest.protocol_major());
  first.mutable_piece()->set_protocol_minor(manifest.protocol_minor());
  next(first);
  return {};
}

bool ManifestPieces::next(v1::OpenSessionRequest& request) {
  if (sent_ == whole_.size()) return false;
  const std::size_t bytes = std::min(kManifestPieceBytesMax, whole_.size() - sent_);
  request.mutable_piece()->set_total_bytes(whole_.size());
  request.mutable_piece()->set_bytes(whole_.data() + sent_, bytes);
  sent_ += bytes;
  return true;
}

// --- the daemon's --------------------------------------------------------------------------------

Status ManifestBudget::take(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes <= bytes_max_ && in_use_ <= bytes_max_ - bytes) {
    in_use_ += bytes;
    return {};
  }
  return Status::error(
      Code::kResourceExhausted, Reason::kExhausted,
      fmt::format("{} bytes more of a manifest: {} bytes of manifests are on their way to this "
                  "daemon, and {} may be at once (--memory): register less before start(), or try "
                  "again when the others are there",
                  bytes, in_use_, bytes_max_));
}

void ManifestBudget::give_back(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  in_use_ -= bytes;
}

std::uint64_t ManifestBudget::in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

Status ManifestAssembly::check(const v1::ManifestPiece& piece) const {
  if (!begun()) {
    ECHELON_RETURN_IF_ERROR(check_protocol(piece.protocol_major(), piece.protocol_minor()));
  }
  if (piece.total_bytes() > kManifestBytesMax) {
    return Status::error(Code::kInvalidArgument, Reason::kTooLarge,
                         fmt::format("a session manifest of {} bytes; at most {} are allowed: "
                                     "register fewer or smaller libraries before start()",
                                     piece.total_bytes(), kManifestBytesMax));
  }
  const std::uint64_t have = bytes_.size();
  const std::uint64_t bytes = piece.bytes().size();
  const std::uint64_t total = begun() ? total_ : piece.total_bytes();
  if (piece.total_bytes() == total && bytes != 0 && bytes <= kManifestPieceBytesMax &&
      bytes <= total - have) {
    return {};
  }
  return bad_piece(fmt::format("a manifest's piece of {} bytes of {}, where {} of {} have come",
                               bytes, piece.total_bytes(), have, total));
}

Result<bool> ManifestAssembly::add(const v1::ManifestPiece& piece) {
  Status taken = check(piece);
  if (taken.ok()) taken = budget_.take(piece.bytes().size());
  if (!taken.ok()) {
    clear();
    return taken;
  }
  total_ = piece.total_bytes();
  const auto bytes = std::as_bytes(std::span(piece.bytes()));
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return bytes_.size() == total_;
}

void ManifestAssembly::clear() {
  if (!bytes_.empty()) budget_.give_back(bytes_.size());
  bytes_ = {};
  total_ = 0;
}

}  // namespace echelon
