// SPDX-License-Identifier: Apache-2.0
//
// What a session and its parent say to each other over their lanes. Little-endian, fixed width;
// everything that is read is checked against the bytes that came.
//
// Task and health lane: a message is a batch of frames, each
//     u32 body bytes  u16 kind  u16 flags  u64 task  u32 slot  u32 zero  u64 remaining ns  body
//   with zeros up to the next multiple of 8: the frame of the rings (shm/frame.h) without stamp and
//   claim, its deadline as the time that remains (0: none). A body over kPieceBytes is sent as
//   several frames in a row, alike but for their bodies, all but the last with kFlagMore.
//   kHello      body: u32 protocol major, u32 minor
//   kPing       its remaining time is the lease: a parent silent for so long is lost
//   kGoodbye    body: an encoded ErrorInfo
//
// Data lane: a message is u8 kind  u8 flags  u16 zero  u32 zero  u64 request, then
//     kAllocate      u8 dtype  u8 zeroed  u8 rank  5 zero bytes  rank x i64 extent
//     kFree          u64 buffer
//     kWrite         u64 offset  tensor  bytes      offset: in its dense row-major order
//     kRead          u64 offset  u64 length  tensor
//     kPayload       u64 offset  u64 total  bytes   request: the payload's id
//     kStop          nothing                        request: that of a read, which then fails
//   and answers, which repeat the request; with kDataError all of them hold an ErrorInfo instead
//     kAllocated     tensor
//     kFreed, kWritten, kPayloadHeld    nothing
//     kReadData      u64 offset  bytes
//   What a session is told of its links to others of the same parent (peer_links.h), and answers:
//     kExpect        u64 link  token                  kExpected
//     kConnect       u64 link  u64 address bytes  address  token       kConnected
//     kGrant         u64 link  u64 grant  tensor      kGranted
//     kRevoke        u64 link  u64 grant              kRevoked
//     kPush          u64 link  tensor  tensor         kPushed      from the first, here, to the
//                    second, of the peer
//   A peer's lane carries kWrite and kWritten alone.
//   kDataLast ends a write's, a read's and a payload's pieces. A write that failed is answered at
//   once; its sender then ends it with a last piece of no bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <echelon/dtype.h>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "remote/lane.h"
#include "shm/frame.h"
#include "shm/spill.h"
#include "shm/tensor_desc.h"

namespace echelon {

/// Bulk data travels in pieces of this, so that several transfers share a lane.
inline constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
/// Unfinished tasks of one session at most; both ends rely on it.
inline constexpr std::uint32_t kRemoteWindowMax = 64;
inline constexpr std::size_t kLaneFrameHeadBytes = 32;
inline constexpr std::size_t kLaneFrameAlign = 8;
/// The largest body of a task or a completion.
inline constexpr std::uint64_t kLaneBodyBytesMax = kSpillBytesMax;
static_assert(kPieceBytes + 1024 < kLaneMessageBytesMax);

/// kBadFrame, "a message of the task lane is refused: ...".
Status bad_message(std::string_view what);

// --- frames
// ---------------------------------------------------------------------------------------

struct LaneFrame {
  FrameKind kind = FrameKind::kNone;
  std::uint16_t flags = 0;
  std::uint64_t task = 0;
  std::uint32_t slot = 0;
  std::uint64_t remaining_ns = 0;  // 0: no deadline
  std::span<const std::byte> body;
};

using LaneFrameHead = std::array<std::byte, kLaneFrameHeadBytes>;
/// The header of a frame whose body is `frame.body`; then come body and padding_of() it.
LaneFrameHead encode_head(const LaneFrame& frame);
std::span<const std::byte> padding_of(std::size_t body_bytes);
/// One frame as a message. REQUIRES: it fits.
LaneSend send_frame(Lane& lane, const LaneFrame& frame);

/// Time that remains of an absolute deadline, and back. A passed one stays passed.
std::uint64_t remaining_of(MonotonicNs deadline_ns, MonotonicNs now);
MonotonicNs deadline_of(std::uint64_t remaining_ns, MonotonicNs now);

/// Reads the frames of a message one by one; bodies are views of it.
class LaneFrameReader {
 public:
  explicit LaneFrameReader(std::span<const std::byte> message) : rest_(message) {}
  /// False: at the end, or what follows is no frame; see status().
  bool next(LaneFrame& frame);
  const Status& status() const { return status_; }

