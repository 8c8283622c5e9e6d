// SPDX-License-Identifier: Apache-2.0
//
// How connections are accepted where descriptors are few. gRPC 1.51 takes any failure of accept()
// but EAGAIN and EINTR for the end of the listener: one EMFILE, and nobody gets in any more, for
// ever. Its accept4() therefore goes through here (-Wl,--wrap, accept4.cc): a failure of one
// connection is never one of the listener, and the last descriptors are kept for sessions, files
// and logs - who comes beyond that is refused while there is still something to refuse with.
//
// Threads: safe. Blocking: for 10 ms where the kernel has no memory for a connection.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

namespace echelon {

/// As accept4(), of which errno EAGAIN, EINTR and what is wrong with `listener` itself come
/// through.
int accept_guarded(int listener, sockaddr* address, socklen_t* address_bytes, int flags);

/// Hears what an operator should, while it lives, at most once a second: that connections are
/// refused, how many, and what to do. Called by who accepts; must not block.
class RefusalWatch {
 public:
  explicit RefusalWatch(std::function<void(std::string_view line)> tell);
  ~RefusalWatch();
  RefusalWatch(const RefusalWatch&) = delete;
  RefusalWatch& operator=(const RefusalWatch&) = delete;

 private:
  const std::shared_ptr<std::function<void(std::string_view)>> tell_;
};

}  // namespace echelon
