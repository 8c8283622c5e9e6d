// SPDX-License-Identifier: Apache-2.0
//
// Processes of a tree under test, watched from outside by descriptors, so that a number given out
// again does no harm.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <echelon/node_info.h>

namespace echelon::tree_test {

/// What P2 promises to be enough for everything of a killed process's to be gone.
inline constexpr std::chrono::milliseconds kGoneWithin{2000};
/// Ends what hangs; nothing here is expected to take so long.
inline constexpr std::chrono::milliseconds kPatience{30'000};

class ProcessSet {
 public:
  ProcessSet() = default;
  ProcessSet(ProcessSet&& other) noexcept = default;
  ProcessSet& operator=(ProcessSet&& other) noexcept = default;
  ~ProcessSet();

  void add(pid_t pid);
  std::size_t size() const { return processes_.size(); }
  /// Waits; then those that still run.
  std::vector<pid_t> left_after(std::chrono::milliseconds patience) const;
  std::vector<pid_t> left() const { return left_after(std::chrono::milliseconds(0)); }

 private:
  struct Watched {
    pid_t pid;
    int fd;
  };
  std::vector<Watched> processes_;
};

/// All that descend from `pid`, as it stands; not `pid` itself. Zombies do not count.
std::vector<pid_t> descendants_of(pid_t pid);
ProcessSet watch_descendants_of(pid_t pid);
/// The names in parentheses of /proc/PID/stat, for messages.
std::string name_of(pid_t pid);

/// True once `condition` holds; false where it does not within `patience`.
bool eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds patience = kPatience);

/// The node with this path, which must be there.
const NodeInfo& node_at(const NodeInfo& tree, const std::string& path);
pid_t pid_at(const NodeInfo& tree, const std::string& path);

/// Runs `body` in a process forked from here. The body tells by `ready()` how far it is, and then
/// waits to be killed.
class ForkedProcess {
 public:
  using Ready = std::function<void()>;
  explicit ForkedProcess(const std::function<void(const Ready&)>& body);
  /// Kills and reaps.
  ~ForkedProcess();
  ForkedProcess(const ForkedProcess&) = delete;
  ForkedProcess& operator=(const ForkedProcess&) = delete;

  pid_t pid() const { return pid_; }
  /// False where it ended, or said nothing for kPatience.
  bool wait_until_ready() const;
  /// Its exit code once it has ended by itself; -1 otherwise.
  int wait_for_exit();

 private:
  pid_t pid_ = -1;
  int pipe_ = -1;
};

/// Whether this is a build whose signal handlers are a sanitizer's.
bool sanitized();

}  // namespace echelon::tree_test
