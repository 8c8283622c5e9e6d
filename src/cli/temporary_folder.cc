// SPDX-License-Identifier: Apache-2.0
#include "cli/temporary_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

namespace echelon::cli {
namespace {

[[noreturn]] void remove_when_alone(const std::string& path, int alive) {
  // Ctrl-C and a closed terminal are for the process that this one outlives.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
  ::setsid();
  const std::array<int, 1> keep{alive};
  close_inherited_fds(keep);
  char byte = 0;
  while (::read(alive, &byte, 1) < 0 && errno == EINTR) {}
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
  ::_exit(0);
}

}  // namespace

Result<TemporaryFolder> TemporaryFolder::make(std::string_view prefix) {
  std::error_code ignored;
  const std::filesystem::path parent = std::filesystem::temp_directory_path(ignored);
  std::string path = (ignored ? "/tmp" : parent.string()) + "/" + std::string(prefix) + ".XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return Status::from_errno(errno, "mkdtemp(" + path + ")");
  TemporaryFolder folder;
  folder.path_ = path;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Status::from_errno(errno, "pipe2()");
  const UniqueFd read_end(ends[0]);
  folder.alive_ = UniqueFd(ends[1]);
  folder.remover_ = ::fork();
  if (folder.remover_ == 0) remove_when_alone(path, read_end.get());
  if (folder.remover_ < 0) return Status::from_errno(errno, "fork()");
  return folder;
}

TemporaryFolder::~TemporaryFolder() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  alive_.reset();
  if (remover_ < 0) return;
  // It may have to wait for a process that was forked since; what it was for is done.
  ::kill(remover_, SIGKILL);
  while (::waitpid(remover_, nullptr, 0) < 0 && errno == EINTR) {}
}

}  // namespace echelon::cli
