// SPDX-License-Identifier: Apache-2.0
#include "remote/faults/fault_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <deque>
#include <list>
#include <utility>

namespace echelon::remote_test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPieceBytes = 64 << 10;
/// Of one direction of one connection; then its sender waits.
constexpr std::size_t kWaitingBytesMax = 4 << 20;

using Command = FaultProxy::Command;

sockaddr_in at(const std::string& address, std::uint16_t port) {
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &place.sin_addr);
  return place;
}

/// One direction of a connection.
struct Way {
  struct Piece {
    std::vector<char> bytes;
    Clock::time_point due;
  };
  std::deque<Piece> waiting;
  std::size_t waiting_bytes = 0;
  bool ended = false;  // its sender has said all
};

struct Connection {
  std::uint32_t bit = 0;
  std::array<UniqueFd, 2> ends;
  std::array<Way, 2> ways;  // from ends[i]
  bool broken = false;

  /// Both sides see a reset, not an end.
  void cut() {
    for (UniqueFd& end : ends) {
      const linger now{1, 0};
      ::setsockopt(end.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
      end.reset();
    }
    broken = true;
  }
};

class Loop {
 public:
  Loop(const FaultProxy::Options& options, UniqueFd commands)
      : target_(options.target), commands_(std::move(commands)) {
    for (const std::uint16_t port : options.ports) listen(options.listen, port);
  }

  bool listening() const { return listening_; }
  /// Until the test closes its end.
  void run();

 private:
  void listen(const std::string& address, std::uint16_t port);
  bool obey();
  void accept(int listener, std::uint16_t port);
  void receive(Connection& connection, std::size_t way);
  void pass_on(Connection& connection, std::size_t way, Clock::time_point now);
  std::vector<pollfd> watched() const;
  int wait_ms(Clock::time_point now) const;
  bool is(ProxyFault fault, const Connection& connection) const {
    return command_.fault == fault && (command_.connections & connection.bit) != 0;
  }

  const std::string target_;
  const UniqueFd commands_;
  std::vector<std::pair<UniqueFd, std::uint16_t>> listeners_;
  bool listening_ = true;
  Command command_;
  std::uint32_t accepted_ = 0;
  std::list<Connection> connections_;
};

void Loop::listen(const std::string& address, std::uint16_t port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in place = at(address, port);
  const bool bound =
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) == 0;
  listening_ = listening_ && bound && ::listen(socket.get(), 16) == 0;
  listeners_.emplace_back(std::move(socket), port);
}

bool Loop::obey() {
  Command command;
  if (::recv(commands_.get(), &command, sizeof command, 0) != sizeof command) return false;
  command_ = command;
  for (Connection& connection : connections_) {
    if (is(ProxyFault::kCut, connection)) connection.cut();
  }
  return ::send(commands_.get(), "!", 1, MSG_NOSIGNAL) == 1;
}

