// SPDX-License-Identifier: Apache-2.0
#include "process/child_boot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <sstream>
#include <stdexcept>

#include "base/syscall.h"
#include "process/test_tree.h"

namespace echelon {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ChildBootTest, SignalsAreDefaultButInterruptsAreIgnored) {
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
  TestTree tree;
  ASSERT_TRUE(tree.start());
  EXPECT_EQ(tree.run(TestTask::kHygiene),
            "SIGINT ignored SIGPIPE default death 9 SIGTERM blocked 0");
}

TEST(ChildBootTest, AChildHasItsOwnChannelAlone) {
  TestTree::Options options;
  options.children = 3;
  TestTree tree(options);
  ASSERT_TRUE(tree.start());
  std::istringstream lines(tree.run(TestTask::kOpenFds, {}, 2));
  int channels = 0;
  int sockets = 0;
  for (std::string number, target; lines >> number && std::getline(lines, target);) {
    channels += target.find("echelon-channel") != std::string::npos;
    sockets += target.find("socket:") != std::string::npos;
    EXPECT_THAT(target, Not(HasSubstr("pidfd")));
    EXPECT_THAT(target, Not(HasSubstr("signalfd")));
  }
  EXPECT_EQ(channels, 2) << "its own, and the test child's duplicate of it";
  EXPECT_EQ(sockets, 1) << "its edge";
}

TEST(ChildBootTest, AUsersDescriptorIsInherited) {
  auto users = create_pipe();
  ASSERT_TRUE(users.ok());
  const int fd = users->first.release();
  TestTree tree;
  ASSERT_TRUE(tree.start());
  EXPECT_THAT("\n" + tree.run(TestTask::kOpenFds), HasSubstr("\n" + std::to_string(fd) + " pipe:"));
  ::close(fd);
}

TEST(ChildBootTest, StdinIsEmpty) {
  TestTree tree;
  ASSERT_TRUE(tree.start());
  EXPECT_THAT("\n" + tree.run(TestTask::kOpenFds), HasSubstr("\n0 /dev/null"));
}

TEST(ChildBootTest, AnExecutedChildRefusesToBeStartedByHand) {
  std::string program = "chip";
  std::vector<char*> argv = {program.data()};
  const auto boot = enter_exec_child(argv);
  ASSERT_FALSE(boot.ok());
  EXPECT_THAT(boot.status().info().message, HasSubstr("started by an echelon Worker"));
}

TEST(ChildBootTest, ArgumentsOfAnExecutedChildAreChecked) {
  std::vector<std::string> texts = {"chip", "--echelon-child", "1", "9", "5", "6", "p", "n"};
  std::vector<char*> argv;
  for (std::string& text : texts) argv.push_back(text.data());
  const auto boot = enter_exec_child(argv);
  ASSERT_FALSE(boot.ok());
  EXPECT_EQ(boot.status().reason(), Reason::kBadArgument);
}

TEST(ChildBootTest, AMissingMainIsAFailedStart) {
  TestTree::Options options;
  options.sub_main = nullptr;
  TestTree tree(options);
  ASSERT_TRUE(
      tree.pump_until([&] { return tree.child().start_progress().state == StartState::kFailed; }));
  EXPECT_THAT(tree.child().start_progress().error.info().message, HasSubstr("has no main"));
}

TEST(ChildBootTest, AnExceptionInAMainIsAFailedStart) {
  TestTree::Options options;
  options.sub_main = [](ChildBoot) -> int { throw std::runtime_error("main broke"); };
  TestTree tree(options);
  ASSERT_TRUE(
      tree.pump_until([&] { return tree.child().start_progress().state == StartState::kFailed; }));
  EXPECT_THAT(tree.child().start_progress().error.info().message, HasSubstr("main broke"));
}

}  // namespace
}  // namespace echelon
