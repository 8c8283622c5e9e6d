// SPDX-License-Identifier: Apache-2.0
#include "process/warm_runner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <utility>

#include "base/syscall.h"
#include "process/child_boot.h"

namespace echelon {
namespace {

/// The child that was just made has the processors to itself while it starts.
constexpr MonotonicNs kPauseNs = 500'000'000;
/// One that ends by itself again and again, as its installation is broken: at most once a minute.
constexpr int kPauseDoublingsMax = 7;

/// What the runner's process has, from the fork to the exec.
struct Birth {
  pid_t spawner = 0;
  int socket = -1, output = -1, errors = -1;
};

bool put_at(int from, int to) {
  // dup2() of a descriptor onto itself would leave it to be closed by the exec.
  return from == to ? ::fcntl(from, F_SETFD, 0) == 0 : ::dup2(from, to) >= 0;
}

/// Ends the process where that fails; the reason is read from its stderr.
[[noreturn]] void become(const Birth& birth, const std::vector<std::string>& command) {
  reset_signals();
  std::vector<char*> arguments;
  for (const std::string& text : command) arguments.push_back(const_cast<char*>(text.c_str()));
  arguments.push_back(nullptr);
  const bool placed = ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                      ::getppid() == birth.spawner &&  // it may have ended before the line above
                      put_at(birth.output, STDOUT_FILENO) && put_at(birth.errors, STDERR_FILENO) &&
                      put_at(birth.socket, kRunnerSocketFd);
  if (placed) ::execv(arguments.front(), arguments.data());
  ::dprintf(STDERR_FILENO, "echelon: cannot run %s: %s\n", arguments.front(),
            ::strerrordesc_np(errno));
  ::_exit(127);
}

}  // namespace

Status WarmRunner::start() {
  ECHELON_ASSIGN_OR_RETURN(FdPair sockets, create_socketpair());
  ECHELON_ASSIGN_OR_RETURN(FdPair out, create_pipe());
  ECHELON_ASSIGN_OR_RETURN(FdPair err, create_pipe());
  ECHELON_RETURN_IF_ERROR(set_nonblocking(out.first.get(), true));
  ECHELON_RETURN_IF_ERROR(set_nonblocking(err.first.get(), true));
  // Out of the way of the numbers that it is to find its own at.
  const auto high = [](int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 16)); };
  const UniqueFd socket = high(sockets.second.get());
  const UniqueFd output = high(out.second.get());
  const UniqueFd errors = high(err.second.get());
  if (!socket || !output || !errors) return Status::from_errno(errno, "fcntl(F_DUPFD_CLOEXEC)");
  const Birth birth{::getpid(), socket.get(), output.get(), errors.get()};
  const pid_t pid = ::fork();
  if (pid < 0) return Status::from_errno(errno, "fork()");
  if (pid == 0) become(birth, command_);
  pid_ = pid;
  socket_ = std::move(sockets.first);
  out_ = std::move(out.first);
  err_ = std::move(err.first);
  start_at_ns_ = 0;
  return {};
}

void WarmRunner::step(MonotonicNs now) {
  if (command_.empty() || pid_ != 0 || start_at_ns_ == 0 || now < start_at_ns_) return;
  if (!start().ok()) start_at_ns_ = now + kPauseNs;
}

MonotonicNs WarmRunner::next_timer_ns() const {
  return command_.empty() || pid_ != 0 ? 0 : start_at_ns_;
}

Result<WarmRunner::Taken> WarmRunner::take(const SpawnRequest& request,
                                           const std::vector<UniqueFd>& fds, MonotonicNs now) {
  if (command_.empty()) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("{}: there is no runner for it here", request.spec.path));
  }
  ECHELON_ASSIGN_OR_RETURN(const std::vector<std::byte> message, encode(request));
  std::vector<int> borrowed;
  for (const UniqueFd& fd : fds) borrowed.push_back(fd.get());
  if (pid_ == 0) ECHELON_RETURN_IF_ERROR(start());
  Status sent = send_message(socket_.get(), message, borrowed, /*wait=*/false);
  if (!sent.ok()) {
    // It has ended, and was not reaped yet: it is one of those that nobody knows from here on.
    ECHELON_RETURN_IF_ERROR(start());
    ECHELON_RETURN_IF_ERROR(send_message(socket_.get(), message, borrowed, /*wait=*/false));
  }
  socket_.reset();
  ended_untaken_ = 0;
  start_at_ns_ = now + kPauseNs;
  return Taken{std::exchange(pid_, 0), std::move(out_), std::move(err_)};
}

std::string WarmRunner::ended(MonotonicNs now) {
  std::array<char, kStderrTailBytes> text{};
  std::string said;
  for (ssize_t bytes; (bytes = ::read(err_.get(), text.data(), text.size())) > 0;) {
    said.append(text.data(), static_cast<std::size_t>(bytes));
    if (said.size() > kStderrTailBytes) said.erase(0, said.size() - kStderrTailBytes);
  }
  pid_ = 0;
  socket_.reset();
  out_.reset();
  err_.reset();
  start_at_ns_ = now + (kPauseNs << std::min(ended_untaken_++, kPauseDoublingsMax));
  return said;
}

void WarmRunner::retire() {
  socket_.reset();
  command_.clear();
}

}  // namespace echelon
