// SPDX-License-Identifier: Apache-2.0
#include "remote/ucx/ucx_watch.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "remote/ucx/ucx_context.h"

namespace echelon {
namespace {

/// Between looks at lanes that are polled: the first, and the longest.
constexpr int kTickMs = 1;
constexpr int kTickMsMax = 8;
constexpr std::int64_t kNsAMs = 1'000'000;

}  // namespace

UcxWatch& UcxWatch::get() {
  // Destroyed, and its thread joined, before UCX is: this object needs that one.
  static UcxWatch watch;
  return watch;
}

UcxWatch::UcxWatch() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), bell_(::eventfd(0, EFD_CLOEXEC)) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, bell_.get(), &event);
}

UcxWatch::~UcxWatch() {
  stopping_.store(true, std::memory_order_relaxed);
  look();
  if (thread_.joinable()) thread_.join();
}

Status UcxWatch::add(std::shared_ptr<UcxWatched> watched) {
  epoll_event event{};
  event.events = EPOLLONESHOT;
  event.data.ptr = watched.get();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watched->event_fd(), &event) != 0) {
    return Status::from_errno(errno, "epoll_ctl(a lane's events)");
  }
  {
    const std::lock_guard lock(mutex_);
    all_.push_back(std::move(watched));
    if (!thread_.joinable()) {
      const SignalsBlocked blocked;
      thread_ = std::thread([this] { run(); });
    }
  }
  look();
  return {};
}

void UcxWatch::wait_for_event(UcxWatched& watched) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.ptr = &watched;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, watched.event_fd(), &event);
}

void UcxWatch::look() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto sent = ::write(bell_.get(), &one, sizeof one);
}

void UcxWatch::run() {
  ::pthread_setname_np(::pthread_self(), "ucx watch");
  std::array<epoll_event, 16> events;
  while (!stopping_.load(std::memory_order_relaxed)) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), sleep_ms());
    for (int i = 0; i < count; ++i) {
      auto* const watched = static_cast<UcxWatched*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (watched != nullptr) {
        tend(watched, UcxWatched::Why::kEvent);
      }
      quiet_ticks_ = 0;
    }
    tick();
  }
}

/// Until the next look at what is polled, or the next deadline.
int UcxWatch::sleep_ms() {
  SystemEnv env;
  const MonotonicNs now = env.now_ns();
  std::int64_t sleep = -1;
  const std::lock_guard lock(mutex_);
  for (const auto& watched : all_) {
    if (watched->polled()) {
      const std::int64_t ticks =
          std::min<std::int64_t>(kTickMs << std::min(quiet_ticks_, 8U), kTickMsMax);
      sleep = sleep < 0 ? ticks : std::min(sleep, ticks);
    }
    if (const MonotonicNs until = watched->deadline_ns(); until != 0) {
      const std::int64_t left =
          until > now ? static_cast<std::int64_t>(until - now) / kNsAMs + 1 : 0;
      sleep = sleep < 0 ? left : std::min(sleep, left);
    }
  }
  return static_cast<int>(sleep);
}

void UcxWatch::tick() {
  SystemEnv env;
  const MonotonicNs now = env.now_ns();
  ++quiet_ticks_;
  std::vector<std::shared_ptr<UcxWatched>> due;
  std::vector<std::shared_ptr<UcxWatched>> polled;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& watched : all_) {
      const MonotonicNs until = watched->deadline_ns();
      if (until != 0 && until <= now) {
        due.push_back(watched);
      } else if (watched->polled()) {
        polled.push_back(watched);
      }
    }
  }
  for (const auto& watched : due) tend(watched.get(), UcxWatched::Why::kDeadline);
  for (const auto& watched : polled) tend(watched.get(), UcxWatched::Why::kTick);
}

void UcxWatch::tend(UcxWatched* watched, UcxWatched::Why why) {
  if (watched->tend(why)) return;
  std::shared_ptr<UcxWatched> over;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(all_.begin(), all_.end(),
                                    [&](const auto& one) { return one.get() == watched; });
    if (found == all_.end()) return;
    over = std::move(*found);
    all_.erase(found);
  }
  // Before the descriptor is closed, and its number another's.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, over->event_fd(), nullptr);
  over->release();
}

}  // namespace echelon
