// SPDX-License-Identifier: Apache-2.0
#include "cli/tcp_floor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <span>
#include <system_error>
#include <utility>

#include "cli/statistics.h"
#include "cli/stopwatch.h"

namespace echelon::cli {
namespace {

constexpr unsigned kWarmUpTrips = 30;
/// Looks without news after which a side lets others run: they may share a core.
constexpr unsigned kLooksBeforeYield = 64;

/// The first byte: this is the last trip of the round.
using Message = std::array<unsigned char, 64>;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void send_at_once(const UniqueFd& socket) {
  const int yes = 1;
  if (setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0)
    fail("setsockopt(TCP_NODELAY)");
}

/// Both ends of one connection over loopback.
std::pair<UniqueFd, UniqueFd> connected_pair() {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd here(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener || !here) fail("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const at = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener.get(), at, size) != 0 || listen(listener.get(), 1) != 0) fail("listen");
  if (getsockname(listener.get(), at, &size) != 0) fail("getsockname");
  if (connect(here.get(), at, size) != 0) fail("connect");
  UniqueFd there(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!there) fail("accept4");
  send_at_once(here);
  send_at_once(there);
  return {std::move(here), std::move(there)};
}

/// False: the other end is gone.
bool send_message(const UniqueFd& socket, const Message& message) {
  // 64 bytes always fit: there is one message under way at most.
  return send(socket.get(), message.data(), message.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(message.size());
}

/// Asks again and again until all of it is there; with `sleep` in the kernel.
bool receive_message(const UniqueFd& socket, Message& message, bool sleep) {
  std::size_t have = 0;
  for (unsigned looks = 1; have < message.size(); ++looks) {
    const auto rest = std::span(message).subspan(have);
    const ssize_t got = recv(socket.get(), rest.data(), rest.size(), sleep ? 0 : MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (got > 0) have += static_cast<std::size_t>(got);
    if (looks % kLooksBeforeYield == 0) sched_yield();
  }
  return true;
}

[[noreturn]] void answer_for_ever(const UniqueFd& socket) {
  Message message{};
  bool between_rounds = true;
  while (receive_message(socket, message, between_rounds) && send_message(socket, message))
    between_rounds = message[0] != 0;
  _exit(0);
}

}  // namespace

TcpFloor::TcpFloor() {
  auto [here, there] = connected_pair();
  const pid_t parent = getpid();
  partner_ = fork();
  if (partner_ < 0) fail("fork");
  if (partner_ > 0) {
    socket_ = std::move(here);
    return;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  here.reset();
  // Nothing that waits for the end of this program's output should wait for the partner.
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
  answer_for_ever(there);
}

TcpFloor::~TcpFloor() {
  kill(partner_, SIGKILL);
  while (waitpid(partner_, nullptr, 0) < 0 && errno == EINTR) continue;
}

void TcpFloor::round(std::size_t samples) {
  const auto trip = [this](unsigned char last) {
    Message message{last};
    if (!send_message(socket_, message) || !receive_message(socket_, message, false))
      fail("the partner of the TCP floor");
  };
  for (unsigned i = 0; i < kWarmUpTrips; ++i) trip(0);
  for (std::size_t i = 0; i < samples; ++i) {
    const Stopwatch watch;
    trip(0);
    samples_.push_back(watch.ns());
  }
  trip(1);
}

double TcpFloor::p50() const {
  return percentile(samples_, 50);
}

}  // namespace echelon::cli
