// SPDX-License-Identifier: Apache-2.0
#include "process_set.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <iterator>
#include <map>
#include <string_view>

namespace echelon::tree_test {
namespace {

using Clock = std::chrono::steady_clock;

struct Stat {
  std::string name;
  char state = '?';
  pid_t parent = 0;
};

/// The number that `text` begins with; 0: none.
pid_t to_pid(std::string_view text) {
  pid_t pid = 0;
  std::from_chars(text.data(), text.data() + text.size(), pid);
  return pid;
}

bool read_stat(const std::string& folder, Stat& stat) {
  std::ifstream file(folder + "/stat");
  std::string text;
  if (!std::getline(file, text, '\0')) return false;  // it ended between open and read
  const auto open = text.find('(');
  const auto close = text.rfind(") ");
  if (open == std::string::npos || close == std::string::npos) return false;
  stat.name = text.substr(open + 1, close - open - 1);
  stat.state = text[close + 2];
  stat.parent = to_pid(std::string_view(text).substr(close + 4));
  return true;
}

std::multimap<pid_t, pid_t> living_by_parent() {
  std::multimap<pid_t, pid_t> by_parent;
  DIR* folder = ::opendir("/proc");
  if (folder == nullptr) return by_parent;
  while (const dirent* entry = ::readdir(folder)) {
    const auto pid = to_pid(entry->d_name);
    Stat stat;
    if (pid > 0 && read_stat("/proc/" + std::to_string(pid), stat) && stat.state != 'Z' &&
        stat.state != 'X') {
      by_parent.emplace(stat.parent, pid);
    }
  }
  ::closedir(folder);
  return by_parent;
}

int milliseconds_until(Clock::time_point when) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(when - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

bool readable_by(int fd, Clock::time_point deadline) {
  for (;;) {
    pollfd one{fd, POLLIN, 0};
    const int ready = ::poll(&one, 1, milliseconds_until(deadline));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

/// Whether only this thread runs: what a fork copies is then no lock in the middle of its use.
/// (The C library takes care of its own malloc; AddressSanitizer's in g++ 12 does not, and hangs in
/// the copy.)
bool other_threads_sleep() {
  DIR* folder = ::opendir("/proc/self/task");
  if (folder == nullptr) return false;
  bool all = true;
  while (const dirent* entry = ::readdir(folder)) {
    const auto thread = to_pid(entry->d_name);
    Stat stat;
    if (thread <= 0 || thread == ::gettid()) continue;
    if (read_stat("/proc/self/task/" + std::to_string(thread), stat)) all &= stat.state == 'S';
  }
  ::closedir(folder);
  return all;
}

const NodeInfo* find(const NodeInfo& node, const std::string& path) {
  if (node.path == path) return &node;
  for (const NodeInfo& child : node.children) {
    if (const NodeInfo* found = find(child, path)) return found;
  }
  return nullptr;
}

}  // namespace

// --- ProcessSet
// -----------------------------------------------------------------------------------

ProcessSet::~ProcessSet() {
  for (const Watched& watched : processes_) ::close(watched.fd);
}

void ProcessSet::add(pid_t pid) {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd >= 0) processes_.push_back({pid, fd});
}

std::vector<pid_t> ProcessSet::left_after(std::chrono::milliseconds patience) const {
  const Clock::time_point deadline = Clock::now() + patience;
  std::vector<pid_t> left;
  for (const Watched& watched : processes_) {
    if (!readable_by(watched.fd, deadline)) left.push_back(watched.pid);
  }
  return left;
}

std::vector<pid_t> descendants_of(pid_t pid) {
  const auto by_parent = living_by_parent();
  std::vector<pid_t> found{pid};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto [begin, end] = by_parent.equal_range(found[i]);
    std::transform(begin, end, std::back_inserter(found),
                   [](const auto& entry) { return entry.second; });
  }
  found.erase(found.begin());
  return found;
}

ProcessSet watch_descendants_of(pid_t pid) {
  ProcessSet set;
  for (const pid_t descendant : descendants_of(pid)) set.add(descendant);
  return set;
}

std::string name_of(pid_t pid) {
  Stat stat;
  return read_stat("/proc/" + std::to_string(pid), stat) ? stat.name : "";
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  while (!condition()) {
    if (Clock::now() >= deadline) return false;
    ::sched_yield();
  }
  return true;
}

const NodeInfo& node_at(const NodeInfo& tree, const std::string& path) {
  static const NodeInfo kNone;
  const NodeInfo* found = find(tree, path);
  EXPECT_NE(found, nullptr) << "no node " << path << " in the tree";
  return found != nullptr ? *found : kNone;
}

pid_t pid_at(const NodeInfo& tree, const std::string& path) {
  return static_cast<pid_t>(node_at(tree, path).pid);
}

// --- ForkedProcess
// --------------------------------------------------------------------------------

ForkedProcess::ForkedProcess(const std::function<void(const Ready&)>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  EXPECT_TRUE(eventually(other_threads_sleep)) << "no quiet moment to fork in";
  pid_ = ::fork();
  if (pid_ == 0) {
    ::close(ends[0]);
    body([&] { (void)!::write(ends[1], "!", 1); });
    for (;;) ::pause();
  }
  ::close(ends[1]);
  pipe_ = ends[0];
}

ForkedProcess::~ForkedProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (pipe_ >= 0) ::close(pipe_);
}

bool ForkedProcess::wait_until_ready() const {
  char byte = 0;
  return readable_by(pipe_, Clock::now() + kPatience) && ::read(pipe_, &byte, 1) == 1;
}

int ForkedProcess::wait_for_exit() {
  ProcessSet self;
  self.add(pid_);
  if (!self.left_after(kPatience).empty()) return -1;
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) return -1;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return true;
#else
  return false;
#endif
#else
  return false;
#endif
}

}  // namespace echelon::tree_test
