// SPDX-License-Identifier: Apache-2.0
//
// How an object knows that it is a copy in a forked process: the generation rises in each child of
// fork(2) (pthread_atfork), so what was made before the fork carries another number.
#pragma once

#include <cstdint>

namespace echelon {

/// Rises by one in every forked child, before fork() returns there. Threads: safe.
std::uint32_t fork_generation();

/// Remembers the process it was made in.
class ForkMark {
 public:
  ForkMark() : generation_(fork_generation()) {}
  /// True in a process forked since this mark was made.
  bool in_forked_copy() const { return generation_ != fork_generation(); }
  /// The copy is this process's own from now on.
  void adopt() { generation_ = fork_generation(); }

 private:
  std::uint32_t generation_;
};

}  // namespace echelon
