// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/accept_guard.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "remote/descriptors.h"

extern "C" int __real_accept4(int listener, sockaddr* address, socklen_t* address_bytes, int flags);

namespace echelon {
namespace {

using Tell = std::shared_ptr<std::function<void(std::string_view)>>;

/// While the kernel has no memory for a connection, which nothing here can change.
constexpr std::chrono::milliseconds kNap{10};
constexpr std::chrono::seconds kTellEvery{1};

class Refusals {
 public:
  void watch(const Tell& tell) {
    const std::lock_guard lock(mutex_);
    watching_.insert(tell);
  }
  void forget(const Tell& tell) {
    const std::lock_guard lock(mutex_);
    watching_.erase(tell);
  }
  void note() {
    std::set<Tell> watching;
    std::uint64_t count = 0;
    {
      const std::lock_guard lock(mutex_);
      ++count_;
      const auto now = std::chrono::steady_clock::now();
      if (told_ != decltype(told_)() && now - told_ < kTellEvery) return;
      told_ = now;
      count = count_;
      watching = watching_;
    }
    const std::string line = fmt::format(
        "connections are refused, {} so far: all descriptors but those kept for sessions are in "
        "use (limit {}). {}",
        count, descriptor_limit(), kDescriptorAdvice);
    for (const Tell& tell : watching) (*tell)(line);
  }

 private:
  std::mutex mutex_;
  std::set<Tell> watching_;
  std::chrono::steady_clock::time_point told_{};
  std::uint64_t count_ = 0;
};

Refusals& refusals() {
  // Never destroyed: threads of gRPC's may accept until the process ends.
  static Refusals& all = *std::make_unique<Refusals>().release();
  return all;
}

/// Given up for the moment in which a connection is refused that finds no descriptor.
class Spare {
 public:
  void keep() {
    if (fd_.load(std::memory_order_relaxed) >= 0) return;
    const int opened = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (opened < 0) return;
    int none = -1;
    if (!fd_.compare_exchange_strong(none, opened, std::memory_order_relaxed)) ::close(opened);
  }
  /// True: there was one, and the connection is gone.
  bool refuse_one(int listener) {
    const int given = fd_.exchange(-1, std::memory_order_relaxed);
    if (given < 0) return false;
    ::close(given);
    const int refused = __real_accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (refused >= 0) ::close(refused);
    keep();
    return refused >= 0;
  }

 private:
  std::atomic<int> fd_{-1};
};

Spare& spare() {
  static Spare one;
  return one;
}

/// The kernel gives the lowest number that is free: all below it are in use.
bool is_beyond(int fd) {
  const std::uint64_t limit = descriptor_limit();
  return static_cast<std::uint64_t>(fd) >= limit - std::min(kDescriptorsKept, limit / 4);
}

int try_later() {
  ::poll(nullptr, 0, static_cast<int>(kNap.count()));
  errno = EAGAIN;
  return -1;
}

}  // namespace

int accept_guarded(int listener, sockaddr* address, socklen_t* address_bytes, int flags) {
  const socklen_t room = address_bytes != nullptr ? *address_bytes : 0;
  for (;;) {
    spare().keep();
    if (address_bytes != nullptr) *address_bytes = room;
    const int fd = __real_accept4(listener, address, address_bytes, flags);
    if (fd >= 0 && !is_beyond(fd)) return fd;
    if (fd >= 0) {
      ::close(fd);
      refusals().note();
      continue;
    }
    switch (errno) {
      case EMFILE:
      case ENFILE:
        refusals().note();
        if (!spare().refuse_one(listener)) return try_later();
        break;
      // The connection's own, which had come and is gone (accept(2)).
      case ECONNABORTED:
      case EPROTO:
      case EPERM:
      case ENETDOWN:
      case ENOPROTOOPT:
      case EHOSTDOWN:
      case ENONET:
      case EHOSTUNREACH:
      case ENETUNREACH:
        break;
      case ENOBUFS:
      case ENOMEM:
        return try_later();
      default:
        return -1;
    }
  }
}

RefusalWatch::RefusalWatch(std::function<void(std::string_view line)> tell)
    : tell_(std::make_shared<std::function<void(std::string_view)>>(std::move(tell))) {
  refusals().watch(tell_);
  spare().keep();  // while there are some
}

RefusalWatch::~RefusalWatch() {
  refusals().forget(tell_);
}

}  // namespace echelon
