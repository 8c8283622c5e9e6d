// SPDX-License-Identifier: Apache-2.0
#include "base/mapping.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/unforked.h"

namespace echelon {

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    reset();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    excluded_ = std::exchange(other.excluded_, false);
  }
  return *this;
}

Result<Mapping> Mapping::map(int fd, std::size_t bytes, const MapOptions& options) {
  const int protection =
      options.access == MapAccess::kReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
  const int flags = MAP_SHARED | (options.prefault ? MAP_POPULATE : 0);
  void* at = ::mmap(nullptr, bytes, protection, flags, fd, 0);
  if (at == MAP_FAILED) return Status::from_errno(errno, fmt::format("mmap({} bytes)", bytes));
  Mapping mapping;
  mapping.data_ = static_cast<std::byte*>(at);
  mapping.bytes_ = bytes;
  if (options.dont_fork) {
    ECHELON_RETURN_IF_ERROR(exclude_from_forks(at, bytes));
    mapping.excluded_ = true;
  }
  return mapping;
}

void Mapping::reset() {
  if (excluded_) forget_excluded(data_);
  if (data_ != nullptr) ::munmap(data_, bytes_);
  leak();
}

Status Mapping::move_away(int fd, const MapOptions& options) {
  ECHELON_ASSIGN_OR_RETURN(Mapping elsewhere, map(fd, bytes_, options));
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  if (::mmap(data_, bytes_, PROT_READ | PROT_WRITE, kFlags, -1, 0) == MAP_FAILED) {
    return Status::from_errno(errno, fmt::format("mmap({} bytes) over a mapping", bytes_));
  }
  if (excluded_) forget_excluded(data_);
  leak();
  *this = std::move(elsewhere);
  return {};
}

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

std::size_t round_up_to_pages(std::size_t bytes) {
  return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

}  // namespace echelon
