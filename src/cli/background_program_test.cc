// SPDX-License-Identifier: Apache-2.0
#include "cli/background_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "cli/temporary_folder.h"

namespace echelon::cli {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

class BackgroundProgramTest : public testing::Test {
 protected:
  Result<BackgroundProgram> shell(const std::string& script) {
    BackgroundProgram::Options options;
    options.command = {"/bin/sh", "-c", script};
    options.log_path = folder->path() + "/log";
    options.prepare = prepare;
    return BackgroundProgram::start(options);
  }
  Result<TemporaryFolder> folder = TemporaryFolder::make("echelon-test");
  std::function<int()> prepare;
};

TEST_F(BackgroundProgramTest, SaysALineAndEndsWithItsObject) {
  pid_t pid = 0;
  {
    auto program = shell("echo other; echo listening on here:1; exec sleep 100");
    ASSERT_TRUE(program.ok());
    pid = program->pid();
    EXPECT_EQ(program->await_line("listening on ", seconds(20)).value(), "here:1");
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST_F(BackgroundProgramTest, OneThatEndsIsToldWithWhatItSaid) {
  auto program = shell("echo no such thing >&2; exit 3");
  EXPECT_THAT(program->await_line("listening on ", seconds(20)).status().info().message,
              HasSubstr("it said: no such thing"));
}

TEST_F(BackgroundProgramTest, OneThatSaysNothingIsWaitedForSoLong) {
  auto program = shell("exec sleep 100");
  EXPECT_THAT(
      program->await_line("listening on ", std::chrono::milliseconds(1)).status().info().message,
      HasSubstr("it said: nothing"));
}

TEST_F(BackgroundProgramTest, WhatCannotBePreparedIsNotStarted) {
  prepare = [] { return EPERM; };
  auto program = shell("echo listening on here:1");
  EXPECT_THAT(program->await_line("listening on ", seconds(20)).status().info().message,
              HasSubstr("prepare: Operation not permitted"));
}

}  // namespace
}  // namespace echelon::cli
