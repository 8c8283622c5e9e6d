// SPDX-License-Identifier: Apache-2.0
//
// TcpFloor: what TCP over loopback can do at best - 64 bytes to another process and back, both ends
// asking their socket again and again (docs/design/0008-measuring.md). Taken in short rounds, as
// FloorMeter; between them the partner sleeps.
//
// Processes: forks one, killed with this object or with this process. Make it before any Worker is
//   started.
// Threads: one. Blocking: as long as a round takes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <vector>

#include "base/fd.h"

namespace echelon::cli {

class TcpFloor {
 public:
  /// Throws std::system_error.
  TcpFloor();
  ~TcpFloor();
  TcpFloor(const TcpFloor&) = delete;
  TcpFloor& operator=(const TcpFloor&) = delete;

  /// Takes so many samples, each of one trip, after a warm-up. Throws std::system_error.
  void round(std::size_t samples);
  /// Of all samples so far, in nanoseconds.
  double p50() const;

 private:
  UniqueFd socket_;
  pid_t partner_ = -1;
  std::vector<double> samples_;
};

}  // namespace echelon::cli
