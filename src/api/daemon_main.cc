// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>
#include <vector>

#include <echelon/daemon.h>

#include "api/session_main.h"
#include "api/throw_status.h"
#include "base/fd.h"
#include "remote/daemon.h"
#include "remote/descriptors.h"
#include "remote/session_rules.h"
#include "remote/transport.h"

namespace echelon {
namespace {

/// What a Python runs that is a session: python/echelon/_src/runner.py.
constexpr const char* kRunnerModule = "echelon._src.runner";

constexpr std::string_view kTransport = "grpc";

/// SIGTERM and SIGINT as something to wait for, while it lives; no thread gets them otherwise.
class EndSignals {
 public:
  EndSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
    fd_ = UniqueFd(::signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~EndSignals() {
    take();
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

  int fd() const { return fd_.get(); }
  /// 0: none has come.
  int take() {
    signalfd_siginfo info{};
    return ::read(fd_.get(), &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo)
                                                                  : 0;
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
  UniqueFd fd_;
};

/// A log that nobody reads any more ends no sessions, while it lives: write() fails instead.
class NoBrokenPipe {
 public:
  NoBrokenPipe() {
    struct sigaction ignored {};
    ignored.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignored, &before_);
  }
  ~NoBrokenPipe() { ::sigaction(SIGPIPE, &before_, nullptr); }
  NoBrokenPipe(const NoBrokenPipe&) = delete;
  NoBrokenPipe& operator=(const NoBrokenPipe&) = delete;

 private:
  struct sigaction before_ {};
};

/// A Status that one thread sets and another waits for.
class Alarm {
 public:
  Alarm() : fd_(::eventfd(0, EFD_CLOEXEC)) {}
  void set(const Status& why) {
    {
      const std::lock_guard lock(mutex_);
      why_ = why;
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto sent = ::write(fd_.get(), &one, sizeof(one));
  }
  Status why() const {
    const std::lock_guard lock(mutex_);
    return why_;
  }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  mutable std::mutex mutex_;
  Status why_;
};

/// The signal, or why no session can be started any more.
Result<int> wait_for_end(EndSignals& signals, const Alarm& lost) {
  for (;;) {
    std::array<pollfd, 2> fds = {pollfd{signals.fd(), POLLIN, 0}, pollfd{lost.fd(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
      return Status::from_errno(errno, "poll(signals)");
    }
    if (const int signal = signals.take(); signal != 0) return signal;
    ECHELON_RETURN_IF_ERROR(lost.why());
  }
}

Status check_secured(const DaemonConfig& config, bool local) {
  if (local || config.insecure || !config.tls_dir.empty()) return {};
  return Status::error(
      Code::kInvalidArgument, Reason::kBadArgument,
      fmt::format("{} can be reached from other machines: give --tls-dir (`echelon keys` makes "
                  "one), or --insecure where everybody on that network may run code here",
                  config.listen));
}

/// The command of a session in Python: what is said here is what the runner reads.
Result<std::vector<std::string>> runner_command(const DaemonConfig& config,
                                                const detail::SessionPlace& place) {
  if (config.python.empty()) return std::vector<std::string>();
  const auto refuse = [&](std::string_view why) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("--python {}: {}", config.python, why));
  };
  if (config.python.find('/') == std::string::npos) {
    return refuse("a path was expected, as `command -v python3` prints it");
  }
  if (::access(config.python.c_str(), X_OK) != 0) {
    return refuse(fmt::format("cannot be run: {}", ::strerrordesc_np(errno)));
  }
  std::vector<std::string> command = {config.python, "-m", kRunnerModule, config.modules};
  const auto arguments = detail::place_arguments(place);
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

/// "a.b,c": names of modules with commas between them.
Status check_modules(const std::string& modules) {
  bool inside = false;  // of a word, which begins with no digit
  for (const char c : modules) {
    const bool letter = c == '_' || std::isalpha(static_cast<unsigned char>(c)) != 0 || c < 0;
    const bool digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
    const bool between = (c == '.' || c == ',') && inside;
    if (!letter && !between && !(digit && inside)) {
      return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                           fmt::format("--modules {}: names of Python modules were expected, with "
                                       "commas between them: a.b,c",
                                       modules));
    }
    inside = !between;
  }
  if (inside || modules.empty()) return {};
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                       fmt::format("--modules {}: a name is missing at its end", modules));
}

void warn(Daemon& daemon, const DaemonConfig& config, bool local) {
  if (local || !config.tls_dir.empty()) return;
  daemon.log("WARNING: --insecure: no TLS, no certificates");
  daemon.log(
      fmt::format("WARNING: whoever can reach {} can run code as this user, and read and "
                  "change what is sent",
                  config.listen));
}

Result<int> serve(const DaemonConfig& config,
                  const std::function<void(const std::string& address)>& serving) {
  ECHELON_ASSIGN_OR_RETURN(const bool local, address_is_local(config.listen));
  ECHELON_RETURN_IF_ERROR(check_secured(config, local));
  ECHELON_RETURN_IF_ERROR(check_modules(config.modules));
  ECHELON_RETURN_IF_ERROR(detail::check_lanes_address(config.listen));
  const Credentials credentials{config.tls_dir, config.insecure};
  raise_descriptor_limit();
  EndSignals signals;
  Alarm lost;
  RemoteTransport* transport = nullptr;
  DaemonOptions options;
  options.host = config.name;
  options.rules.sessions_max = config.sessions_max;
  options.rules.memory_bytes_max = config.memory_bytes_max;
  ECHELON_ASSIGN_OR_RETURN(options.rules.allowed, parse_allowed(config.allow));
  const detail::SessionPlace place{config.listen, credentials, options.rules.allowed};
  ECHELON_ASSIGN_OR_RETURN(options.runner, runner_command(config, place));
  options.rules.python = !options.runner.empty();
  options.session_main = [place](ChildBoot boot) {
    return detail::run_session(std::move(boot), place);
  };
  options.encode_manifest = [&transport](const SessionManifest& manifest) {
    return transport->encode_manifest(manifest);
  };
  options.on_lost = [&lost](const Status& why) { lost.set(why); };
  options.log = true;
  // Before its spawner is forked: sessions have it then, and do not load it each (10 ms of a
  // start). It has no thread until it is used.
  ECHELON_ASSIGN_OR_RETURN(transport, load_transport(kTransport));
  ECHELON_ASSIGN_OR_RETURN(const auto daemon, Daemon::start(std::move(options)));
  const NoBrokenPipe no_broken_pipe;  // the daemon's alone: sessions are forked from its spawner
  ECHELON_ASSIGN_OR_RETURN(auto server,
                           transport->serve_daemon({config.listen, credentials}, *daemon));
  warn(*daemon, config, local);
  daemon->log(fmt::format("serving at {}", server->address()));
  serving(server->address());
  const auto ended = wait_for_end(signals, lost);
  const std::string why = ended.ok() ? fmt::format("the daemon was ended by {}",
                                                   *ended == SIGINT ? "SIGINT" : "SIGTERM")
                                     : ended.status().info().message;
  daemon->log(fmt::format("ending: {}; {} sessions", why, daemon->session_count()));
  ErrorInfo info;
  info.code = Code::kUnavailable;
  // Of a spawner that is lost nobody's will is the reason.
  info.reason = ended.ok() ? Reason::kCancelled : ended.status().reason();
  info.cause = ended.ok() ? Cause::kNone : ended.status().info().cause;
  info.message = ended.ok() ? why : "its daemon: " + why;
  daemon->close(Status(std::move(info)));
  server.reset();
  return ended;
}

}  // namespace

int run_daemon(const DaemonConfig& config,
               const std::function<void(const std::string& address)>& serving) {
  return detail::value_or_throw(serve(config, serving));
}

}  // namespace echelon
