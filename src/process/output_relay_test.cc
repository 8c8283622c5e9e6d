// SPDX-License-Identifier: Apache-2.0
#include "process/output_relay.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string>

#include "base/syscall.h"

namespace echelon {
namespace {

std::string read_some(int fd) {
  std::string text(1 << 16, '\0');
  const ssize_t got = ::read(fd, text.data(), text.size());
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

class OutputRelayTest : public testing::Test {
 protected:
  FdPair pipe = create_pipe().value();
  OutputRelay relay{pipe.second.get(), pipe.second.get()};
};

TEST_F(OutputRelayTest, LinesGoThrough) {
  relay.add(OutputStream::kStdout, "one\n");
  relay.add(OutputStream::kStderr, "two\n");
  EXPECT_TRUE(relay.flush());
  EXPECT_EQ(read_some(pipe.first.get()), "one\ntwo\n");
}

TEST_F(OutputRelayTest, AFullPipeDoesNotHoldUpTheThread) {
  relay.add(OutputStream::kStdout, std::string(200'000, 'x'));
  EXPECT_FALSE(relay.flush());
  std::size_t seen = 0;
  while (seen < 200'000) {
    seen += read_some(pipe.first.get()).size();
    relay.flush();
  }
  EXPECT_EQ(seen, 200'000u);
  EXPECT_TRUE(relay.flush());
}

TEST_F(OutputRelayTest, IsFullWhenNobodyReads) {
  EXPECT_FALSE(relay.full());
  relay.add(OutputStream::kStdout, std::string(kOutputWaitingMax + (1 << 17), 'x'));
  relay.flush();
  EXPECT_TRUE(relay.full());
}

TEST_F(OutputRelayTest, AReaderThatIsGoneLosesTheText) {
  ::signal(SIGPIPE, SIG_IGN);
  pipe.first.reset();
  relay.add(OutputStream::kStdout, "nobody reads this\n");
  EXPECT_TRUE(relay.flush());
}

TEST_F(OutputRelayTest, DrainingGivesUpAtItsDeadline) {
  SystemEnv env;
  relay.add(OutputStream::kStdout, std::string(200'000, 'x'));
  relay.drain_until(env.now_ns() + 20'000'000, env);
  EXPECT_TRUE(relay.flush());
}

}  // namespace
}  // namespace echelon
