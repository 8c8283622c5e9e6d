// SPDX-License-Identifier: Apache-2.0
#include "cli/route_socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

namespace echelon::cli {
namespace {

/// A request: header, the family's own header, attributes.
class Message {
 public:
  template <class Family>
  Message(std::uint16_t type, std::uint16_t flags, const Family& family) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    append(&header, sizeof header);
    append(&family, sizeof family);
  }

  void add(std::uint16_t type, const void* value, std::size_t bytes) {
    const rtattr attribute{static_cast<std::uint16_t>(RTA_LENGTH(bytes)), type};
    append(&attribute, sizeof attribute);
    append(value, bytes);
  }
  void add(std::uint16_t type, const std::string& text) {
    add(type, text.c_str(), text.size() + 1);
  }
  template <class T>
  void add_value(std::uint16_t type, const T& value) {
    add(type, &value, sizeof value);
  }

  /// What is added until end() belongs to it.
  std::size_t begin(std::uint16_t type) {
    const std::size_t at = bytes_.size();
    add(type, nullptr, 0);
    return at;
  }
  void end(std::size_t at) {
    const auto length = static_cast<std::uint16_t>(bytes_.size() - at);
    std::memcpy(bytes_.data() + at, &length, sizeof length);
  }
  template <class T>
  void append_plain(const T& value) {
    append(&value, sizeof value);
  }

  std::span<const std::byte> finish() {
    const auto length = static_cast<std::uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &length, sizeof length);
    return bytes_;
  }

 private:
  void append(const void* from, std::size_t bytes) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + NLMSG_ALIGN(bytes));
    if (bytes != 0) std::memcpy(bytes_.data() + at, from, bytes);
  }

  std::vector<std::byte> bytes_;
};

Message new_link(std::uint16_t flags, const std::string& link) {
  ifinfomsg info{};
  info.ifi_family = AF_UNSPEC;
  Message message(RTM_NEWLINK, flags, info);
  message.add(IFLA_IFNAME, link);
  return message;
}

constexpr std::uint16_t kMake = NLM_F_CREATE | NLM_F_EXCL;

Result<std::uint32_t> index_of(const std::string& link) {
  const unsigned index = ::if_nametoindex(link.c_str());
  if (index != 0) return index;
  return Status::from_errno(errno, fmt::format("if_nametoindex({})", link));
}

}  // namespace

Result<RouteSocket> RouteSocket::open() {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return Status::from_errno(errno, "socket(AF_NETLINK)");
  return RouteSocket(std::move(socket));
}

Status RouteSocket::request(std::span<const std::byte> message, std::string_view what) {
  if (::send(socket_.get(), message.data(), message.size(), 0) < 0) {
    return Status::from_errno(errno, std::string(what));
  }
  std::array<std::byte, 8192> reply{};
  const ssize_t got = ::recv(socket_.get(), reply.data(), reply.size(), 0);
  if (got < 0) return Status::from_errno(errno, std::string(what));
  nlmsghdr header{};
  nlmsgerr error{};
  if (static_cast<std::size_t>(got) < sizeof header + sizeof error.error) {
    return Status::from_errno(EBADMSG, std::string(what));
  }
  std::memcpy(&header, reply.data(), sizeof header);
  std::memcpy(&error.error, reply.data() + sizeof header, sizeof error.error);
  if (header.nlmsg_type != NLMSG_ERROR) return Status::from_errno(EBADMSG, std::string(what));
  return error.error == 0 ? Status() : Status::from_errno(-error.error, std::string(what));
}

Status RouteSocket::set_up(const std::string& link, bool up) {
  ifinfomsg info{};
  info.ifi_family = AF_UNSPEC;
  info.ifi_change = IFF_UP;
  info.ifi_flags = up ? IFF_UP : 0;
  Message message(RTM_NEWLINK, 0, info);
  message.add(IFLA_IFNAME, link);
  return request(message.finish(), fmt::format("{} {}", up ? "bring up" : "take down", link));
}

Status RouteSocket::add_address(const std::string& link, std::uint32_t address,
                                unsigned prefix_bits) {
  ECHELON_ASSIGN_OR_RETURN(const std::uint32_t index, index_of(link));
  ifaddrmsg info{};
  info.ifa_family = AF_INET;
  info.ifa_prefixlen = static_cast<std::uint8_t>(prefix_bits);
  info.ifa_index = index;
  Message message(RTM_NEWADDR, kMake, info);
  const std::uint32_t wire = htonl(address);
  message.add_value(IFA_LOCAL, wire);
  message.add_value(IFA_ADDRESS, wire);
  return request(message.finish(), fmt::format("give {} an address", link));
}

Status RouteSocket::add_bridge(const std::string& link) {
  Message message = new_link(kMake, link);
  const std::size_t kind = message.begin(IFLA_LINKINFO);
  message.add(IFLA_INFO_KIND, std::string("bridge"));
  message.end(kind);
  return request(message.finish(), "make a bridge");
}

Status RouteSocket::add_veth(const std::string& link, const std::string& peer, int peer_namespace) {
  Message message = new_link(kMake, link);
  const std::size_t kind = message.begin(IFLA_LINKINFO);
  message.add(IFLA_INFO_KIND, std::string("veth"));
  const std::size_t data = message.begin(IFLA_INFO_DATA);
  const std::size_t other = message.begin(VETH_INFO_PEER);
  message.append_plain(ifinfomsg{});
  message.add(IFLA_IFNAME, peer);
  message.add_value(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_namespace));
  message.end(other);
  message.end(data);
  message.end(kind);
  return request(message.finish(), "make a pair of virtual links");
}

Status RouteSocket::join_bridge(const std::string& link, const std::string& bridge) {
  ECHELON_ASSIGN_OR_RETURN(const std::uint32_t master, index_of(bridge));
  Message message = new_link(0, link);
  message.add_value(IFLA_MASTER, master);
  return request(message.finish(), fmt::format("put {} into {}", link, bridge));
}

}  // namespace echelon::cli
