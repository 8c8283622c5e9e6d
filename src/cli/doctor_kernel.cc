// SPDX-License-Identifier: Apache-2.0
//
// What the runtime asks of the kernel, tried out.
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <new>
#include <system_error>

#include "base/syscall.h"
#include "cli/anonymous_memory.h"
#include "cli/doctor.h"
#include "cli/stopwatch.h"

namespace echelon::cli {
namespace {

constexpr int kDeathWithinMs = 5000;

[[noreturn]] void throw_errno(int error, const char* call) {
  throw std::system_error(error, std::generic_category(), call);
}

/// Runs `body` in a child, which then ends with what it returned.
template <class Body>
pid_t fork_child(Body&& body) {
  const pid_t child = fork();
  if (child < 0) throw_errno(errno, "fork");
  if (child == 0) _exit(body());
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw_errno(errno, "waitpid");
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Finding check_futex() {
  const AnonymousMemory memory(sizeof(std::atomic<std::uint32_t>), AnonymousMemory::Kind::kShared);
  auto& word = *new (memory.data()) std::atomic<std::uint32_t>{0};
  const pid_t child = fork_child([&word] {
    // Pairs with the store below, which wakes this sleeper.
    while (word.load(std::memory_order_acquire) == 0) futex_wait(word, 0, 0);
    return 0;
  });
  word.store(1, std::memory_order_release);  // pairs with the child's load
  futex_wake(word, 1);
  if (wait_for(child) != 0) return {Verdict::kFail, "a sleeping process was not woken"};
  return {Verdict::kOk, "one process wakes another through shared memory"};
}

Finding check_futex_waitv() {
  const std::atomic<std::uint32_t> first{0}, second{0};
  const FutexWaiter waiters[] = {{&first, 0}, {&second, 0}};
  const auto result = futex_waitv(waiters, now_ns() + 1000);
  if (!result.ok()) {
    return {Verdict::kFail, result.status().info().message,
            "Linux 5.16 or newer, and a container that lets futex_waitv pass, are needed"};
  }
  return {Verdict::kOk, "a thread sleeps on many words at once"};
}

/// A mutex in shared memory that tells when its owner has died.
class RobustMutex {
 public:
  RobustMutex() : memory_(sizeof(pthread_mutex_t), AnonymousMemory::Kind::kShared) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    const int error = pthread_mutex_init(get(), &attributes);
    pthread_mutexattr_destroy(&attributes);
    if (error != 0) throw_errno(error, "pthread_mutex_init");
  }
  pthread_mutex_t* get() const { return static_cast<pthread_mutex_t*>(memory_.data()); }

 private:
  AnonymousMemory memory_;
};

Finding check_robust_futex() {
  const RobustMutex mutex;
  wait_for(fork_child([&mutex] { return pthread_mutex_lock(mutex.get()); }));
  const int state = pthread_mutex_trylock(mutex.get());
  if (state == EOWNERDEAD)
    return {Verdict::kOk, "the death of a process shows in a word of memory"};
  return {Verdict::kFail, fmt::format("the death of a lock's owner was not seen (error {})", state),
          "some sandboxes leave robust futexes out; the runtime learns of deaths by them"};
}

Finding check_pidfd() {
  const pid_t child = fork_child([] { return pause(); });
  const auto pidfd = pidfd_open(child);
  Status sent;
  if (pidfd.ok()) sent = pidfd_send_signal(pidfd->get(), SIGKILL);
  if (!pidfd.ok() || !sent.ok()) {
    kill(child, SIGKILL);
    wait_for(child);
    return {Verdict::kFail, (pidfd.ok() ? sent : pidfd.status()).info().message,
            "processes are held by pidfd, so that no other is ever killed: allow these calls"};
  }
  pollfd ended{pidfd->get(), POLLIN, 0};
  const bool seen = ::poll(&ended, 1, kDeathWithinMs) == 1;
  wait_for(child);
  if (!seen) return {Verdict::kFail, "the end of a process does not show in its pidfd"};
  return {Verdict::kOk, "processes are held and ended by descriptor"};
}

Finding check_parent_death() {
  const int refused = wait_for(fork_child([] {
    const bool armed = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    const bool reaper = prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
    return armed && reaper ? 0 : 1;
  }));
  if (refused == 0) return {Verdict::kOk, "children end with their parent, and orphans are found"};
  return {Verdict::kFail, "PR_SET_PDEATHSIG or PR_SET_CHILD_SUBREAPER is refused",
          "without them a killed tree could leave processes behind: allow prctl"};
}

constexpr Check kChecks[] = {
    {"Kernel", "futex", check_futex},
    {"Kernel", "futex_waitv", check_futex_waitv},
    {"Kernel", "robust futex", check_robust_futex},
    {"Kernel", "pidfd", check_pidfd},
    {"Kernel", "parentage", check_parent_death},
};

}  // namespace

std::span<const Check> kernel_checks() {
  return kChecks;
}

}  // namespace echelon::cli
