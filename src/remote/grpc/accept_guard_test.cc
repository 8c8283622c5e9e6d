// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/accept_guard.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "base/fd.h"

namespace echelon {
namespace {

using testing::HasSubstr;

/// A limit of descriptors, while it lives.
class Limit {
 public:
  explicit Limit(rlim_t count) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few = {count, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  ~Limit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;

 private:
  rlimit before_{};
};

class AcceptGuardTest : public testing::Test {
 protected:
  AcceptGuardTest() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    at_.sin_family = AF_INET;
    at_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at_);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&at_), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&at_), &size);
  }
  /// Calls and is not answered yet.
  UniqueFd call() {
    UniqueFd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(made.get(), reinterpret_cast<const sockaddr*>(&at_), sizeof(at_)), 0);
    return made;
  }
  UniqueFd accept() {
    sockaddr_in from{};
    socklen_t size = sizeof(from);
    return UniqueFd(
        accept_guarded(listener_.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC));
  }
  static bool is_closed(const UniqueFd& connection) {
    std::array<char, 16> heard;
    const ssize_t count = ::recv(connection.get(), heard.data(), heard.size(), 0);
    return count == 0 || (count < 0 && errno == ECONNRESET);
  }
  /// All that are left.
  static std::vector<UniqueFd> fill() {
    std::vector<UniqueFd> all;
    for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) all.emplace_back(fd);
    EXPECT_EQ(errno, EMFILE);
    return all;
  }

  std::string told_;
  RefusalWatch watch_{[this](std::string_view line) { told_ = line; }};
  sockaddr_in at_{};
  UniqueFd listener_;
};

TEST_F(AcceptGuardTest, WhoCallsIsLetIn) {
  const UniqueFd caller = call();
  EXPECT_TRUE(accept());
  EXPECT_EQ(told_, "");
}

TEST_F(AcceptGuardTest, NobodyThereIsSaidAsAlways) {
  EXPECT_FALSE(accept());
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(AcceptGuardTest, WhoFindsNoDescriptorIsRefusedAndTheNextIsLetIn) {
  const Limit few(200);
  const UniqueFd early = call();
  const UniqueFd other = call();
  std::vector<UniqueFd> rest = fill();
  EXPECT_FALSE(accept());
  EXPECT_EQ(errno, EAGAIN) << "anything else is the end of gRPC's listener";
  EXPECT_TRUE(is_closed(early));
  EXPECT_TRUE(is_closed(other));
  rest.clear();  // a sanitizer's look at a matcher takes descriptors
  EXPECT_THAT(told_, HasSubstr("connections are refused"));
  EXPECT_THAT(told_, HasSubstr("ulimit -n"));
  const UniqueFd late = call();
  EXPECT_TRUE(accept());
}

TEST_F(AcceptGuardTest, TheLastDescriptorsAreNotForConnections) {
  const Limit few(200);
  const UniqueFd early = call();
  std::vector<UniqueFd> rest = fill();
  rest.resize(rest.size() - 20);
  EXPECT_FALSE(accept());
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_TRUE(is_closed(early));
}

}  // namespace
}  // namespace echelon
