// SPDX-License-Identifier: Apache-2.0
#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "base/syscall.h"

namespace echelon {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(UniqueFd, ClosesWithItsOwner) {
  int number = -1;
  {
    const UniqueFd fd = create_memfd("test", 1).value();
    number = fd.get();
    EXPECT_TRUE(is_open(number));
    EXPECT_TRUE(fd_is_marked(number));
  }
  EXPECT_FALSE(is_open(number));
  EXPECT_FALSE(fd_is_marked(number));
}

TEST(UniqueFd, MovesKeepOneOwner) {
  UniqueFd first = create_memfd("test", 1).value();
  const int number = first.get();
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT: that is the question
  EXPECT_EQ(second.get(), number);
  second = UniqueFd();
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, ReleaseGivesItAwayUnmarked) {
  UniqueFd fd = create_memfd("test", 1).value();
  const int number = fd.release();
  EXPECT_TRUE(is_open(number));
  EXPECT_FALSE(fd_is_marked(number));
  ::close(number);
}

TEST(CloseInheritedFds, ClosesAllButThoseToKeepInTheChildAlone) {
  const UniqueFd lost = create_memfd("lost", 1).value();
  const UniqueFd kept = create_memfd("kept", 1).value();
  UniqueFd unmarked_owner = create_memfd("user's", 1).value();
  const int unmarked = unmarked_owner.release();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const std::array keep{kept.get()};
    const bool closed = close_inherited_fds(keep) >= 1;
    const bool right = closed && !is_open(lost.get()) && is_open(kept.get()) && is_open(unmarked);
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(is_open(lost.get()));
  ::close(unmarked);
}

}  // namespace
}  // namespace echelon
