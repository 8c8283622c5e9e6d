// SPDX-License-Identifier: Apache-2.0
#include "base/fork_generation.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace echelon {
namespace {

int exit_status_of(pid_t child) {
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(ForkGeneration, AMarkKnowsThatItIsACopy) {
  const ForkMark mark;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(mark.in_forked_copy() ? 0 : 1);
  EXPECT_EQ(exit_status_of(child), 0);
  EXPECT_FALSE(mark.in_forked_copy());
}

TEST(ForkGeneration, AGrandchildsDiffersFromItsParents) {
  fork_generation();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const ForkMark mark;
    const pid_t grandchild = ::fork();
    if (grandchild == 0) ::_exit(mark.in_forked_copy() ? 0 : 1);
    ::_exit(!mark.in_forked_copy() && exit_status_of(grandchild) == 0 ? 0 : 1);
  }
  EXPECT_EQ(exit_status_of(child), 0);
}

TEST(ForkGeneration, AdoptMakesACopyOnesOwn) {
  ForkMark mark;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    mark.adopt();
    ::_exit(mark.in_forked_copy() ? 1 : 0);
  }
  EXPECT_EQ(exit_status_of(child), 0);
}

}  // namespace
}  // namespace echelon
