// SPDX-License-Identifier: Apache-2.0
#include "chip/image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/syscall.h"
#include "chip/elf.h"

namespace echelon {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kSource = R"(
#include <echelon/chip_kernel.h>
ECHELON_KERNEL(twice) {
  for (float& x : echelon::kernel::values<float>(args, context, 0)) x *= 2;
}
)";

std::string message(const Status& status) {
  return status.ok() ? "" : status.info().message;
}

class EnvironmentGuard {
 public:
  EnvironmentGuard(const char* name, const char* value) : name_(name) {
    const char* before = std::getenv(name);
    had_ = before != nullptr;
    if (had_) before_ = before;
    value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~EnvironmentGuard() { had_ ? ::setenv(name_, before_.c_str(), 1) : ::unsetenv(name_); }
  EnvironmentGuard(const EnvironmentGuard&) = delete;
  EnvironmentGuard& operator=(const EnvironmentGuard&) = delete;

 private:
  const char* name_;
  bool had_ = false;
  std::string before_;
};

TEST(KernelImage, FromASharedObject) {
  const auto image = KernelImage::from_file(ECHELON_TEST_KERNELS, "scale");
  ASSERT_TRUE(image.ok()) << image.status().to_string();
  EXPECT_EQ(image->kernel(), "scale");
  EXPECT_EQ(image->bytes(), std::filesystem::file_size(ECHELON_TEST_KERNELS));
  EXPECT_EQ(*file_bytes(image->descriptor()), image->file_bytes());
}

TEST(KernelImage, TheBytesAreSealed) {
  const auto image = KernelImage::from_file(ECHELON_TEST_KERNELS, "scale");
  ASSERT_TRUE(image.ok());
  EXPECT_LT(::pwrite(image->descriptor(), "x", 1, 0), 0);
  EXPECT_NE(::ftruncate(image->descriptor(), 0), 0);
}

TEST(KernelImage, EqualBytesHaveEqualDigests) {
  const auto a = KernelImage::from_file(ECHELON_TEST_KERNELS, "scale");
  const auto b = KernelImage::from_file(ECHELON_TEST_KERNELS, "idle");
  const auto c = KernelImage::from_file(ECHELON_TEST_KERNEL_IN_C, "fill_seven");
  EXPECT_EQ(a->digest(), b->digest());
  EXPECT_NE(a->digest(), c->digest());
}

TEST(KernelImage, TheDescriptorLivesAsLongAsACopy) {
  int descriptor = -1;
  {
    auto image = KernelImage::from_file(ECHELON_TEST_KERNEL_IN_C, "fill_seven");
    const KernelImage copy = *image;
    descriptor = copy.descriptor();
    image = KernelImage::from_file(ECHELON_TEST_KERNELS, "scale");
    EXPECT_GE(::fcntl(descriptor, F_GETFD), 0);
  }
  EXPECT_LT(::fcntl(descriptor, F_GETFD), 0);
}

TEST(KernelImage, AMissingKernelIsNamedBesideThoseThatExist) {
  const auto image = KernelImage::from_file(ECHELON_TEST_KERNELS, "skale");
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.status().reason(), Reason::kImage);
  EXPECT_THAT(message(image.status()), AllOf(HasSubstr(ECHELON_TEST_KERNELS), HasSubstr("'skale'"),
                                             HasSubstr("scale"), HasSubstr("increment")));
}

TEST(KernelImage, WhatIsNoSharedObjectIsRefused) {
  EXPECT_THAT(message(KernelImage::from_file("/etc/passwd", "k").status()),
              AllOf(HasSubstr("/etc/passwd"), HasSubstr("no ELF file")));
  EXPECT_THAT(message(KernelImage::from_file("/nowhere.so", "k").status()),
              AllOf(HasSubstr("/nowhere.so"), HasSubstr("cannot be read")));
  EXPECT_THAT(message(KernelImage::from_file("/tmp", "k").status()), HasSubstr("no regular file"));
}

