// SPDX-License-Identifier: Apache-2.0
#include "process/death_cause.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstring>

#include "base/fd.h"

namespace echelon {
namespace {

// Small files of /proc and /sys in one read; empty where they cannot be read.
std::string read_small_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  std::string text(4096, '\0');
  const ssize_t bytes = ::read(fd.get(), text.data(), text.size());
  text.resize(bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  return text;
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc()) return std::nullopt;
  return value;
}

// The fields after "(command) ", which may itself hold blanks and brackets: field 3 is the first.
constexpr int kFirstField = 3;
constexpr int kExitCodeField = 52;

}  // namespace

DeathCause DeathCause::from_wait_status(int wait_status) {
  DeathCause cause;
  if (WIFSIGNALED(wait_status)) {
    cause.signal = WTERMSIG(wait_status);
    cause.core = WCOREDUMP(wait_status);
  } else {
    cause.exit_code = WEXITSTATUS(wait_status);
  }
  return cause;
}

std::string DeathCause::describe() const {
  if (signal == 0) return fmt::format("exited with code {}", exit_code);
  return fmt::format("killed by signal {} ({}){}", signal, signal_name(signal),
                     out_of_memory ? ", out of memory" : "");
}

void DeathCause::fill(ErrorInfo& info) const {
  if (signal == 0) {
    info.cause = Cause::kExit;
    info.exit_code = exit_code;
  } else {
    info.cause = out_of_memory ? Cause::kOutOfMemory : Cause::kSignal;
    info.signal = signal;
  }
}

std::optional<DeathCause> parse_death_cause(std::string_view stat) {
  const auto bracket = stat.rfind(") ");
  if (bracket == std::string_view::npos) return std::nullopt;
  stat.remove_prefix(bracket + 2);
  const bool ended = stat.starts_with('Z') || stat.starts_with('X');
  for (int field = kFirstField; field < kExitCodeField; ++field) {
    const auto blank = stat.find(' ');
    if (blank == std::string_view::npos) return std::nullopt;
    stat.remove_prefix(blank + 1);
  }
  const auto status = parse_number<int>(stat);
  // A living process has 0 here, as has one whose exit(0) is under way: only a zombie's 0 counts.
  if (!status.has_value() || (*status == 0 && !ended)) return std::nullopt;
  return DeathCause::from_wait_status(*status);
}

std::optional<DeathCause> read_death_cause(pid_t pid) {
  return parse_death_cause(read_small_file(fmt::format("/proc/{}/stat", pid)));
}

std::optional<std::uint64_t> oom_kill_count() {
  // cgroup v2: "0::/path". Inside a container the path may be "/", whose file has the same name.
  const std::string groups = read_small_file("/proc/self/cgroup");
  const auto at = groups.find("0::");
  if (at == std::string::npos) return std::nullopt;
  const std::string path = groups.substr(at + 3, groups.find('\n', at) - at - 3);
  const std::string events = read_small_file("/sys/fs/cgroup" + path + "/memory.events");
  constexpr std::string_view kKey = "oom_kill ";
  const auto key = events.find(kKey);
  if (key == std::string::npos) return std::nullopt;
  return parse_number<std::uint64_t>(std::string_view(events).substr(key + kKey.size()));
}

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

}  // namespace echelon
