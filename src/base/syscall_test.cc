// SPDX-License-Identifier: Apache-2.0
#include "base/syscall.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <thread>

namespace echelon {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

bool is_cloexec(int fd) {
  return (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Memfd, HasItsSizeAndIsCloexec) {
  const UniqueFd fd = create_memfd("test", 12345).value();
  EXPECT_EQ(file_bytes(fd.get()).value(), 12345u);
  EXPECT_TRUE(is_cloexec(fd.get()));
}

TEST(Memfd, SealsHold) {
  const UniqueFd fd = create_memfd("test", 4096).value();
  ASSERT_TRUE(add_seals(fd.get(), F_SEAL_SHRINK | F_SEAL_GROW).ok());
  EXPECT_EQ(get_seals(fd.get()).value() & (F_SEAL_SHRINK | F_SEAL_GROW),
            F_SEAL_SHRINK | F_SEAL_GROW);
  EXPECT_NE(::ftruncate(fd.get(), 8192), 0);
}

TEST(Memfd, ImpossibleSizesAreAnError) {
  EXPECT_EQ(create_memfd("test", UINT64_MAX).status().reason(), Reason::kSystem);
}

TEST(Seals, OtherFilesHaveNone) {
  const FdPair pipe = create_pipe().value();
  EXPECT_FALSE(get_seals(pipe.first.get()).ok());
}

TEST(Futex, AnotherValueDoesNotSleep) {
  const std::atomic<std::uint32_t> word{1};
  EXPECT_EQ(futex_wait(word, 0, 0), FutexWait::kChanged);
}

TEST(Futex, TheDeadlineIsAbsolute) {
  SystemEnv env;
  const std::atomic<std::uint32_t> word{0};
  const MonotonicNs deadline = env.now_ns() + 2 * kMs;
  EXPECT_EQ(futex_wait(word, 0, deadline), FutexWait::kTimedOut);
  EXPECT_GE(env.now_ns(), deadline);
  EXPECT_EQ(futex_wait(word, 0, 1), FutexWait::kTimedOut);
}

TEST(Futex, WakeEndsASleep) {
  std::atomic<std::uint32_t> word{0};
  std::thread sleeper([&] {
    while (word.load(std::memory_order_relaxed) == 0) futex_wait(word, 0, 0);
  });
  word.store(1, std::memory_order_relaxed);
  futex_wake(word, 1);
  sleeper.join();
}

TEST(Futex, WakingNobodyWakesNobody) {
  const std::atomic<std::uint32_t> word{0};
  EXPECT_EQ(futex_wake(word, 1), 0);
}

TEST(Futex, WhoIsMovedToAnotherWordIsWokenThere) {
  const std::atomic<std::uint32_t> from{0};
  const std::atomic<std::uint32_t> to{0};
  FutexWait outcome = FutexWait::kChanged;
  std::thread sleeper([&] { outcome = futex_wait(from, 0, 0); });
  while (futex_requeue(from, 1, to) == 0) std::this_thread::yield();
  EXPECT_EQ(futex_wake(from, 1), 0);
  EXPECT_EQ(futex_wake(to, 1), 1);
  sleeper.join();
  EXPECT_EQ(outcome, FutexWait::kWoken);
}

TEST(FutexWaitv, AnyWordThatChangedEndsIt) {
  const std::atomic<std::uint32_t> a{0};
  const std::atomic<std::uint32_t> b{1};
  const std::array waiters{FutexWaiter{&a, 0}, FutexWaiter{&b, 0}};
  const auto result = futex_waitv(waiters, 0);
  if (!result.ok() && result.status().code() == Code::kUnimplemented) {
    GTEST_SKIP() << "this kernel has no futex_waitv";
  }
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  EXPECT_EQ(result->outcome, FutexWait::kChanged);
}

TEST(FutexWaitv, TheDeadlineIsAbsolute) {
  SystemEnv env;
  const std::atomic<std::uint32_t> a{0};
  const std::array waiters{FutexWaiter{&a, 0}};
  const auto result = futex_waitv(waiters, env.now_ns() + 2 * kMs);
  if (!result.ok() && result.status().code() == Code::kUnimplemented) {
    GTEST_SKIP() << "this kernel has no futex_waitv";
  }
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  EXPECT_EQ(result->outcome, FutexWait::kTimedOut);
}

TEST(Pidfd, SignalsWhomItWasOpenedFor) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    while (true) ::pause();
  }
  const UniqueFd pidfd = pidfd_open(child).value();
  EXPECT_TRUE(is_cloexec(pidfd.get()));
  EXPECT_TRUE(pidfd_send_signal(pidfd.get(), SIGKILL).ok());
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(pidfd_send_signal(pidfd.get(), 0).code(), Code::kNotFound);
}