TEST(KernelImage, CutAndBentElfIsRefusedNotRead) {
  std::ifstream file(ECHELON_TEST_KERNEL_IN_C, std::ios::binary);
  const std::string good(std::istreambuf_iterator<char>(file), {});
  for (std::size_t size = 0; size < good.size(); size += 97) {
    const std::string cut = good.substr(0, size);
    EXPECT_FALSE(exported_functions(std::as_bytes(std::span(cut))).ok()) << size;
  }
  // Any single byte may be anything; the parser answers or refuses.
  for (std::size_t at = 0; at < good.size(); at += 3) {
    std::string bent = good;
    bent[at] = static_cast<char>(~bent[at]);
    (void)exported_functions(std::as_bytes(std::span(bent)));
  }
}

TEST(KernelImage, AnotherMachinesImageIsRefused) {
  std::ifstream file(ECHELON_TEST_KERNEL_IN_C, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  bytes[18] = 8;  // e_machine: MIPS
  const auto image =
      KernelImage::from_bytes(std::as_bytes(std::span(bytes)), "fill_seven", "bytes");
  EXPECT_THAT(message(image.status()), HasSubstr("another machine"));
}

TEST(KernelImage, FromSource) {
  const auto image = KernelImage::from_source(kSource, "twice");
  ASSERT_TRUE(image.ok()) << image.status().to_string();
  EXPECT_GT(image->bytes(), 0u);
}

TEST(KernelImage, CompileErrorsAreInTheMessage) {
  const auto image =
      KernelImage::from_source("int f() {\n  return nonsense;\n}", "f",
                               {.flags = {}, .include_folders = {}, .file_name = "my.cc"});
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.status().reason(), Reason::kImage);
  EXPECT_THAT(message(image.status()),
              AllOf(HasSubstr("my.cc:2"), HasSubstr("nonsense"), Not(HasSubstr("echelon-"))));
}

TEST(KernelImage, ACompiledSourceWithoutTheKernelSaysWhichItHas) {
  const auto image = KernelImage::from_source(kSource, "thrice");
  EXPECT_THAT(message(image.status()), AllOf(HasSubstr("'thrice'"), HasSubstr("twice")));
}

TEST(KernelImage, FlagsComeAfterOurs) {
  const char* source = R"(
#include <echelon/chip_kernel.h>
#ifdef WITH_IT
ECHELON_KERNEL(with_it) {}
#endif
)";
  EXPECT_TRUE(
      KernelImage::from_source(source, "with_it", {.flags = {"-DWITH_IT"}, .include_folders = {}})
          .ok());
  EXPECT_FALSE(KernelImage::from_source(source, "with_it").ok());
}

TEST(KernelImage, AMissingCompilerIsNamed) {
  {
    const EnvironmentGuard guard("ECHELON_CXX", "/nowhere/no-such-compiler -v");
    EXPECT_THAT(message(KernelImage::from_source(kSource, "twice").status()),
                AllOf(HasSubstr("ECHELON_CXX"), HasSubstr("/nowhere/no-such-compiler")));
  }
  const EnvironmentGuard own("ECHELON_CXX", nullptr), cxx("CXX", nullptr), path("PATH", "/nowhere");
  EXPECT_THAT(message(KernelImage::from_source(kSource, "twice").status()),
              AllOf(HasSubstr("c++, g++, clang++"), HasSubstr("/nowhere")));
}

TEST(KernelImage, CompilingLeavesNothingBehind) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("image_test." + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  {
    const EnvironmentGuard guard("TMPDIR", folder.c_str());
    EXPECT_TRUE(KernelImage::from_source(kSource, "twice").ok());
    EXPECT_FALSE(KernelImage::from_source("nonsense", "twice").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

TEST(KernelImage, ABadScratchFolderIsNamed) {
  const EnvironmentGuard guard("TMPDIR", "/nowhere");
  EXPECT_THAT(message(KernelImage::from_source(kSource, "twice").status()), HasSubstr("/nowhere"));
}

}  // namespace
}  // namespace echelon
