// SPDX-License-Identifier: Apache-2.0
#include "cli/floor.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <new>
#include <system_error>

#include "base/syscall.h"
#include "cli/statistics.h"
#include "cli/stopwatch.h"

namespace echelon::cli {
namespace {

constexpr std::size_t kBodyBytes = 60;
/// Trips before a round counts: the partner wakes up and finds its core.
constexpr unsigned kWarmUpTrips = 2000;
/// Bounds where others compute and each trip costs a change of processes.
constexpr double kWarmUpMsMax = 5;
constexpr double kRoundMsMax = 20;
/// Spins without news after which a side lets others run: they may share a core.
constexpr unsigned kSpinsBeforeYield = 4096;

/// One message: 64 bytes, one cache line.
struct alignas(64) MessageData {
  std::atomic<std::uint32_t> stamp;
  unsigned char body[kBodyBytes];  // the first byte: this is the last trip of the round
};
static_assert(sizeof(MessageData) == 64);

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void send(MessageData& to, const unsigned char* body, std::uint32_t stamp) {
  std::memcpy(to.body, body, kBodyBytes);
  // Pairs with receive() in the other process: publishes the body.
  to.stamp.store(stamp, std::memory_order_release);
}

void receive(MessageData& from, unsigned char* body, std::uint32_t stamp) {
  unsigned spins = 0;
  // Pairs with send() in the other process: the body is there with the stamp.
  while (from.stamp.load(std::memory_order_acquire) != stamp) {
    relax();
    if (++spins % kSpinsBeforeYield == 0) sched_yield();
  }
  std::memcpy(body, from.body, kBodyBytes);
}

}  // namespace

struct FloorMeter::PageData {
  MessageData there, back;
  alignas(64) std::atomic<std::uint32_t> rounds;  // the partner sleeps on it between rounds
};

FloorMeter::FloorMeter() : memory_(sizeof(PageData), AnonymousMemory::Kind::kShared) {
  new (memory_.data()) PageData{};
  const pid_t parent = getpid();
  partner_ = fork();
  if (partner_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (partner_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  // Nothing that waits for the end of this program's output should wait for the partner.
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
  answer_for_ever();
}

FloorMeter::~FloorMeter() {
  kill(partner_, SIGKILL);
  while (waitpid(partner_, nullptr, 0) < 0 && errno == EINTR) continue;
}

FloorMeter::PageData& FloorMeter::page() const {
  return *static_cast<PageData*>(memory_.data());
}

void FloorMeter::answer_for_ever() {
  unsigned char body[kBodyBytes] = {};
  std::uint32_t trips = 0;
  for (std::uint32_t round = 0;; ++round) {
    // Pairs with the fetch_add in round(), which wakes this sleeper.
    while (page().rounds.load(std::memory_order_acquire) == round)
      futex_wait(page().rounds, round, 0);
    do {
      receive(page().there, body, ++trips);
      send(page().back, body, trips);
    } while (body[0] == 0);
  }
}

void FloorMeter::trip(unsigned char last) {
  unsigned char body[kBodyBytes] = {last};
  send(page().there, body, ++trips_);
  receive(page().back, body, trips_);
}

void FloorMeter::round(std::size_t samples) {
  page().rounds.fetch_add(1, std::memory_order_release);  // pairs with answer_for_ever()'s load
  futex_wake(page().rounds, 1);
  const Stopwatch round;
  for (unsigned i = 0; i < kWarmUpTrips && round.ms() < kWarmUpMsMax; ++i) trip(0);
  for (std::size_t i = 0; i < samples && (i == 0 || round.ms() < kRoundMsMax); ++i) {
    const Stopwatch watch;
    for (unsigned k = 0; k < kTripsPerSample; ++k) trip(0);
    samples_.push_back(watch.ns() / kTripsPerSample);
  }
  trip(1);
}

double FloorMeter::p50() const {
  return percentile(samples_, 50);
}
double FloorMeter::p99() const {
  return percentile(samples_, 99);
}

}  // namespace echelon::cli
