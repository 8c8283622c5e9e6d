// SPDX-License-Identifier: Apache-2.0
#include "shm/spill.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstring>

#include "base/codec.h"
#include "base/syscall.h"

namespace echelon {
namespace {

constexpr int kSpillSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

Status bad(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       "a spilled body is refused: " + std::move(what));
}

Status too_large(std::uint64_t bytes) {
  return Status::error(Code::kInvalidArgument, Reason::kTooLarge,
                       fmt::format("a body of {} bytes; {} are the most. Pass large data as a "
                                   "tensor, by handle",
                                   bytes, kSpillBytesMax));
}

}  // namespace

Result<SpillData> send_spill(int socket, Uid sender, std::uint64_t id,
                             std::span<const std::byte> body, std::span<const std::byte> more,
                             bool wait) {
  const std::uint64_t bytes = body.size() + more.size();
  if (bytes == 0 || bytes > kSpillBytesMax) return too_large(bytes);
  ECHELON_ASSIGN_OR_RETURN(const UniqueFd fd, create_memfd("echelon-spill", bytes));
  {
    ECHELON_ASSIGN_OR_RETURN(const Mapping mapping, Mapping::map(fd.get(), bytes, {}));
    if (!body.empty()) std::memcpy(mapping.data(), body.data(), body.size());
    if (!more.empty()) std::memcpy(mapping.data() + body.size(), more.data(), more.size());
  }  // F_SEAL_WRITE needs that nothing maps it writable
  ECHELON_RETURN_IF_ERROR(add_seals(fd.get(), kSpillSeals));
  ECHELON_RETURN_IF_ERROR(send_push(socket, {PushKind::kSpill, sender, id, bytes}, fd.get(), wait));
  return SpillData{id, bytes};
}

Status SpillInbox::adopt(std::uint64_t id, std::uint64_t bytes, UniqueFd fd) {
  if (bytes == 0 || bytes > kSpillBytesMax) return too_large(bytes);
  if (pending_.size() >= kSpillsPendingMax) {
    return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                         fmt::format("{} spilled bodies wait for their frames", pending_.size()));
  }
  const auto seals = get_seals(fd.get());
  if (!seals.ok() || (*seals & kSpillSeals) != kSpillSeals) return bad("it is not sealed");
  ECHELON_ASSIGN_OR_RETURN(const std::uint64_t size, file_bytes(fd.get()));
  if (size != bytes) return bad(fmt::format("{} bytes announced, {} sent", bytes, size));
  MapOptions options;
  options.access = MapAccess::kRead;
  options.dont_fork = true;
  ECHELON_ASSIGN_OR_RETURN(Mapping mapping, Mapping::map(fd.get(), bytes, options));
  if (!pending_.emplace(id, std::move(mapping)).second) return bad("its number came twice");
  return {};
}

Result<Mapping> SpillInbox::take(std::span<const std::byte> frame_body,
                                 const FetchMore& fetch_more) {
  ByteReader reader(frame_body);
  const auto id = reader.get<std::uint64_t>();
  const auto bytes = reader.get<std::uint64_t>();
  if (!reader.ok() || reader.remaining() != 0) return bad("its frame has another size");
  auto found = pending_.find(id);
  while (found == pending_.end() && fetch_more && fetch_more()) found = pending_.find(id);
  if (found == pending_.end()) return bad(fmt::format("number {} never came", id));
  if (found->second.size() != bytes) {
    return bad(fmt::format("{} bytes named, {} sent", bytes, found->second.size()));
  }
  Mapping mapping = std::move(found->second);
  pending_.erase(found);
  return mapping;
}

Status adopt_push(ReceivedPush received, PoolDirectory& pools, SpillInbox& spills) {
  const PoolPush& push = received.push;
  switch (push.kind) {
    case PushKind::kPoolTable:
      return pools.adopt_table(push.issuer, std::move(received.fd));
    case PushKind::kPoolSegment:
      return pools.adopt_segment(push.issuer, static_cast<std::uint32_t>(push.index), push.bytes,
                                 std::move(received.fd));
    case PushKind::kSpill:
      return spills.adopt(push.index, push.bytes, std::move(received.fd));
    case PushKind::kChipImage:
    case PushKind::kPayload:
      break;  // chip/image_push.h and process/tree_edge.h take these
  }
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       "a pushed descriptor is refused: it is neither a pool's nor a spill's");
}

}  // namespace echelon
