// SPDX-License-Identifier: Apache-2.0
//
// The bodies of kRegister, kUnregister and their replies on the control rings
// (docs/design/0011-registration.md). Little-endian; everything that is read is checked.
//
//   kRegister         frame: task = token, slot, deadline
//     u16 version  u8 kind  u8 form  u8 flags (1: below its Worker)  u8 hops  u16 name bytes
//     u64 serial  u64 owner  u64 payload bytes  u64 push (0: the payload follows inline)
//     32 bytes SHA-256 of the payload  hops x u32 child index  name  payload
//   kRegisterReply, kUnregisterReply        frame: task = token
//     u16 version  u8 ok  u8 zero  u32 left out  u32 runners  u32 count  count x
//       u8 outcome  u8 zero  u16 path bytes  u16 message bytes  u16 traceback bytes  i64 pid
//       path  message  traceback
//   kUnregister       frame: task = token, slot
//     u16 version  u16 zero  u32 zero  u64 serial
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/callable_form.h>

#include "base/digest.h"
#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "process/payload.h"
#include "shm/frame.h"

namespace echelon {

/// What is registered. A library is what sub and orchestration functions are found in by name.
enum class RegisteredKind : std::uint8_t { kSub = 0, kOrch = 1, kChip = 2, kLibrary = 3 };
std::string_view to_string(RegisteredKind kind);

inline constexpr std::uint16_t kRegistrationVersion = 1;
inline constexpr std::size_t kCallableNameBytesMax = 1024;
/// From a root at level 6 to a host at level 3.
inline constexpr std::size_t kRouteHopsMax = 3;
inline constexpr std::size_t kAnswerMessageBytesMax = 4096;
/// Of what a callable's language did when it failed to make it: the last lines.
inline constexpr std::size_t kAnswerTracebackBytesMax = 4096;

/// A callable on its way down.
struct RegisterRequest {
  CallableSlot slot;
  std::uint64_t serial = 0;  // tells this use of the slot from all others; never 0
  RegisteredKind kind = RegisteredKind::kSub;
  embedding::Form form = embedding::Form::kName;
  bool below = false;  // below the Worker it was registered on: run here what can be
  /// Known in this process alone, which has not its language: kept here, to be refused by name, and
  /// passed on to nobody.
  bool foreign = false;
  std::uint64_t owner = 0;           // identity of that Worker
  std::vector<std::uint32_t> route;  // child indices from here to that Worker; empty: it is here
  std::string name;
  Digest digest{};  // SHA-256 of the payload
  MonotonicNs deadline_ns = 0;
  std::shared_ptr<const Payload> payload;
};

/// As it was read: the payload is yet to be taken from the frame or from the edge.
struct RegisterFrame {
  RegisterRequest request;
  std::uint64_t payload_bytes = 0;
  std::uint64_t push = 0;                   // 0: it is here:
  std::span<const std::byte> inline_bytes;  // a view of the frame
};

/// How it went with one process.
enum class AnswerOutcome : std::uint8_t { kReady = 0, kRefused = 1, kSilent = 2, kDied = 3 };
struct ChildAnswer {
  AnswerOutcome outcome = AnswerOutcome::kReady;
  std::int64_t pid = 0;
  std::string path;
  std::string message;
  /// Of its language; left out of an encoded answer that has no room for it.
  std::string traceback = {};
};
/// How it went with a process and all below it.
struct SubtreeAnswer {
  bool ok = true;
  std::uint32_t left_out = 0;  // processes that are not listed, for want of room
  /// Of those that took it, the ones that run it themselves: the Workers between only hand it on.
  std::uint32_t runners = 0;
  std::vector<ChildAnswer> children;

  void add(ChildAnswer answer);
  void add(SubtreeAnswer other);
};

/// What a process that prepares it is at, for whoever waits in vain.
std::string doing_text(const RegisterRequest& request);
std::string silence_text(const std::string& doing);

/// The body, without the payload; `push` names the pushed file, 0: the payload is inline.
std::vector<std::byte> encode_register(const RegisterRequest& request, std::uint64_t push);
/// Errors: kBadFrame.
Result<RegisterFrame> decode_register(const FrameHeader& header, std::span<const std::byte> body);

std::vector<std::byte> encode_unregister(std::uint64_t serial);
/// The serial. Errors: kBadFrame.
Result<std::uint64_t> decode_unregister(const FrameHeader& header, std::span<const std::byte> body);

/// At most `bytes_max`: what failed comes first, what does not fit is counted.
std::vector<std::byte> encode_answer(const SubtreeAnswer& answer, std::size_t bytes_max);
/// Errors: kBadFrame.
Result<SubtreeAnswer> decode_answer(std::span<const std::byte> body);

}  // namespace echelon
