// SPDX-License-Identifier: Apache-2.0
//
// UniqueFd: owns one file descriptor. Every descriptor of the runtime lives in one, is CLOEXEC, and
// is marked in a process-wide table, so that a forked child can close all of them but its own
// without asking any object of its parent's.
//
// Threads: an object is one thread's at a time; the table is lock-free.
// Fork: both copies own their own descriptor. After close_inherited_fds() the child must not run
// the destructors of inherited UniqueFds (it never returns into its parent's frames).
#pragma once

#include <cstddef>
#include <span>
#include <utility>

namespace echelon {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd);
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// Gives the descriptor away: no longer marked, no longer closed here.
  [[nodiscard]] int release();
  void reset();

 private:
  int fd_ = -1;
};

/// Descriptors above this are not marked (and so not closed in children).
inline constexpr int kMarkedFdMax = (1 << 20) - 1;

/// True if some UniqueFd of this process (or of the one it was forked from) holds `fd`.
bool fd_is_marked(int fd);

/// Closes every marked descriptor that is not in `keep`. Call in a forked child with one thread.
/// Takes no lock and allocates nothing. Returns how many it closed.
std::size_t close_inherited_fds(std::span<const int> keep);

}  // namespace echelon
