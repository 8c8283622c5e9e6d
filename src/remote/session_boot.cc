// SPDX-License-Identifier: Apache-2.0
#include "remote/session_boot.h"

#include <fmt/format.h>

#include <utility>

#include "base/codec.h"
#include "base/syscall.h"

namespace echelon {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kFixedBytes = 24;

}  // namespace

Result<std::shared_ptr<const Payload>> take_manifest(ChildBoot& boot) {
  if (!boot.payload) {
    return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                         fmt::format("{}: a session's process without its manifest", boot.path));
  }
  ECHELON_ASSIGN_OR_RETURN(const std::uint64_t bytes, file_bytes(boot.payload.get()));
  return Payload::open(std::move(boot.payload), bytes);
}

Result<std::vector<std::byte>> encode_announcement(const SessionReady& ready) {
  const bool fits = ready.address.size() <= kSessionAddressBytesMax &&
                    ready.token.size() <= kSessionTokenBytesMax;
  if (!fits || ready.address.empty() || ready.token.empty()) {
    return Status::error(Code::kInvalidArgument, fits ? Reason::kBadArgument : Reason::kTooLarge,
                         fmt::format("a session with an address of {} bytes (1 to {}) and a token "
                                     "of {} (1 to {})",
                                     ready.address.size(), kSessionAddressBytesMax,
                                     ready.token.size(), kSessionTokenBytesMax));
  }
  std::vector<std::byte> bytes(kFixedBytes + ready.address.size() + ready.token.size());
  ByteWriter out(bytes);
  out.put(kVersion);
  out.put(std::uint8_t{0});
  out.put(static_cast<std::uint16_t>(ready.address.size()));
  out.put(static_cast<std::uint16_t>(ready.token.size()));
  out.put(std::uint16_t{0});
  out.put(ready.pool.value);
  out.put(ready.memory_bytes_max);
  out.put_text(ready.address);
  out.put_text(ready.token);
  ECHELON_CHECK(out.ok() && out.remaining() == 0, out.size());
  return bytes;
}

Result<SessionReady> decode_announcement(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  const auto version = in.get<std::uint8_t>();
  const auto zero = in.get<std::uint8_t>();
  const auto address_bytes = in.get<std::uint16_t>();
  const auto token_bytes = in.get<std::uint16_t>();
  const auto more_zero = in.get<std::uint16_t>();
  SessionReady ready;
  ready.pool = Uid{in.get<std::uint64_t>()};
  ready.memory_bytes_max = in.get<std::uint64_t>();
  ready.address = in.text(address_bytes);
  ready.token = in.text(token_bytes);
  const bool whole = in.ok() && in.remaining() == 0 && version == kVersion && zero == 0 &&
                     more_zero == 0 && address_bytes != 0 && token_bytes != 0 &&
                     address_bytes <= kSessionAddressBytesMax &&
                     token_bytes <= kSessionTokenBytesMax;
  if (whole) return ready;
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       fmt::format("it became ready and did not say where its lanes listen ({} "
                                   "bytes of version {})",
                                   bytes.size(), version));
}

}  // namespace echelon
