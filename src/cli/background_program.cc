// SPDX-License-Identifier: Apache-2.0
#include "cli/background_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "base/syscall.h"

namespace echelon::cli {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(2);
constexpr std::chrono::milliseconds kEndPatience{5'000};
constexpr int kCouldNotStart = 127;

[[noreturn]] void become(const BackgroundProgram::Options& options, int log, pid_t parent) {
  const auto leave = [](const char* what, int error) {
    const std::string text = fmt::format("{}: {}\n", what, std::strerror(error));
    (void)!::write(2, text.data(), text.size());
    ::_exit(kCouldNotStart);
  };
  ::dup2(log, 1);
  ::dup2(log, 2);
  // Ctrl-C is for the one that started it, whose end ends this.
  ::setpgid(0, 0);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(kCouldNotStart);
  if (options.prepare) {
    if (const int error = options.prepare(); error != 0) leave("prepare", error);
  }
  std::vector<char*> arguments;
  for (const std::string& argument : options.command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  ::execv(arguments[0], arguments.data());
  leave(arguments[0], errno);
  ::_exit(kCouldNotStart);
}

/// Waits for the end of a process, so long at most. True: it has ended.
bool await_end(int process, std::chrono::milliseconds patience) {
  pollfd end{process, POLLIN, 0};
  return ::poll(&end, 1, static_cast<int>(patience.count())) > 0;
}

}  // namespace

Result<std::string> this_program() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) return path.string();
  return Status::from_errno(error.value(), "readlink(/proc/self/exe)");
}

Result<BackgroundProgram> BackgroundProgram::start(const Options& options) {
  const UniqueFd log(
      ::open(options.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) return Status::from_errno(errno, "open(" + options.log_path + ")");
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return Status::from_errno(errno, "fork()");
  if (pid == 0) become(options, log.get(), parent);
  auto process = pidfd_open(pid);
  if (process.ok()) return BackgroundProgram(pid, std::move(process).value(), options.log_path);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return process.status();
}

BackgroundProgram::~BackgroundProgram() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGTERM);
  static_cast<void>(await_end(process_.get(), kEndPatience));
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {}
}

Result<std::string> BackgroundProgram::await_line(const std::string& mark,
                                                  std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const bool last =
        await_end(process_.get(), kLookEvery) || std::chrono::steady_clock::now() >= until;
    const std::string text = output();
    const std::size_t at = text.find(mark);
    const std::size_t end = text.find('\n', at);
    if (at != std::string::npos && end != std::string::npos) {
      return text.substr(at + mark.size(), end - at - mark.size());
    }
    if (last) {
      return Status::error(
          Code::kUnavailable, Reason::kSystem,
          fmt::format("it did not say \"{}\"; it said: {}", mark, text.empty() ? "nothing" : text));
    }
  }
}

std::string BackgroundProgram::output() const {
  std::ifstream file(log_path_);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace echelon::cli
