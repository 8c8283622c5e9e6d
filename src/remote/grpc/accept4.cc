// SPDX-License-Identifier: Apache-2.0
//
// gRPC's accept4(), and that of nothing else: gRPC is part of our own shared object (-Wl,--wrap,
// CMakeLists.txt). accept_guard.h says why.
#include "remote/grpc/accept_guard.h"

extern "C" {

int __wrap_accept4(int listener, sockaddr* address, socklen_t* address_bytes, int flags) {
  return echelon::accept_guarded(listener, address, address_bytes, flags);
}

}  // extern "C"
