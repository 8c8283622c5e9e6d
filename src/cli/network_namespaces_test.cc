// SPDX-License-Identifier: Apache-2.0
//
// Each test makes its network in a forked child, as it does not come out of it again.
#include "cli/network_namespaces.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <functional>
#include <string>

namespace echelon::cli {
namespace {

constexpr int kNotPermitted = 77;

/// The exit code of `body` in a child, within a network of three hosts.
int in_network(const std::function<int(const NetworkNamespaces&)>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    const auto network = NetworkNamespaces::make(3);
    if (!network.ok()) {
      static_cast<void>(!::write(2, network.status().info().message.data(),
                                 network.status().info().message.size()));
      ::_exit(kNotPermitted);
    }
    ::_exit(body(*network));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define SKIP_WHERE_NOT_PERMITTED(code) \
  if ((code) == kNotPermitted) GTEST_SKIP() << "network namespaces are not permitted here"

sockaddr_in at(const std::string& address, std::uint16_t port) {
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &place.sin_addr);
  return place;
}

UniqueFd listen_at(const std::string& address, std::uint16_t port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in place = at(address, port);
  const bool bound =
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) == 0;
  return bound && ::listen(socket.get(), 8) == 0 ? std::move(socket) : UniqueFd();
}

int connect_to(const std::string& address, std::uint16_t port) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in place = at(address, port);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) == 0
             ? 0
             : errno;
}

std::string namespace_here() {
  std::array<char, PATH_MAX> text{};
  const ssize_t bytes = ::readlink("/proc/self/ns/net", text.data(), text.size());
  return {text.data(), static_cast<std::size_t>(bytes > 0 ? bytes : 0)};
}

TEST(NetworkNamespaces, EveryHostReachesEveryOther) {
  const int code = in_network([](const NetworkNamespaces& network) {
    constexpr std::uint16_t kPort = 7000;
    for (std::size_t from = 0; from < network.size(); ++from) {
      for (std::size_t to = 0; to < network.size(); ++to) {
        const auto port = static_cast<std::uint16_t>(kPort + from);
        if (network.enter(to) != 0) return 1;
        const UniqueFd listening = listen_at(network.address(to), port);
        if (!listening) return 2;
        if (network.enter(from) != 0) return 3;
        if (connect_to(network.address(to), port) != 0) return 4;
      }
    }
    return 0;
  });
  SKIP_WHERE_NOT_PERMITTED(code);
  EXPECT_EQ(code, 0);
}

TEST(NetworkNamespaces, EachHasItsOwnPortsAndLoopback) {
  const int code = in_network([](const NetworkNamespaces& network) {
    const UniqueFd here = listen_at("127.0.0.1", 7100);
    if (!here || connect_to("127.0.0.1", 7100) != 0) return 1;
    if (network.enter(1) != 0) return 2;
    if (connect_to("127.0.0.1", 7100) != ECONNREFUSED) return 3;
    const UniqueFd there = listen_at("127.0.0.1", 7100);
    return there ? 0 : 4;
  });
  SKIP_WHERE_NOT_PERMITTED(code);
  EXPECT_EQ(code, 0);
}

TEST(NetworkNamespaces, ALinkThatIsDownCarriesNothingUntilItIsUpAgain) {
  const int code = in_network([](const NetworkNamespaces& network) {
    if (network.enter(1) != 0) return 1;
    const UniqueFd there = listen_at(network.address(1), 7300);
    if (network.enter(0) != 0 || !network.set_link(1, false).ok()) return 2;
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_in place = at(network.address(1), 7300);
    const auto connected = [&] {
      return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) == 0;
    };
    if (connected() || errno != EINPROGRESS || connected() || errno != EALREADY) return 3;
    if (!network.set_link(1, true).ok()) return 4;
    // The kernel tries again by itself.
    while (!connected() && errno != EISCONN) ::usleep(1000);
    return 0;
  });
  SKIP_WHERE_NOT_PERMITTED(code);
  EXPECT_EQ(code, 0);
}

TEST(NetworkNamespaces, WhatListensOutsideIsNotReached) {
  const UniqueFd outside = listen_at("127.0.0.1", 7200);
  ASSERT_TRUE(outside);
  ASSERT_EQ(connect_to("127.0.0.1", 7200), 0);
  const int code =
      in_network([](const NetworkNamespaces&) { return connect_to("127.0.0.1", 7200); });
  SKIP_WHERE_NOT_PERMITTED(code);
  EXPECT_EQ(code, ECONNREFUSED);
}

TEST(NetworkNamespaces, TheProcessThatAskedIsInTheFirst) {
  const std::string before = namespace_here();
  const int code = in_network([&](const NetworkNamespaces& network) {
    const std::string first = namespace_here();
    if (first == before) return 1;
    if (network.enter(2) != 0 || namespace_here() == first) return 2;
    return network.enter(0) == 0 && namespace_here() == first ? 0 : 3;
  });
  SKIP_WHERE_NOT_PERMITTED(code);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(namespace_here(), before);
}

}  // namespace
}  // namespace echelon::cli
