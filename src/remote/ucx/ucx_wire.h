// SPDX-License-Identifier: Apache-2.0
//
// A lane over UCX, as bytes. Each active message has a header of 16 bytes, little-endian, and data:
//
//   id           header                                       data
//   1 HELLO      u32 magic, u16 major, u16 minor, u8 role,    the token, 1 to 256 bytes
//                u8 zeros[7]
//   2 WELCOME    u32 magic, u16 major, u16 minor, u32 code,   where refused (code is not 0): why,
//                u32 zero                                     text
//   3 MESSAGE    u64 number, u64 taken                        the message, eager or by rendezvous
//   4 TAKEN      u64 zero, u64 taken                          -
//   5 CLOSED     u64 number, u64 kind                         kind 1: an error (base/error_codec.h)
//
//   connecting end                      listening end
//   HELLO ----------------------------->
//         <----------------------------- WELCOME            then MESSAGE and TAKEN both ways
//   CLOSED ----------------------------> (either end)
//         <----------------------------- CLOSED             then the connection ends
//
// Numbers count a direction's messages from 0: a rendezvous ends after what was sent behind it, and
// the receiver puts them in order. `taken` is what the sender of this has handed on of what came:
// bytes, and kUcxMessageCost a message. Nobody has more than kLaneBufferBytes under way that are
// not taken. CLOSED's number is how many messages went before it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "remote/lane.h"

namespace echelon {

enum class UcxId : unsigned { kHello = 1, kWelcome = 2, kMessage = 3, kTaken = 4, kClosed = 5 };
inline constexpr std::array kUcxIds = {UcxId::kHello, UcxId::kWelcome, UcxId::kMessage,
                                       UcxId::kTaken, UcxId::kClosed};

inline constexpr std::size_t kUcxHeaderBytes = 16;
using UcxHeader = std::array<std::byte, kUcxHeaderBytes>;

/// What a message costs beside its bytes, so that empty ones are bounded, too.
inline constexpr std::size_t kUcxMessageCost = 64;
static_assert(kLaneMessageBytesMax + kUcxMessageCost <= kLaneBufferBytes);
/// Of HELLO, WELCOME and CLOSED.
inline constexpr std::size_t kUcxControlBytesMax = std::size_t{64} << 10;

enum class UcxEnd : std::uint64_t {
  kPlain = 0,  // closed without words
  kWords = 1,
  kGone = 2,  // the lane was destroyed
};

struct UcxNumbers {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};
UcxHeader ucx_header(UcxNumbers numbers);
/// Errors: kBadFrame for another size.
Result<UcxNumbers> ucx_numbers(std::span<const std::byte> header);

UcxHeader ucx_hello(LaneRole role);
/// Errors: kSystem for another version, both named; kBadFrame for what is no HELLO.
Result<LaneRole> check_ucx_hello(std::span<const std::byte> header);

UcxHeader ucx_welcome(Code refused);
/// `why` is the data that came with it; `who` begins sentences: "the session at host7:9". Errors:
/// as it was refused; as check_ucx_hello().
Status check_ucx_welcome(std::span<const std::byte> header, std::span<const std::byte> why,
                         std::string_view who);

/// Errors: kBadArgument for what cannot be a token.
Status check_ucx_token(std::string_view token);

}  // namespace echelon
