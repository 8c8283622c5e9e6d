// SPDX-License-Identifier: Apache-2.0
#include "remote_host.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

namespace echelon::remote_test {
namespace {

[[noreturn]] void serve(const DaemonConfig& config, int say) {
  try {
    run_daemon(config, [say](const std::string& address) {
      const std::string line = address + "\n";
      if (::write(say, line.data(), line.size()) < 0) std::perror("write");
    });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "daemon: %s\n", error.what());
  }
  std::fflush(nullptr);
  ::_exit(0);
}

}  // namespace

RemoteHost::RemoteHost(DaemonConfig config, const std::function<int()>& prepare) {
  std::array<int, 2> say{};
  if (::pipe(say.data()) != 0) throw std::runtime_error("pipe");
  const pid_t test = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != test) ::_exit(1);
    ::close(say[0]);
    if (const int error = prepare ? prepare() : 0; error != 0) {
      std::fprintf(stderr, "daemon: %s\n", std::strerror(error));
      ::_exit(1);
    }
    serve(config, say[1]);
  }
  ::close(say[1]);
  // Up to the end of the line: the daemon's own children have the pipe, too.
  for (char c = 0; ::read(say[0], &c, 1) == 1 && c != '\n';) address_ += c;
  ::close(say[0]);
  EXPECT_FALSE(address_.empty()) << "the daemon did not start";
}

RemoteHost::~RemoteHost() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGCONT);
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

void RemoteHost::kill() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RemoteHost::stop() const {
  ::kill(pid_, SIGSTOP);
}

RemoteWorkerSpec RemoteHost::spec(const std::string& name) const {
  RemoteWorkerSpec given;
  given.address = address_;
  given.name = name;
  given.sub_workers = 2;
  return given;
}

}  // namespace echelon::remote_test
