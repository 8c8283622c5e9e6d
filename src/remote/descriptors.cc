// SPDX-License-Identifier: Apache-2.0
#include "remote/descriptors.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <cerrno>
#include <memory>

namespace echelon {
namespace {

Status too_few(std::uint64_t used, std::uint64_t limit) {
  return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                       fmt::format("{} of the {} descriptors that this process may have are in "
                                   "use, which leaves too few. {}",
                                   used, limit, kDescriptorAdvice));
}

}  // namespace

std::uint64_t descriptor_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

Status check_descriptors(std::uint64_t wanted) {
  const std::uint64_t limit = descriptor_limit();
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
  if (folder == nullptr) return errno == EMFILE ? too_few(limit, limit) : Status();
  std::uint64_t used = 0;
  while (const dirent* const entry = ::readdir(folder.get())) used += entry->d_name[0] != '.';
  --used;  // the folder's own
  return used + wanted <= limit ? Status() : too_few(used, limit);
}

}  // namespace echelon
