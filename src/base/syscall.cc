// SPDX-License-Identifier: Apache-2.0
#include "base/syscall.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

// Newer than the headers of the oldest system that we build on.
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

namespace echelon {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

timespec to_timespec(MonotonicNs ns) {
  timespec time{};
  time.tv_sec = static_cast<time_t>(ns / kNsPerSecond);
  time.tv_nsec = static_cast<long>(ns % kNsPerSecond);
  return time;
}

Status failed(std::string call) {
  const int error = errno;  // before anything below may change it
  return Status::from_errno(error, std::move(call));
}

/// Takes `fd` out of the range of stdin, stdout and stderr, where it lands in a program that has
/// closed those: a child would take its own stdio for it, and somebody might print into it.
UniqueFd lifted(int fd) {
  if (fd > STDERR_FILENO) return UniqueFd(fd);
  const int higher = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (higher < 0) return UniqueFd(fd);
  ::close(fd);
  return UniqueFd(higher);
}

FutexWait outcome_of(int error) {
  switch (error) {
    case EAGAIN:
      return FutexWait::kChanged;
    case ETIMEDOUT:
      return FutexWait::kTimedOut;
    default:
      return FutexWait::kInterrupted;
  }
}

}  // namespace

// --- memory
// ---------------------------------------------------------------------------------------

Result<UniqueFd> create_memfd(const char* name, std::uint64_t bytes, MemfdUse use) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const unsigned exec = use == MemfdUse::kExecutable ? MFD_EXEC : MFD_NOEXEC_SEAL;
  int fd = ::memfd_create(name, kFlags | exec);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create(name, kFlags);  // before Linux 6.3
  if (fd < 0) return failed(fmt::format("memfd_create({})", name));
  UniqueFd owned = lifted(fd);
  fd = owned.get();
  if (bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    return Status::from_errno(EFBIG, fmt::format("ftruncate({}, {})", name, bytes));
  }
  if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    return failed(fmt::format("ftruncate({}, {})", name, bytes));
  }
  return owned;
}

Status add_seals(int fd, int seals) {
  if (::fcntl(fd, F_ADD_SEALS, seals) == 0) return {};
  return failed(fmt::format("fcntl({}, F_ADD_SEALS, {:#x})", fd, seals));
}

Result<int> get_seals(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return failed(fmt::format("fcntl({}, F_GET_SEALS)", fd));
  return seals;
}

Result<std::uint64_t> file_bytes(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return failed(fmt::format("fstat({})", fd));
  return static_cast<std::uint64_t>(info.st_size);
}

// --- futex
// ----------------------------------------------------------------------------------------

FutexWait futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                     MonotonicNs deadline_ns) {
  const timespec deadline = to_timespec(deadline_ns);
  // BITSET takes an absolute time on CLOCK_MONOTONIC
  const long result =
      ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, expected,
                deadline_ns != 0 ? &deadline : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
  return result == 0 ? FutexWait::kWoken : outcome_of(errno);
}

int futex_wake(const std::atomic<std::uint32_t>& word, int count) {
  const long woken = ::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
  return woken > 0 ? static_cast<int>(woken) : 0;
}

int futex_requeue(const std::atomic<std::uint32_t>& from, int count,
                  const std::atomic<std::uint32_t>& to) {
  // The count goes where other calls have a time, and none is woken.
  const long moved =
      ::syscall(SYS_futex, &from, FUTEX_REQUEUE, 0, static_cast<long>(count), &to, 0);
  return moved > 0 ? static_cast<int>(moved) : 0;
}

