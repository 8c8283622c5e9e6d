// SPDX-License-Identifier: Apache-2.0
//
// Segment: one piece of anonymous shared memory, sealed against shrinking and growing, with its
// descriptor and its mapping. Without a name there is nothing to leak (P2); sealed there is no
// SIGBUS, whatever a peer does.
//
// Ownership: descriptor and mapping end with the object. The memory itself ends with its last
// holder. Fork: see MapOptions::dont_fork.
#pragma once

#include <cstddef>
#include <span>

#include "base/fd.h"
#include "base/mapping.h"
#include "base/status.h"

namespace echelon {

class Segment {
 public:
  Segment() = default;

  /// `bytes` zero bytes (rounded up to pages). Errors: kSystem.
  static Result<Segment> create(const char* name, std::size_t bytes, const MapOptions& options);

  /// What a peer has sent. Errors: kBadFrame (not sealed against shrinking, or not of the expected
  /// size), kSystem. `expected_bytes` 0: any size from 1 byte up.
  static Result<Segment> open(UniqueFd fd, std::size_t expected_bytes, const MapOptions& options);

  /// After this no further mapping of it can be writable; those that exist stay so.
  Status seal_future_writes();

  /// Its mapping goes elsewhere; see Mapping::move_away(). REQUIRES: not close_fd() before.
  Status move_away(const MapOptions& options) { return mapping_.move_away(fd(), options); }

  int fd() const { return fd_.get(); }
  std::byte* data() const { return mapping_.data(); }
  std::size_t size() const { return mapping_.size(); }
  std::span<std::byte> bytes() const { return mapping_.bytes(); }
  explicit operator bool() const { return static_cast<bool>(mapping_); }
  /// The mapping stays; the descriptor goes.
  void close_fd() { fd_.reset(); }

 private:
  UniqueFd fd_;
  Mapping mapping_;
};

}  // namespace echelon