TEST(Pidfd, NobodyIsAnError) {
  EXPECT_EQ(pidfd_open(-1).status().reason(), Reason::kSystem);
}

TEST(Messages, CarryBytesAndDescriptors) {
  const FdPair pair = create_socketpair().value();
  const UniqueFd memory = create_memfd("test", 777).value();
  const std::array fds{memory.get()};
  ASSERT_TRUE(send_message(pair.first.get(), as_bytes("hello"), fds).ok());
  std::array<std::byte, 16> buffer{};
  const Message message = receive_message(pair.second.get(), buffer).value();
  EXPECT_EQ(message.bytes, 5u);
  EXPECT_FALSE(message.truncated);
  ASSERT_EQ(message.fds.size(), 1u);
  EXPECT_TRUE(is_cloexec(message.fds[0].get()));
  EXPECT_EQ(file_bytes(message.fds[0].get()).value(), 777u);
}

TEST(Messages, KeepTheirBounds) {
  const FdPair pair = create_socketpair().value();
  ASSERT_TRUE(send_message(pair.first.get(), as_bytes("one"), {}).ok());
  ASSERT_TRUE(send_message(pair.first.get(), as_bytes("three"), {}).ok());
  std::array<std::byte, 16> buffer{};
  EXPECT_EQ(receive_message(pair.second.get(), buffer)->bytes, 3u);
  EXPECT_EQ(receive_message(pair.second.get(), buffer)->bytes, 5u);
}

TEST(Messages, TooLongOnesSaySo) {
  const FdPair pair = create_socketpair().value();
  ASSERT_TRUE(send_message(pair.first.get(), as_bytes("hello"), {}).ok());
  std::array<std::byte, 2> buffer{};
  EXPECT_TRUE(receive_message(pair.second.get(), buffer)->truncated);
}

TEST(Messages, WithoutWaitingNothingIsNone) {
  const FdPair pair = create_socketpair().value();
  std::array<std::byte, 2> buffer{};
  EXPECT_TRUE(receive_message(pair.second.get(), buffer, false)->none);
}

TEST(Messages, AClosedPeerIsTheEnd) {
  FdPair pair = create_socketpair().value();
  pair.first.reset();
  std::array<std::byte, 2> buffer{};
  EXPECT_TRUE(receive_message(pair.second.get(), buffer)->end);
  EXPECT_EQ(send_message(pair.second.get(), as_bytes("x"), {}).code(), Code::kUnavailable);
}

TEST(Messages, AFullSocketIsExhausted) {
  const FdPair pair = create_socketpair().value();
  Status status;
  while (status.ok()) status = send_message(pair.first.get(), as_bytes("hello"), {}, false);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
}

TEST(Descriptors, DuplicatesAreCloexecAndOfTheSameFile) {
  const UniqueFd fd = create_memfd("test", 99).value();
  const UniqueFd copy = duplicate_fd(fd.get()).value();
  EXPECT_NE(copy.get(), fd.get());
  EXPECT_TRUE(is_cloexec(copy.get()));
  EXPECT_EQ(file_bytes(copy.get()).value(), 99u);
}

TEST(Descriptors, NonblockingCanBeSetAndCleared) {
  const FdPair pipe = create_pipe().value();
  ASSERT_TRUE(set_nonblocking(pipe.first.get(), true).ok());
  EXPECT_NE(::fcntl(pipe.first.get(), F_GETFL) & O_NONBLOCK, 0);
  ASSERT_TRUE(set_nonblocking(pipe.first.get(), false).ok());
  EXPECT_EQ(::fcntl(pipe.first.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(Descriptors, AreNeverStdio) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
    const auto file = create_memfd("test", 1);
    const auto pipe = create_pipe();
    const auto pair = create_socketpair();
    const auto self = pidfd_open(::getpid());
    const bool above = file.ok() && file->get() > 2 && pipe.ok() && pipe->first.get() > 2 &&
                       pipe->second.get() > 2 && pair.ok() && pair->first.get() > 2 &&
                       pair->second.get() > 2 && self.ok() && self->get() > 2;
    ::_exit(above ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace echelon
