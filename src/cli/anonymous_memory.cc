// SPDX-License-Identifier: Apache-2.0
#include "cli/anonymous_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace echelon::cli {

AnonymousMemory::AnonymousMemory(std::size_t bytes, Kind kind) : bytes_(bytes) {
  const int flags = MAP_ANONYMOUS | (kind == Kind::kShared ? MAP_SHARED : MAP_PRIVATE);
  data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (data_ == MAP_FAILED) {
    throw std::system_error(errno, std::generic_category(),
                            "mmap of " + std::to_string(bytes) + " bytes");
  }
}

AnonymousMemory::~AnonymousMemory() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

void touch_pages(std::span<std::byte> bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  // Volatile: a write that nobody reads must happen all the same.
  for (std::size_t at = 0; at < bytes.size(); at += page)
    *static_cast<volatile std::byte*>(&bytes[at]) = std::byte{1};
}

}  // namespace echelon::cli