 private:
  bool fail(std::string what);

  std::span<const std::byte> rest_;
  Status status_;
};

/// Puts bodies together that came in pieces.
class BodyAssembly {
 public:
  /// True: `frame` is whole (its body may now be a view of this object's); false: more has to come.
  /// Errors: kBadFrame (another frame in between, more than kLaneBodyBytesMax).
  Result<bool> add(LaneFrame& frame);
  /// The body of the frame that add() has just called whole; moved where it came in pieces.
  void take(const LaneFrame& frame, std::vector<std::byte>& into);
  /// Lets go of what the last whole frame viewed.
  void clear();

 private:
  bool open_ = false;
  LaneFrame first_;
  std::vector<std::byte> body_;
};

struct Hello {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
};
std::array<std::byte, 8> encode_hello(const Hello& hello);
/// Errors: kBadFrame; kBadArgument with both versions where the majors differ.
Result<Hello> decode_hello(std::span<const std::byte> body, const Hello& own);

// --- data
// -----------------------------------------------------------------------------------------

enum class DataKind : std::uint8_t {
  kAllocate = 1,
  kAllocated = 2,
  kFree = 3,
  kFreed = 4,
  kWrite = 5,
  kWritten = 6,
  kRead = 7,
  kReadData = 8,
  kPayload = 9,
  kPayloadHeld = 10,
  /// A read that is not wanted any more: it is answered as one that failed, or has ended already.
  kStop = 40,
  kExpect = 60,
  kExpected = 61,
  kConnect = 62,
  kConnected = 63,
  kGrant = 64,
  kGranted = 65,
  kRevoke = 66,
  kRevoked = 67,
  kPush = 68,
  kPushed = 69,
};
std::string_view to_string(DataKind kind);
/// Answers go up, all else down.
bool is_answer(DataKind kind);
/// Orders about peers, and the answers to them.
constexpr bool is_of_peers(DataKind kind) {
  return kind >= DataKind::kExpect && kind <= DataKind::kPushed;
}
inline constexpr std::size_t kPeerTokenBytesMax = 256;
inline constexpr std::size_t kPeerAddressBytesMax = 1024;

enum DataFlags : std::uint8_t { kDataLast = 1, kDataError = 2 };

/// One message of the data lane; which fields mean something depends on its kind.
struct DataMessage {
  DataKind kind = DataKind::kAllocate;
  std::uint8_t flags = 0;
  std::uint64_t request = 0;
  DType dtype = DType::kNone;
  bool zeroed = false;
  std::uint8_t rank = 0;
  std::array<std::int64_t, kTensorRankMax> extent{};
  BufferId buffer;
  TensorDesc tensor;
  std::uint64_t offset = 0;          // of peers: the link
  std::uint64_t length = 0;          // kRead: bytes; kPayload: in all; kConnect: of the address;
                                     // kGrant, kRevoke: the grant
  std::span<const std::byte> bytes;  // kWrite, kReadData, kPayload; kDataError: the ErrorInfo;
                                     // kExpect, kConnect, kPush: what stands behind

  bool last() const { return (flags & kDataLast) != 0; }
  bool failed() const { return (flags & kDataError) != 0; }
};

inline constexpr std::size_t kDataHeadBytesMax = 16 + 16 + kTensorWireBytesMax;
using DataHead = std::array<std::byte, kDataHeadBytesMax>;

/// All but `bytes`, which follow on the wire. Returns how much of `out` was written.
std::size_t encode_data(const DataMessage& message, DataHead& out);
/// Sends it: one message. REQUIRES: bytes.size() <= kPieceBytes.
LaneSend send_data(Lane& lane, const DataMessage& message);
/// Validates everything; `bytes` is a view of what is read. Errors: kBadFrame.
Result<DataMessage> decode_data(std::span<const std::byte> in);
/// The same of a piece of bulk data (kWrite, kReadData) that came in parts: `bytes` ends with the
/// first of them, the other parts go on. nullopt: it is something else, or its head does not lie in
/// the first part.
std::optional<Result<DataMessage>> decode_piece(LaneSegments parts);
/// The ErrorInfo of a message that failed(), as a Status. Errors are kBadFrame, too: `bad` is then
/// set.
Status error_in(std::span<const std::byte> bytes, Status& bad);

}  // namespace echelon
