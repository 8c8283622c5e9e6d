// SPDX-License-Identifier: Apache-2.0
#include "process/death_cause.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace echelon {
namespace {

// A zombie: ended, not reaped.
class Zombie {
 public:
  template <class Body>
  explicit Zombie(Body body) : pid_(::fork()) {
    if (pid_ == 0) {
      body();
      ::_exit(0);
    }
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  ~Zombie() { ::waitpid(pid_, nullptr, 0); }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

TEST(DeathCauseTest, AKilledProcess) {
  const Zombie zombie([] { ::raise(SIGKILL); });
  const auto cause = read_death_cause(zombie.pid());
  ASSERT_TRUE(cause.has_value());
  EXPECT_EQ(cause->describe(), "killed by signal 9 (SIGKILL)");
}

TEST(DeathCauseTest, AnExitCode) {
  const Zombie zombie([] { ::_exit(3); });
  const auto cause = read_death_cause(zombie.pid());
  ASSERT_TRUE(cause.has_value());
  EXPECT_EQ(cause->describe(), "exited with code 3");
}

TEST(DeathCauseTest, AnExitWithCodeZero) {
  const Zombie zombie([] {});
  const auto cause = read_death_cause(zombie.pid());
  ASSERT_TRUE(cause.has_value());
  EXPECT_EQ(cause->describe(), "exited with code 0");
}

TEST(DeathCauseTest, NoneOfALivingProcess) {
  EXPECT_FALSE(read_death_cause(::getpid()).has_value());
}

TEST(DeathCauseTest, NoneWhereThereIsNoSuchProcess) {
  EXPECT_FALSE(read_death_cause(0x7FFFFFF).has_value());
}

TEST(DeathCauseTest, ACommandNameMayHoldAnything) {
  std::string stat = "12 (a) R (b)) Z";
  for (int field = 4; field < 52; ++field) stat += " 1";
  stat += " 9\n";
  const auto cause = parse_death_cause(stat);
  ASSERT_TRUE(cause.has_value());
  EXPECT_EQ(cause->signal, SIGKILL);
}

TEST(DeathCauseTest, AShortTextIsNone) {
  EXPECT_FALSE(parse_death_cause("12 (a) Z 1 2 3").has_value());
  EXPECT_FALSE(parse_death_cause("").has_value());
}

TEST(DeathCauseTest, FillsAnError) {
  ErrorInfo info;
  DeathCause::from_wait_status(SIGSEGV).fill(info);
  EXPECT_EQ(info.cause, Cause::kSignal);
  EXPECT_EQ(info.signal, SIGSEGV);
  DeathCause::from_wait_status(3 << 8).fill(info);
  EXPECT_EQ(info.cause, Cause::kExit);
  EXPECT_EQ(info.exit_code, 3);
}

TEST(DeathCauseTest, OutOfMemoryIsACauseOfItsOwn) {
  DeathCause cause = DeathCause::from_wait_status(SIGKILL);
  cause.out_of_memory = true;
  ErrorInfo info;
  cause.fill(info);
  EXPECT_EQ(info.cause, Cause::kOutOfMemory);
  EXPECT_EQ(cause.describe(), "killed by signal 9 (SIGKILL), out of memory");
}

}  // namespace
}  // namespace echelon
