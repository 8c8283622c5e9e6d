// SPDX-License-Identifier: Apache-2.0
//
// Payload: the bytes that a callable is made from in another process - serialised code, a shared
// object, a chip image. Small ones travel in the control frame itself; larger ones as one sealed
// memory file, which every process of the subtree maps and none copies.
//
// Ownership: shared and immutable. Threads: safe. Blocking: make_file() copies once.
// Fork: not for a forked child, unless it was made with PayloadFork::kKept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/mapping.h"
#include "base/status.h"
#include "base/syscall.h"

namespace echelon {

inline constexpr std::uint64_t kPayloadBytesMax = std::uint64_t{1} << 30;
/// Whether forked children have it, too: what was registered before start() may have to go to
/// another host from one of them.
enum class PayloadFork : std::uint8_t { kNotKept, kKept };
/// Up to here a payload goes into its frame.
inline constexpr std::size_t kInlinePayloadMax = 8 * 1024;

class Payload {
 public:
  /// A copy of small bytes. REQUIRES: bytes.size() <= kInlinePayloadMax.
  static std::shared_ptr<const Payload> small(std::span<const std::byte> bytes);
  /// A copy, inline or in a new sealed file, as its size asks for. Errors: kTooLarge, kSystem.
  static Result<std::shared_ptr<const Payload>> make(std::span<const std::byte> bytes,
                                                     MemfdUse use = MemfdUse::kData);
  /// A copy in a sealed file, whatever its size: what is opened by descriptor. Errors: as make().
  static Result<std::shared_ptr<const Payload>> make_file(std::span<const std::byte> bytes,
                                                          MemfdUse use,
                                                          PayloadFork fork = PayloadFork::kNotKept);
  /// A file that a peer has sent, or that is sealed already. Errors: kBadFrame (not sealed against
  /// writing and resizing, or of another size), kSystem.
  static Result<std::shared_ptr<const Payload>> open(UniqueFd fd, std::uint64_t bytes,
                                                     PayloadFork fork = PayloadFork::kNotKept);
  ~Payload();
  Payload(const Payload&) = delete;
  Payload& operator=(const Payload&) = delete;

  std::span<const std::byte> bytes() const {
    return mapping_ ? std::span<const std::byte>(mapping_.bytes()) : std::span(inline_);
  }
  /// -1: inline.
  int fd() const { return file_ ? file_.get() : kept_file_; }

 private:
  Payload() = default;

  std::vector<std::byte> inline_;
  UniqueFd file_;
  int kept_file_ = -1;  // with kKept: not marked (base/fd.h), so that no child closes it
  Mapping mapping_;
};

}  // namespace echelon
