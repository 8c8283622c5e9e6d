// SPDX-License-Identifier: Apache-2.0
#include "shm/segment.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <utility>

#include "base/syscall.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace echelon {
namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;

Status bad(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       "a shared memory segment from a peer is refused: " + std::move(what));
}

}  // namespace

Result<Segment> Segment::create(const char* name, std::size_t bytes, const MapOptions& options) {
  const std::size_t whole = round_up_to_pages(bytes);
  Segment segment;
  ECHELON_ASSIGN_OR_RETURN(segment.fd_, create_memfd(name, whole));
  ECHELON_RETURN_IF_ERROR(add_seals(segment.fd(), kSizeSeals));
  ECHELON_ASSIGN_OR_RETURN(segment.mapping_, Mapping::map(segment.fd(), whole, options));
  return segment;
}

Result<Segment> Segment::open(UniqueFd fd, std::size_t expected_bytes, const MapOptions& options) {
  Segment segment;
  segment.fd_ = std::move(fd);
  auto seals = get_seals(segment.fd());
  if (!seals.ok()) return bad("it is no sealable memory file");
  if ((*seals & kSizeSeals) != kSizeSeals) return bad("its size is not sealed");
  ECHELON_ASSIGN_OR_RETURN(const std::uint64_t bytes, file_bytes(segment.fd()));
  if (bytes == 0) return bad("it is empty");
  if (expected_bytes != 0 && bytes != expected_bytes) {
    return bad(fmt::format("it has {} bytes, {} were expected", bytes, expected_bytes));
  }
  ECHELON_ASSIGN_OR_RETURN(segment.mapping_, Mapping::map(segment.fd(), bytes, options));
  return segment;
}

Status Segment::seal_future_writes() {
  return add_seals(fd(), F_SEAL_FUTURE_WRITE);
}

}  // namespace echelon