void Loop::accept(int listener, std::uint16_t port) {
  UniqueFd here(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  UniqueFd there(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in place = at(target_, port);
  if (!here ||
      ::connect(there.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) != 0) {
    return;  // and so the one who asked is turned away, too
  }
  Connection& made = connections_.emplace_back();
  made.bit = 1u << std::min(accepted_++, 31u);
  for (UniqueFd* end : {&here, &there}) ::fcntl(end->get(), F_SETFL, O_NONBLOCK);
  made.ends = {std::move(here), std::move(there)};
}

void Loop::receive(Connection& connection, std::size_t way) {
  Way& to = connection.ways[way];
  std::vector<char> bytes(kPieceBytes);
  const ssize_t got = ::recv(connection.ends[way].get(), bytes.data(), bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got < 0) return connection.cut();
  to.ended = got == 0;
  if (to.ended) return;
  bytes.resize(static_cast<std::size_t>(got));
  if (is(ProxyFault::kCorrupt, connection)) {
    for (char& byte : bytes) byte = static_cast<char>(byte ^ 0x5A);
  }
  to.waiting_bytes += bytes.size();
  to.waiting.push_back(
      {std::move(bytes), Clock::now() + std::chrono::milliseconds(command_.delay_ms)});
}

void Loop::pass_on(Connection& connection, std::size_t way, Clock::time_point now) {
  Way& from = connection.ways[way];
  const int to = connection.ends[1 - way].get();
  while (!from.waiting.empty() && from.waiting.front().due <= now) {
    std::vector<char>& bytes = from.waiting.front().bytes;
    const ssize_t sent = ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return connection.cut();
    if (sent < 0) return;
    from.waiting_bytes -= static_cast<std::size_t>(sent);
    bytes.erase(bytes.begin(), bytes.begin() + sent);
    if (!bytes.empty()) return;
    from.waiting.pop_front();
  }
  if (from.ended && from.waiting.empty()) {
    ::shutdown(to, SHUT_WR);
    const Way& other = connection.ways[1 - way];
    if (other.ended && other.waiting.empty()) connection.broken = true;
  }
}

std::vector<pollfd> Loop::watched() const {
  std::vector<pollfd> all{{commands_.get(), POLLIN, 0}};
  for (const auto& [listener, port] : listeners_) all.push_back({listener.get(), POLLIN, 0});
  const Clock::time_point now = Clock::now();
  for (const Connection& connection : connections_) {
    const bool held = is(ProxyFault::kHold, connection);
    for (std::size_t i = 0; i < 2; ++i) {
      const Way& in = connection.ways[i];
      const Way& out = connection.ways[1 - i];
      int events = in.ended || in.waiting_bytes > kWaitingBytesMax ? 0 : POLLIN;
      if (!out.waiting.empty() && out.waiting.front().due <= now) events |= POLLOUT;
      all.push_back(
          {held || events == 0 ? -1 : connection.ends[i].get(), static_cast<short>(events), 0});
    }
  }
  return all;
}

int Loop::wait_ms(Clock::time_point now) const {
  auto until = Clock::time_point::max();
  for (const Connection& connection : connections_) {
    for (const Way& way : connection.ways) {
      if (way.waiting.empty() || way.waiting.front().due <= now) continue;
      until = std::min(until, way.waiting.front().due);
    }
  }
  if (until == Clock::time_point::max()) return -1;
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(until - now).count());
}

void Loop::run() {
  for (;;) {
    std::vector<pollfd> all = watched();
    if (::poll(all.data(), all.size(), wait_ms(Clock::now())) < 0 && errno != EINTR) return;
    if (all[0].revents != 0 && !obey()) return;
    const pollfd* one = all.data() + 1;
    for (const auto& [listener, port] : listeners_) {
      if ((one++)->revents != 0) accept(listener.get(), port);
    }
    const pollfd* const end = all.data() + all.size();
    for (Connection& connection : connections_) {
      if (one == end) break;  // it has come meanwhile
      const bool held = is(ProxyFault::kHold, connection);
      for (std::size_t i = 0; i < 2; ++i, ++one) {
        if (connection.broken || held) continue;
        if ((one->revents & ~POLLOUT) != 0) receive(connection, i);
      }
      for (std::size_t i = 0; i < 2 && !connection.broken && !held; ++i) {
        pass_on(connection, i, Clock::now());
      }
    }
    connections_.remove_if([](const Connection& connection) { return connection.broken; });
  }
}

}  // namespace

FaultProxy::FaultProxy(const Options& options) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return;
  commands_ = UniqueFd(ends[0]);
  UniqueFd obeys(ends[1]);
  const pid_t test = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != test) ::_exit(1);
    commands_.reset();
    const int error = options.prepare ? options.prepare() : 0;
    const int said = obeys.get();
    Loop loop(options, std::move(obeys));
    if (error == 0 && loop.listening() && ::send(said, "!", 1, 0) == 1) loop.run();
    if (error != 0) std::fprintf(stderr, "proxy: %s\n", std::strerror(error));
    ::_exit(0);
  }
  obeys.reset();
  char listens = 0;
  EXPECT_EQ(::recv(commands_.get(), &listens, 1, 0), 1) << "the proxy does not listen";
}

FaultProxy::~FaultProxy() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void FaultProxy::misbehave(ProxyFault fault, std::uint32_t connections) {
  command_.fault = fault;
  command_.connections = connections;
  tell();
}

void FaultProxy::delay(std::chrono::milliseconds delay) {
  command_.delay_ms = static_cast<std::uint32_t>(delay.count());
  tell();
}

void FaultProxy::tell() {
  char done = 0;
  const bool told =
      ::send(commands_.get(), &command_, sizeof command_, MSG_NOSIGNAL) == sizeof command_;
  EXPECT_TRUE(told && ::recv(commands_.get(), &done, 1, 0) == 1) << "the proxy has ended";
}

}  // namespace echelon::remote_test
