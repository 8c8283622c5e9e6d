// SPDX-License-Identifier: Apache-2.0
#include "process/child_boot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <stdio_ext.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <string_view>

#include "base/syscall.h"
#include "base/unforked.h"
#include "process/sanitizers.h"
#include "process/spawn_protocol.h"

namespace echelon {
namespace {

constexpr std::string_view kExecMark = "--echelon-child";
// After argv[0]: mark, index, kind, uid, spawner's pid, path, name.
constexpr std::size_t kExecArguments = 7;

bool handled_by_sanitizer(int signal) {
  if (!kSanitized) return false;
  constexpr std::array kTheirs = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
  return std::find(kTheirs.begin(), kTheirs.end(), signal) != kTheirs.end();
}

Status die_with_spawner(const ChildBoot& boot) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    return Status::from_errno(errno, "prctl(PR_SET_PDEATHSIG)");
  }
  // The spawner may have ended before the line above: then nothing would ever kill this process.
  if (spawner_is_parent(boot.spawner_pid)) return Status();
  return Status::error(
      Code::kUnavailable, Reason::kSpawnerLost,
      fmt::format("{}: its spawner (pid {}) ended while it started", boot.path, boot.spawner_pid));
}

Status redirect(int from, int to, const char* what) {
  if (::dup2(from, to) >= 0) return Status();
  return Status::from_errno(errno, fmt::format("dup2({})", what));
}

// Lines, not blocks: the spawner passes whole lines on, and a crash loses little.
void buffer_by_line() {
  ::__fpurge(stdin);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
}

void set_thread_name(const std::string& name) {
  constexpr std::size_t kNameMax = 15;  // the kernel's
  ::pthread_setname_np(::pthread_self(), name.substr(0, kNameMax).c_str());
}

template <class T>
bool parse(std::string_view text, T& value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

Status not_started_by_spawner(std::string why) {
  return Status::error(
      Code::kInvalidArgument, Reason::kBadArgument,
      "this program is started by an echelon Worker, not by hand: " + std::move(why));
}

Result<UniqueFd> own_exec_fd(int fd) {
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return not_started_by_spawner(fmt::format("descriptor {} is not open", fd));
  }
  return UniqueFd(fd);
}

}  // namespace

std::vector<std::string> exec_arguments(const ChildBoot& boot) {
  return {std::string(kExecMark),
          std::to_string(boot.index.value),
          std::to_string(static_cast<unsigned>(boot.kind)),
          std::to_string(boot.uid.value),
          std::to_string(boot.spawner_pid),
          boot.path,
          boot.name};
}

Status enter_forked_child(const ChildBoot& boot, int output, int errors) {
  reset_signals();
  ECHELON_RETURN_IF_ERROR(die_with_spawner(boot));
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return Status::from_errno(errno, "open(/dev/null)");
  ECHELON_RETURN_IF_ERROR(redirect(null.get(), STDIN_FILENO, "stdin"));
  ECHELON_RETURN_IF_ERROR(redirect(output, STDOUT_FILENO, "stdout"));
  ECHELON_RETURN_IF_ERROR(redirect(errors, STDERR_FILENO, "stderr"));
  const std::array keep = {boot.channel.get(), boot.edge.get(), boot.doorbell.get(),
                           boot.payload.get(), null.get()};
  close_inherited_fds(keep);
  guard_excluded_ranges();
  buffer_by_line();
  set_thread_name(boot.name);
  return Status();
}

Result<ChildBoot> enter_exec_child(std::span<char* const> argv) {
  if (argv.size() < 1 + kExecArguments || argv[1] != kExecMark) {
    return not_started_by_spawner("it lacks its arguments");
  }
  ChildBoot boot;
  unsigned kind = 0;
  if (!parse(argv[2], boot.index.value) || !parse(argv[3], kind) ||
      kind > static_cast<unsigned>(ChildKind::kWorker) || !parse(argv[4], boot.uid.value) ||
      !parse(argv[5], boot.spawner_pid)) {
    return not_started_by_spawner("its arguments are not what a spawner gives");
  }
  boot.kind = static_cast<ChildKind>(kind);
  boot.path = argv[6];
  boot.name = argv[7];
  boot.arguments.assign(argv.begin() + 1 + kExecArguments, argv.end());
  ECHELON_ASSIGN_OR_RETURN(boot.channel, own_exec_fd(kExecChannelFd));
  ECHELON_ASSIGN_OR_RETURN(boot.edge, own_exec_fd(kExecEdgeFd));
  ECHELON_ASSIGN_OR_RETURN(boot.doorbell, own_exec_fd(kExecDoorbellFd));
  reset_signals();
  ECHELON_RETURN_IF_ERROR(die_with_spawner(boot));
  buffer_by_line();
  set_thread_name(boot.name);
  return boot;
}

Result<std::optional<ChildBoot>> enter_runner_child() {
  ECHELON_ASSIGN_OR_RETURN(const UniqueFd socket, own_exec_fd(kRunnerSocketFd));
  std::vector<std::byte> buffer(kSpawnMessageBytesMax);
  ECHELON_ASSIGN_OR_RETURN(Message message, receive_message(socket.get(), buffer));
  if (message.end) return std::optional<ChildBoot>();
  ECHELON_ASSIGN_OR_RETURN(DownMessage down, decode_down(std::span(buffer).first(message.bytes)));
  auto* const request = std::get_if<SpawnRequest>(&down);
  if (request == nullptr || message.fds.size() != kSpawnFdsMax) {
    return not_started_by_spawner("what came over its socket is no child's birth");
  }
  ChildBoot boot;
  boot.index = request->spec.index;
  boot.kind = request->spec.kind;
  boot.uid = request->spec.uid;
  boot.path = std::move(request->spec.path);
  boot.name = std::move(request->spec.name);
  boot.channel = std::move(message.fds[0]);
  boot.edge = std::move(message.fds[1]);
  boot.doorbell = std::move(message.fds[2]);
  boot.payload = std::move(message.fds[3]);
  boot.spawner_pid = request->expected_parent;
  reset_signals();
  ECHELON_RETURN_IF_ERROR(die_with_spawner(boot));
  buffer_by_line();
  set_thread_name(boot.name);
  return std::optional<ChildBoot>(std::move(boot));
}

void reset_signals() {
  struct sigaction action {};
  for (int signal = 1; signal < NSIG; ++signal) {
    if (handled_by_sanitizer(signal)) continue;
    action.sa_handler = signal == SIGINT ? SIG_IGN : SIG_DFL;
    // Refused for SIGKILL, SIGSTOP and the two that glibc keeps for itself.
    ::sigaction(signal, &action, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

bool spawner_is_parent(pid_t spawner_pid) {
  return ::getppid() == spawner_pid;
}

void leave_child(int code) {
  std::cout.flush();
  std::cerr.flush();
  std::clog.flush();
  std::fflush(nullptr);
  ::_exit(code);
}

}  // namespace echelon
