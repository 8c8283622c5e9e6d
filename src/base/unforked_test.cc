// SPDX-License-Identifier: Apache-2.0
#include "base/unforked.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mapping.h"

namespace echelon {
namespace {

std::byte* new_pages(std::size_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

/// Runs `fn` in a forked child that has guarded what it does not get; its exit code, or -signal.
template <class Fn>
int in_child(Fn fn) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    guard_excluded_ranges();
    fn();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(Unforked, TheParentKeepsIt) {
  std::byte* pages = new_pages(page_bytes());
  ASSERT_TRUE(exclude_from_forks(pages, page_bytes()).ok());
  pages[0] = std::byte{7};
  EXPECT_EQ(in_child([] {}), 0);
  EXPECT_EQ(pages[0], std::byte{7});
  forget_excluded(pages);
}

TEST(Unforked, NothingElseLandsThereInAChild) {
  const std::size_t bytes = 16 * page_bytes();
  std::byte* pages = new_pages(bytes);
  ASSERT_TRUE(exclude_from_forks(pages, bytes).ok());
  const int code = in_child([&] {
    for (int i = 0; i < 64; ++i) {
      std::byte* other = new_pages(page_bytes());
      if (other >= pages && other < pages + bytes) ::_exit(1);
    }
  });
  EXPECT_EQ(code, 0);
  forget_excluded(pages);
}

TEST(Unforked, WhatIsForgottenIsNotGuarded) {
  const std::size_t bytes = 4 * page_bytes();
  std::byte* pages = new_pages(bytes);
  ASSERT_TRUE(exclude_from_forks(pages, bytes).ok());
  forget_excluded(pages);
  ::munmap(pages, bytes);
  const int code = in_child([&] {
    void* at = ::mmap(pages, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ::_exit(at == MAP_FAILED ? 1 : 0);
  });
  EXPECT_EQ(code, 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Unforked, TouchingItInAChildIsASignal) {
#if defined(__aarch64__)
  GTEST_SKIP() << "run by qemu-user, which leaves MADV_DONTFORK out";
#endif
  std::byte* pages = new_pages(page_bytes());
  ASSERT_TRUE(exclude_from_forks(pages, page_bytes()).ok());
  EXPECT_EQ(in_child([&] { *static_cast<volatile std::byte*>(pages) = std::byte{1}; }), -SIGSEGV);
  forget_excluded(pages);
}
#endif

}  // namespace
}  // namespace echelon
