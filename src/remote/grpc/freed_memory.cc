// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/freed_memory.h"

#include <cstdlib>

#include "remote/lane.h"

namespace echelon {

void keep_freed_memory() {
  // mallopt() would do the same and end the C library's own adjusting for good, which is the
  // program's to decide.
  static const bool done = [] {
    void* volatile block = std::malloc(kLaneBufferBytes);
    std::free(block);
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace echelon
