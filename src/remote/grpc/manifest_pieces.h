// SPDX-License-Identifier: Apache-2.0
//
// Manifests that are too large for one message (proto/echelon/v1/session.proto, ManifestPiece). A
// daemon takes no message that is larger than a piece, and counts what it holds of all manifests
// that are on their way, before any of them is read.
//
// Threads: ManifestBudget safe; the others one at a time. Blocking: never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace echelon::v1 {
class ManifestPiece;
class OpenSessionRequest;
class SessionManifest;
}  // namespace echelon::v1

namespace echelon {

/// What is left out of a manifest that goes as one message.
inline constexpr std::size_t kManifestPieceBytesMax = std::size_t{1} << 20;

/// A parent's: what it writes, message by message.
class ManifestPieces {
 public:
  /// The first message. Errors: kTooLarge, with what can be done; `path` names the session.
  Status begin(const v1::SessionManifest& manifest, const std::string& path,
               v1::OpenSessionRequest& first);
  /// False: there are no more.
  bool next(v1::OpenSessionRequest& request);

 private:
  std::string whole_;
  std::size_t sent_ = 0;
};

/// What a daemon may hold of manifests that are not whole yet.
class ManifestBudget {
 public:
  explicit ManifestBudget(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}
  /// Errors: kExhausted, with what is asked for, what is in use, and of how much.
  Status take(std::uint64_t bytes);
  void give_back(std::uint64_t bytes);
  std::uint64_t in_use() const;

 private:
  const std::uint64_t bytes_max_;
  mutable std::mutex mutex_;
  std::uint64_t in_use_ = 0;
};

/// A daemon's: puts one together.
class ManifestAssembly {
 public:
  /// `budget` must outlive it.
  explicit ManifestAssembly(ManifestBudget& budget) : budget_(budget) {}
  ~ManifestAssembly() { clear(); }
  ManifestAssembly(const ManifestAssembly&) = delete;
  ManifestAssembly& operator=(const ManifestAssembly&) = delete;

  bool begun() const { return total_ != 0; }
  /// True: it is whole. Errors, after which nothing of it is held: kTooLarge, kBadFrame, the
  /// budget's; kBadArgument (Code::kUnimplemented) for a parent of another version.
  Result<bool> add(const v1::ManifestPiece& piece);
  std::span<const std::byte> bytes() const { return bytes_; }
  void clear();

 private:
  Status check(const v1::ManifestPiece& piece) const;

  ManifestBudget& budget_;
  std::uint64_t total_ = 0;
  std::vector<std::byte> bytes_;
};

}  // namespace echelon
