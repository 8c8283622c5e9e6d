// SPDX-License-Identifier: Apache-2.0
#include "shm/pool_push.h"

#include <array>
#include <string>

#include "base/check.h"
#include "base/codec.h"

namespace echelon {
namespace {

Status bad(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       "a pushed descriptor is refused: " + std::move(what));
}

}  // namespace

void encode_push(const PoolPush& push, std::span<std::byte> out) {
  ByteWriter writer(out);
  writer.put(kPoolPushMagic);
  writer.put(push.kind);
  writer.put(std::uint16_t{0});
  writer.put(push.issuer.value);
  writer.put(push.index);
  writer.put(push.bytes);
  ECHELON_CHECK(writer.ok() && writer.size() == kPoolPushBytes, writer.size());
}

Result<PoolPush> decode_push(std::span<const std::byte> bytes) {
  if (bytes.size() != kPoolPushBytes) return bad("its message has another size");
  ByteReader reader(bytes);
  if (reader.get<std::uint32_t>() != kPoolPushMagic) return bad("its message is no push");
  PoolPush push;
  push.kind = reader.get<PushKind>();
  if (reader.get<std::uint16_t>() != 0) return bad("reserved bytes are not zero");
  push.issuer.value = reader.get<std::uint64_t>();
  push.index = reader.get<std::uint64_t>();
  push.bytes = reader.get<std::uint64_t>();
  switch (push.kind) {
    case PushKind::kPoolTable:
      break;
    case PushKind::kPoolSegment:
      if (push.index >= kPoolSegmentsMax) return bad("a segment beyond the most");
      break;
    case PushKind::kSpill:
    case PushKind::kChipImage:
    case PushKind::kPayload:
      break;
    default:
      return bad("unknown kind");
  }
  return push;
}

Status send_push(int socket, const PoolPush& push, int fd, bool wait) {
  std::array<std::byte, kPoolPushBytes> bytes{};
  encode_push(push, bytes);
  return send_message(socket, bytes, std::span(&fd, 1), wait);
}

Result<ReceivedPush> receive_push(int socket, bool wait) {
  std::array<std::byte, kPoolPushBytes> bytes{};
  ECHELON_ASSIGN_OR_RETURN(Message message, receive_message(socket, bytes, wait));
  ReceivedPush received;
  received.none = message.none;
  received.end = message.end;
  if (message.none || message.end) return received;
  if (message.truncated) return bad("its message is too long");
  if (message.fds.size() != 1) return bad("it came without its descriptor");
  ECHELON_ASSIGN_OR_RETURN(received.push, decode_push(std::span(bytes).first(message.bytes)));
  received.fd = std::move(message.fds.front());
  return received;
}

bool PushedPools::up_to_date(Uid issuer, std::uint32_t segment_count) const {
  const auto found = sent_.find(issuer);
  return found != sent_.end() && found->second >= segment_count;
}

Status PushedPools::push_missing(int socket, const PoolDescriptors& pool, bool wait) {
  auto found = sent_.find(pool.issuer);
  if (found == sent_.end()) {
    const PoolPush push{PushKind::kPoolTable, pool.issuer, 0, kBufferTableBytes};
    ECHELON_RETURN_IF_ERROR(send_push(socket, push, pool.table_fd, wait));
    found = sent_.emplace(pool.issuer, 0).first;
  }
  while (found->second < pool.segments.size()) {
    const auto& segment = pool.segments[found->second];
    const PoolPush push{PushKind::kPoolSegment, pool.issuer, found->second, segment.bytes};
    ECHELON_RETURN_IF_ERROR(send_push(socket, push, segment.fd, wait));
    ++found->second;
  }
  return {};
}

}  // namespace echelon
