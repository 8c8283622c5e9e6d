// SPDX-License-Identifier: Apache-2.0
#include "process/payload.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/check.h"

namespace echelon {
namespace {

constexpr int kSealed = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;

Result<Mapping> map_file(int fd, std::uint64_t bytes, MapAccess access, PayloadFork fork) {
  MapOptions options;
  options.access = access;
  options.dont_fork = fork == PayloadFork::kNotKept;
  return Mapping::map(fd, bytes, options);
}

Status check_size(std::uint64_t bytes) {
  if (bytes <= kPayloadBytesMax) return {};
  return Status::error(
      Code::kInvalidArgument, Reason::kTooLarge,
      fmt::format("{} bytes to be shipped; at most {} are possible", bytes, kPayloadBytesMax));
}

}  // namespace

Payload::~Payload() {
  if (kept_file_ >= 0) ::close(kept_file_);
}

std::shared_ptr<const Payload> Payload::small(std::span<const std::byte> bytes) {
  ECHELON_CHECK(bytes.size() <= kInlinePayloadMax, bytes.size());
  auto payload = std::shared_ptr<Payload>(new Payload());
  payload->inline_.assign(bytes.begin(), bytes.end());
  return payload;
}

Result<std::shared_ptr<const Payload>> Payload::make(std::span<const std::byte> bytes,
                                                     MemfdUse use) {
  if (bytes.size() <= kInlinePayloadMax) return small(bytes);
  return make_file(bytes, use);
}

Result<std::shared_ptr<const Payload>> Payload::make_file(std::span<const std::byte> bytes,
                                                          MemfdUse use, PayloadFork fork) {
  ECHELON_RETURN_IF_ERROR(check_size(bytes.size()));
  ECHELON_CHECK(!bytes.empty());
  ECHELON_ASSIGN_OR_RETURN(UniqueFd fd, create_memfd("echelon-payload", bytes.size(), use));
  {
    ECHELON_ASSIGN_OR_RETURN(const Mapping out,
                             map_file(fd.get(), bytes.size(), MapAccess::kReadWrite, fork));
    std::memcpy(out.data(), bytes.data(), bytes.size());
  }
  // A writable mapping that is left would keep the seal from being set.
  ECHELON_RETURN_IF_ERROR(add_seals(fd.get(), kSealed));
  return open(std::move(fd), bytes.size(), fork);
}

Result<std::shared_ptr<const Payload>> Payload::open(UniqueFd fd, std::uint64_t bytes,
                                                     PayloadFork fork) {
  const auto refuse = [](std::string what) {
    return Status::error(Code::kDataLoss, Reason::kBadFrame,
                         "a shipped payload is refused: " + std::move(what));
  };
  ECHELON_RETURN_IF_ERROR(check_size(bytes));
  ECHELON_ASSIGN_OR_RETURN(const int seals, get_seals(fd.get()));
  if ((seals & kSealed) != kSealed) return refuse("its file is not sealed");
  ECHELON_ASSIGN_OR_RETURN(const std::uint64_t found, file_bytes(fd.get()));
  if (found != bytes || bytes == 0) {
    return refuse(fmt::format("its file has {} bytes, and {} were announced", found, bytes));
  }
  auto payload = std::shared_ptr<Payload>(new Payload());
  ECHELON_ASSIGN_OR_RETURN(payload->mapping_, map_file(fd.get(), bytes, MapAccess::kRead, fork));
  if (fork == PayloadFork::kKept) {
    payload->kept_file_ = fd.release();
  } else {
    payload->file_ = std::move(fd);
  }
  return std::shared_ptr<const Payload>(std::move(payload));
}

}  // namespace echelon
