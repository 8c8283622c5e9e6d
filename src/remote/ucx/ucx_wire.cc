// SPDX-License-Identifier: Apache-2.0
#include "remote/ucx/ucx_wire.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/codec.h"
#include "remote/manifest.h"

namespace echelon {
namespace {

constexpr std::uint32_t kMagic = 0x4C584345;  // "ECXL"
constexpr std::size_t kTokenBytesMax = 256;
constexpr std::size_t kWhyShownMax = 1024;

Status bad(std::string_view what) {
  return Status::error(Code::kInvalidArgument, Reason::kBadFrame, std::string(what));
}

void put_version(ByteWriter& out) {
  out.put(kMagic);
  out.put(static_cast<std::uint16_t>(kRemoteProtocolMajor));
  out.put(static_cast<std::uint16_t>(kRemoteProtocolMinor));
}

Status check_version(ByteReader& in, std::string_view who) {
  const auto magic = in.get<std::uint32_t>();
  const auto major = in.get<std::uint16_t>();
  const auto minor = in.get<std::uint16_t>();
  if (!in.ok() || magic != kMagic) {
    return bad(fmt::format("{} speaks UCX, but not this protocol", who));
  }
  if (major == kRemoteProtocolMajor) return {};
  return Status::error(
      Code::kFailedPrecondition, Reason::kSystem,
      fmt::format(
          "{} speaks version {}.{} of the protocol, and this one {}.{}: both must be of the "
          "same major version",
          who, major, minor, kRemoteProtocolMajor, kRemoteProtocolMinor));
}

}  // namespace

UcxHeader ucx_header(UcxNumbers numbers) {
  UcxHeader header;
  ByteWriter out(header);
  out.put(numbers.first);
  out.put(numbers.second);
  return header;
}

Result<UcxNumbers> ucx_numbers(std::span<const std::byte> header) {
  if (header.size() != kUcxHeaderBytes) {
    return bad(fmt::format("a header of {} bytes", header.size()));
  }
  ByteReader in(header);
  UcxNumbers numbers;
  numbers.first = in.get<std::uint64_t>();
  numbers.second = in.get<std::uint64_t>();
  return numbers;
}

UcxHeader ucx_hello(LaneRole role) {
  UcxHeader header;
  ByteWriter out(header);
  put_version(out);
  out.put(role);
  out.put_zeros(out.remaining());
  return header;
}

Result<LaneRole> check_ucx_hello(std::span<const std::byte> header) {
  ByteReader in(header);
  ECHELON_RETURN_IF_ERROR(check_version(in, "the parent that calls this session"));
  const auto role = in.get<LaneRole>();
  const bool known = std::find(kLaneConnectOrder.begin(), kLaneConnectOrder.end(), role) !=
                     kLaneConnectOrder.end();
  if (!in.ok() || !known) {
    return bad(fmt::format("there is no lane of role {}", static_cast<unsigned>(role)));
  }
  return role;
}

UcxHeader ucx_welcome(Code refused) {
  UcxHeader header;
  ByteWriter out(header);
  put_version(out);
  out.put(static_cast<std::uint32_t>(refused));
  out.put_zeros(out.remaining());
  return header;
}

Status check_ucx_welcome(std::span<const std::byte> header, std::span<const std::byte> why,
                         std::string_view who) {
  ByteReader in(header);
  ECHELON_RETURN_IF_ERROR(check_version(in, who));
  const auto code = in.get<std::uint32_t>();
  if (!in.ok()) return bad(fmt::format("{} answered with a welcome that is none", who));
  if (code == 0) return {};
  // Of the sixteen that there are.
  constexpr auto kCodeMax = static_cast<std::uint32_t>(Code::kUnauthenticated);
  std::string words(reinterpret_cast<const char*>(why.data()), std::min(why.size(), kWhyShownMax));
  std::replace_if(
      words.begin(), words.end(), [](unsigned char c) { return c < ' '; }, '?');
  return Status::error(code <= kCodeMax ? static_cast<Code>(code) : Code::kUnknown, Reason::kSystem,
                       fmt::format("{}: {}", who, words));
}

Status check_ucx_token(std::string_view token) {
  const bool printable =
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!token.empty() && token.size() <= kTokenBytesMax && printable) return {};
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                       fmt::format("a lane's token is 1 to {} printable characters without blanks; "
                                   "this one is none",
                                   kTokenBytesMax));
}

}  // namespace echelon
