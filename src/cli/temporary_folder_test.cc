// SPDX-License-Identifier: Apache-2.0
#include "cli/temporary_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace echelon::cli {
namespace {

namespace fs = std::filesystem;

bool gone_at_last(const std::string& path) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (fs::exists(path) && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return !fs::exists(path);
}

/// The folder of a child that is killed by `signal`.
std::string folder_of_a_killed_process(int signal) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto folder = TemporaryFolder::make("echelon-test");
    std::ofstream(folder->path() + "/key") << "secret";
    static_cast<void>(!::write(ends[1], folder->path().data(), folder->path().size()));
    ::close(ends[1]);
    for (;;) ::pause();
  }
  ::close(ends[1]);
  std::string path;
  std::array<char, 256> piece{};
  // The remover has the pipe's end, too: one read is what there is.
  const ssize_t got = ::read(ends[0], piece.data(), piece.size());
  if (got > 0) path.assign(piece.data(), static_cast<std::size_t>(got));
  ::close(ends[0]);
  EXPECT_TRUE(fs::exists(path + "/key"));
  ::kill(child, signal);
  ::waitpid(child, nullptr, 0);
  return path;
}

TEST(TemporaryFolder, IsThereForItsUserAloneAndGoesWithItsObject) {
  std::string path;
  {
    const auto folder = TemporaryFolder::make("echelon-test");
    ASSERT_TRUE(folder.ok());
    path = folder->path();
    EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_all);
    fs::create_directories(path + "/a/b");
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(TemporaryFolder, GoesWhenItsProcessIsInterrupted) {
  EXPECT_TRUE(gone_at_last(folder_of_a_killed_process(SIGINT)));
}

TEST(TemporaryFolder, GoesWhenItsProcessIsKilled) {
  EXPECT_TRUE(gone_at_last(folder_of_a_killed_process(SIGKILL)));
}

}  // namespace
}  // namespace echelon::cli