Result<FutexWaitvResult> futex_waitv(std::span<const FutexWaiter> waiters,
                                     MonotonicNs deadline_ns) {
  // The kernel's struct futex_waitv and FUTEX2_SIZE_U32, which older headers lack.
  struct Waiter {
    std::uint64_t value;
    std::uint64_t address;
    std::uint32_t flags;
    std::uint32_t reserved;
  };
  constexpr std::uint32_t kSizeU32 = 2;
  ECHELON_CHECK(!waiters.empty() && waiters.size() <= kFutexWaitersMax, waiters.size());
  std::array<Waiter, kFutexWaitersMax> kernel;  // only the first waiters.size() are read
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    kernel[i] = {waiters[i].expected, reinterpret_cast<std::uintptr_t>(waiters[i].word), kSizeU32,
                 0};
  }
  const timespec deadline = to_timespec(deadline_ns);
  const long result = ::syscall(SYS_futex_waitv, kernel.data(), waiters.size(), 0,
                                deadline_ns != 0 ? &deadline : nullptr, CLOCK_MONOTONIC);
  if (result >= 0) return FutexWaitvResult{FutexWait::kWoken, static_cast<std::size_t>(result)};
  if (errno == EAGAIN || errno == ETIMEDOUT || errno == EINTR) {
    return FutexWaitvResult{outcome_of(errno), 0};
  }
  return failed(fmt::format("futex_waitv({} words)", waiters.size()));
}

// --- processes
// ------------------------------------------------------------------------------------

Result<UniqueFd> pidfd_open(pid_t pid) {
  const long fd = ::syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return failed(fmt::format("pidfd_open({})", pid));
  return lifted(static_cast<int>(fd));
}

Status pidfd_send_signal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return {};
  return failed(fmt::format("pidfd_send_signal({}, {})", pidfd, signal));
}

Status close_fd_range(unsigned first, unsigned last) {
  if (first > last || ::syscall(SYS_close_range, first, last, 0) == 0) return {};
  return failed(fmt::format("close_range({}, {})", first, last));
}

Result<UniqueFd> duplicate_fd(int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return failed(fmt::format("fcntl({}, F_DUPFD_CLOEXEC)", fd));
  return UniqueFd(copy);
}

// --- sockets
// --------------------------------------------------------------------------------------

Result<FdPair> create_socketpair() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return failed("socketpair(AF_UNIX, SOCK_SEQPACKET)");
  }
  return FdPair{lifted(fds[0]), lifted(fds[1])};
}

Result<FdPair> create_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return failed("pipe2()");
  return FdPair{lifted(fds[0]), lifted(fds[1])};
}

Status set_nonblocking(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return failed(fmt::format("fcntl({}, F_GETFL)", fd));
  const int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (::fcntl(fd, F_SETFL, wanted) != 0) return failed(fmt::format("fcntl({}, F_SETFL)", fd));
  return {};
}

namespace {

constexpr std::size_t kFdsRoom = CMSG_SPACE(sizeof(int) * kMessageFdsMax);

}  // namespace

Status send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds,
                    bool wait) {
  ECHELON_CHECK(fds.size() <= kMessageFdsMax, fds.size());
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<std::byte, kFdsRoom> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
  while (::sendmsg(socket, &message, flags) < 0) {
    if (errno != EINTR) return failed(fmt::format("sendmsg({} bytes)", bytes.size()));
  }
  return {};
}

Result<Message> receive_message(int socket, std::span<std::byte> buffer, bool wait) {
  iovec part{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<std::byte, kFdsRoom> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const int flags = MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT);
  ssize_t bytes = 0;
  while ((bytes = ::recvmsg(socket, &header, flags)) < 0) {
    if (errno == EINTR) continue;
    if (!wait && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      Message none;
      none.none = true;
      return none;
    }
    return failed("recvmsg()");
  }
  Message message;
  for (cmsghdr* part_of = CMSG_FIRSTHDR(&header); part_of != nullptr;
       part_of = CMSG_NXTHDR(&header, part_of)) {
    if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part_of->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part_of) + i * sizeof(int), sizeof(int));
      message.fds.push_back(lifted(fd));
    }
  }
  message.bytes = static_cast<std::size_t>(bytes);
  message.truncated = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  message.end = bytes == 0 && message.fds.empty() && !buffer.empty();
  return message;
}

}  // namespace echelon
