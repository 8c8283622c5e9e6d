// SPDX-License-Identifier: Apache-2.0
#include "cli/network_namespaces.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "cli/route_socket.h"

namespace echelon::cli {
namespace {

constexpr std::uint32_t kNetwork = 10u << 24 | 77u << 16;
constexpr unsigned kPrefixBits = 24;
constexpr const char* kBridge = "hosts0";
constexpr const char* kLink = "eth0";

Status write_file(const char* path, std::string_view text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file) return Status::from_errno(errno, fmt::format("open({})", path));
  if (::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
  return Status::from_errno(errno, fmt::format("write to {}", path));
}

/// The first namespace. Without CAP_SYS_ADMIN, in a user namespace of our own.
Status leave_network() {
  if (::unshare(CLONE_NEWNET) == 0) return {};
  if (errno != EPERM) return Status::from_errno(errno, "unshare(CLONE_NEWNET)");
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    return Status::from_errno(errno, "unshare(CLONE_NEWUSER | CLONE_NEWNET)");
  }
  ECHELON_RETURN_IF_ERROR(write_file("/proc/self/setgroups", "deny"));
  ECHELON_RETURN_IF_ERROR(write_file("/proc/self/uid_map", fmt::format("{} {} 1\n", user, user)));
  return write_file("/proc/self/gid_map", fmt::format("{} {} 1\n", group, group));
}

/// Its end in host 0.
std::string cable_of(std::size_t host) {
  return fmt::format("host{}", host);
}

Result<UniqueFd> this_namespace() {
  UniqueFd here(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (here) return here;
  return Status::from_errno(errno, "open(/proc/self/ns/net)");
}

Status move_to(int host) {
  if (::setns(host, CLONE_NEWNET) == 0) return {};
  return Status::from_errno(errno, "setns()");
}

/// Runs `trial` in a forked child, whose end undoes it.
template <class Trial>
Status try_in_child(const Trial& trial) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Status::from_errno(errno, "pipe2()");
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return Status::from_errno(errno, "fork()");
  if (child == 0) {
    const Status status = trial();
    const std::string text = status.ok() ? "" : status.info().message;
    (void)!::write(to.get(), text.data(), text.size());
    ::_exit(status.ok() ? 0 : 1);
  }
  to.reset();
  std::string text;
  std::array<char, 512> piece{};
  for (ssize_t got = 0; (got = ::read(from.get(), piece.data(), piece.size())) != 0;) {
    if (got > 0) text.append(piece.data(), static_cast<std::size_t>(got));
    if (got < 0 && errno != EINTR) break;
  }
  int ended = 0;
  while (::waitpid(child, &ended, 0) < 0 && errno == EINTR) {}
  if (WIFEXITED(ended) && WEXITSTATUS(ended) == 0) return {};
  return Status::error(Code::kFailedPrecondition, Reason::kSystem,
                       "network namespaces are not permitted here: " + text);
}

}  // namespace

Result<NetworkNamespaces> NetworkNamespaces::make(std::size_t hosts) {
  ECHELON_CHECK(hosts >= 1 && hosts <= kNamespaceHostsMax, hosts);
  // Out of a user namespace there is no way back.
  ECHELON_RETURN_IF_ERROR(try_in_child([hosts] { return make_here(hosts).status(); }));
  return make_here(hosts);
}

Result<NetworkNamespaces> NetworkNamespaces::make_here(std::size_t hosts) {
  NetworkNamespaces made;
  ECHELON_RETURN_IF_ERROR(leave_network());
  ECHELON_ASSIGN_OR_RETURN(UniqueFd first, this_namespace());
  made.hosts_.push_back(std::move(first));
  ECHELON_ASSIGN_OR_RETURN(RouteSocket route, RouteSocket::open());
  ECHELON_RETURN_IF_ERROR(route.bring_up("lo"));
  ECHELON_RETURN_IF_ERROR(route.add_bridge(kBridge));
  ECHELON_RETURN_IF_ERROR(route.add_address(kBridge, kNetwork + 1, kPrefixBits));
  ECHELON_RETURN_IF_ERROR(route.bring_up(kBridge));
  for (std::size_t host = 1; host < hosts; ++host) {
    ECHELON_RETURN_IF_ERROR(made.connect(host));
  }
  return made;
}

Status NetworkNamespaces::connect(std::size_t host) {
  if (::unshare(CLONE_NEWNET) != 0) return Status::from_errno(errno, "unshare(CLONE_NEWNET)");
  ECHELON_ASSIGN_OR_RETURN(UniqueFd there, this_namespace());
  ECHELON_ASSIGN_OR_RETURN(RouteSocket remote, RouteSocket::open());
  ECHELON_RETURN_IF_ERROR(move_to(hosts_.front().get()));
  ECHELON_ASSIGN_OR_RETURN(RouteSocket route, RouteSocket::open());
  const std::string cable = cable_of(host);
  ECHELON_RETURN_IF_ERROR(route.add_veth(cable, kLink, there.get()));
  ECHELON_RETURN_IF_ERROR(route.join_bridge(cable, kBridge));
  ECHELON_RETURN_IF_ERROR(route.bring_up(cable));

  ECHELON_RETURN_IF_ERROR(move_to(there.get()));
  ECHELON_RETURN_IF_ERROR(remote.bring_up("lo"));
  const auto number = static_cast<std::uint32_t>(host);
  ECHELON_RETURN_IF_ERROR(remote.add_address(kLink, kNetwork + 1 + number, kPrefixBits));
  ECHELON_RETURN_IF_ERROR(remote.bring_up(kLink));
  ECHELON_RETURN_IF_ERROR(move_to(hosts_.front().get()));
  hosts_.push_back(std::move(there));
  return {};
}

std::string NetworkNamespaces::address(std::size_t host) const {
  ECHELON_CHECK(host < hosts_.size(), host, hosts_.size());
  return fmt::format("{}.{}.0.{}", kNetwork >> 24, kNetwork >> 16 & 0xff, host + 1);
}

int NetworkNamespaces::enter(std::size_t host) const {
  return ::setns(hosts_[host].get(), CLONE_NEWNET) == 0 ? 0 : errno;
}

Status NetworkNamespaces::set_link(std::size_t host, bool up) const {
  ECHELON_CHECK(host >= 1 && host < hosts_.size(), host, hosts_.size());
  ECHELON_ASSIGN_OR_RETURN(RouteSocket route, RouteSocket::open());
  return up ? route.bring_up(cable_of(host)) : route.take_down(cable_of(host));
}

}  // namespace echelon::cli
