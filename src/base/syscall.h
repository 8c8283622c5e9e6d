// SPDX-License-Identifier: Apache-2.0
//
// The system calls that the runtime is built on, each wrapped once: CLOEXEC everywhere, EINTR
// handled, errors as a Status with the call's text and errno (kSystem).
//
// Threads: safe. Fork: nothing here takes a lock.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/fd.h"
#include "base/status.h"

namespace echelon {

// --- memory
// ---------------------------------------------------------------------------------------

enum class MemfdUse : std::uint8_t {
  kData,        // never executable, where the kernel knows that (MFD_NOEXEC_SEAL)
  kExecutable,  // for dlopen
};

/// An anonymous memory file of `bytes` zero bytes that can be sealed. `name` is for /proc only.
Result<UniqueFd> create_memfd(const char* name, std::uint64_t bytes,
                              MemfdUse use = MemfdUse::kData);
/// Adds F_SEAL_* flags.
Status add_seals(int fd, int seals);
Result<int> get_seals(int fd);
/// Size of the file behind a descriptor.
Result<std::uint64_t> file_bytes(int fd);

// --- futex
// ----------------------------------------------------------------------------------------

enum class FutexWait : std::uint8_t {
  kWoken,        // or a spurious wake-up: look again
  kChanged,      // the word did not hold the expected value
  kTimedOut,     // the deadline has passed
  kInterrupted,  // a signal handler ran
};

/// Sleeps while *word == expected, for a process-shared word. `deadline_ns` is absolute on
/// CLOCK_MONOTONIC; 0: none. Blocking: yes.
FutexWait futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                     MonotonicNs deadline_ns);
/// Wakes up to `count` sleepers; returns how many there were.
int futex_wake(const std::atomic<std::uint32_t>& word, int count);
/// Has up to `count` sleepers on `from` sleep on `to` instead; returns how many. Costs a fraction
/// of waking them.
int futex_requeue(const std::atomic<std::uint32_t>& from, int count,
                  const std::atomic<std::uint32_t>& to);

struct FutexWaiter {
  const std::atomic<std::uint32_t>* word = nullptr;
  std::uint32_t expected = 0;
};
/// The kernel's own limit.
inline constexpr std::size_t kFutexWaitersMax = 128;

struct FutexWaitvResult {
  FutexWait outcome = FutexWait::kWoken;
  std::size_t index = 0;  // with kWoken: the one that was woken
};
/// Sleeps while every word holds what is expected of it. REQUIRES: 1..kFutexWaitersMax waiters.
/// Errors: kSystem where the kernel has no futex_waitv (before 5.16).
Result<FutexWaitvResult> futex_waitv(std::span<const FutexWaiter> waiters, MonotonicNs deadline_ns);

// --- processes
// ------------------------------------------------------------------------------------

Result<UniqueFd> pidfd_open(pid_t pid);
Status pidfd_send_signal(int pidfd, int signal);
/// Closes all descriptors from `first` to `last`, both included.
Status close_fd_range(unsigned first, unsigned last);
/// A second descriptor of the same file, CLOEXEC.
Result<UniqueFd> duplicate_fd(int fd);

// --- sockets
// --------------------------------------------------------------------------------------

struct FdPair {
  UniqueFd first, second;
};
/// Connected AF_UNIX SEQPACKET sockets: messages keep their bounds.
Result<FdPair> create_socketpair();
/// O_CLOEXEC; first is the reading end.
Result<FdPair> create_pipe();
Status set_nonblocking(int fd, bool on);

/// Descriptors in one message, at most.
inline constexpr std::size_t kMessageFdsMax = 16;

/// One message with descriptors. Never raises SIGPIPE. With `wait` false, kResourceExhausted
/// (EAGAIN) where the socket is full. REQUIRES: fds.size() <= kMessageFdsMax.
Status send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds,
                    bool wait = true);

struct Message {
  std::size_t bytes = 0;
  std::vector<UniqueFd> fds;
  bool truncated = false;  // longer than the buffer, or more descriptors than kMessageFdsMax
  bool end = false;        // the peer has closed
  bool none = false;       // with `wait` false: nothing there
};
/// One message into `buffer`. Errors: kSystem.
Result<Message> receive_message(int socket, std::span<std::byte> buffer, bool wait = true);

}  // namespace echelon
