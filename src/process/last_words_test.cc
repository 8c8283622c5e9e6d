// SPDX-License-Identifier: Apache-2.0
#include "process/last_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "base/error_codec.h"
#include "process/sanitizers.h"
#include "process/test_tree.h"

namespace echelon {
namespace {

using testing::HasSubstr;

Status death_of(TestTask how, std::initializer_list<std::uint64_t> scalars = {}) {
  TestTree tree;
  EXPECT_TRUE(tree.start());
  tree.send(how, scalars);
  EXPECT_TRUE(tree.pump_until([&] { return tree.gone.contains(ChildIndex{0}); }));
  return tree.down[ChildIndex{0}];
}

TEST(LastWordsTest, ACrashSaysWhereAndLeavesAStack) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer has the signal";
  const Status why = death_of(TestTask::kCrash);
  EXPECT_EQ(why.reason(), Reason::kChildDied);
  EXPECT_EQ(why.info().cause, Cause::kSignal);
  EXPECT_EQ(why.info().signal, SIGSEGV);
  EXPECT_THAT(why.info().message, HasSubstr("killed by signal 11 (SIGSEGV)"));
  EXPECT_THAT(why.info().message, HasSubstr("SIGSEGV at address 0x0"));
  EXPECT_THAT(why.info().traceback, HasSubstr("#0 0x"));
}

TEST(LastWordsTest, AFailedCheckSaysWhich) {
  const Status why = death_of(TestTask::kCheck);
  EXPECT_EQ(why.info().signal, SIGABRT);
  EXPECT_THAT(why.info().message, HasSubstr("task.body.scalars.size() == 77"));
}

TEST(LastWordsTest, AKillLeavesNone) {
  const Status why = death_of(TestTask::kKillSelf);
  EXPECT_EQ(why.info().message, "its process was killed by signal 9 (SIGKILL)");
  EXPECT_EQ(why.info().path, "root/child0");
  EXPECT_EQ(why.info().host, "testhost");
  EXPECT_GT(why.info().pid, 0);
}

TEST(LastWordsTest, AnExitHasItsCode) {
  const Status why = death_of(TestTask::kExit, {3});
  EXPECT_EQ(why.info().cause, Cause::kExit);
  EXPECT_EQ(why.info().exit_code, 3);
  EXPECT_THAT(why.info().message, HasSubstr("exited with code 3"));
}

TEST(LastWordsTest, AnEncodedErrorIsReadBack) {
  ErrorInfo info;
  info.code = Code::kUnavailable;
  info.reason = Reason::kDriver;
  info.message = "no such device";
  const auto bytes = encode_error(info, kLastWordsBytesMax);
  const Status words =
      parse_last_words({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  EXPECT_EQ(words.reason(), Reason::kDriver);
  EXPECT_EQ(words.info().message, "no such device");
}

TEST(LastWordsTest, OtherBytesAreText) {
  const Status words = parse_last_words("SIGBUS at address 0x10\n  #0 0x1\n");
  EXPECT_EQ(words.info().message, "SIGBUS at address 0x10");
  EXPECT_EQ(words.info().traceback, "  #0 0x1\n");
  EXPECT_TRUE(parse_last_words("").ok());
}

TEST(LastWordsTest, TheStackOfABusyThread) {
  std::atomic<bool> ready{false};
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    ASSERT_TRUE(watch_stack().ok());
    ready = true;
    while (!stop) ::sched_yield();
  });
  while (!ready) ::sched_yield();
  EXPECT_THAT(stack_of(busy.native_handle()), HasSubstr("#0 0x"));
  stop = true;
  busy.join();
}

}  // namespace
}  // namespace echelon
