// SPDX-License-Identifier: Apache-2.0
#include "base/mapping.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/syscall.h"

namespace echelon {
namespace {

TEST(Mapping, TwoMappingsOfAFileShareItsBytes) {
  const UniqueFd fd = create_memfd("test", page_bytes()).value();
  const Mapping a = Mapping::map(fd.get(), page_bytes(), {}).value();
  MapOptions options;
  options.access = MapAccess::kRead;
  const Mapping b = Mapping::map(fd.get(), page_bytes(), options).value();
  a.data()[10] = std::byte{5};
  EXPECT_EQ(b.data()[10], std::byte{5});
}

TEST(Mapping, BadDescriptorsAreAnError) {
  const auto mapping = Mapping::map(-1, 100, {});
  ASSERT_FALSE(mapping.ok());
  EXPECT_EQ(mapping.status().reason(), Reason::kSystem);
}

TEST(Mapping, DontForkLeavesNothingInTheChild) {
#if defined(__aarch64__)
  GTEST_SKIP() << "run by qemu-user, which leaves MADV_DONTFORK out";
#endif
  const UniqueFd fd = create_memfd("test", page_bytes()).value();
  MapOptions options;
  options.dont_fork = true;
  options.prefault = true;
  const Mapping mapping = Mapping::map(fd.get(), page_bytes(), options).value();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // msync answers ENOMEM for what is not mapped
    const bool gone = ::msync(mapping.data(), mapping.size(), MS_ASYNC) != 0 && errno == ENOMEM;
    ::_exit(gone ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Mapping, MovesKeepOneOwner) {
  const UniqueFd fd = create_memfd("test", page_bytes()).value();
  Mapping a = Mapping::map(fd.get(), page_bytes(), {}).value();
  const Mapping b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT: that is the question
  EXPECT_EQ(b.size(), page_bytes());
}

TEST(Mapping, PagesRoundUp) {
  EXPECT_EQ(round_up_to_pages(0), 0u);
  EXPECT_EQ(round_up_to_pages(1), page_bytes());
  EXPECT_EQ(round_up_to_pages(page_bytes()), page_bytes());
}

}  // namespace
}  // namespace echelon
