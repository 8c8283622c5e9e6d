// SPDX-License-Identifier: Apache-2.0
#include "chip/drivers/cpu/loaded_image.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace echelon::cpu {
namespace {

#ifndef MFD_EXEC
constexpr unsigned kMemfdExecutable = 0x0010U;
#else
constexpr unsigned kMemfdExecutable = MFD_EXEC;
#endif

int make_memfd() {
  const int fd = ::memfd_create("echelon-kernel", MFD_CLOEXEC | kMemfdExecutable);
  if (fd >= 0 || errno != EINVAL) return fd;
  return ::memfd_create("echelon-kernel", MFD_CLOEXEC);  // before Linux 6.3
}

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

std::string path_of(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

std::unique_ptr<LoadedImage> LoadedImage::load(std::span<const std::byte> bytes, std::string& why) {
  const int fd = make_memfd();
  if (fd < 0) {
    why = std::string("memfd_create: ") + std::strerror(errno);
    if (errno == EACCES) why += " (vm.memfd_noexec forbids executable memory files)";
    return nullptr;
  }
  if (!write_all(fd, bytes)) {
    why = std::string("writing the image to a memory file: ") + std::strerror(errno);
    ::close(fd);
    return nullptr;
  }
  const std::string path = path_of(fd);
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* text = ::dlerror();
    why = text != nullptr ? text : "dlopen failed";
    // The file's own name says nothing to the user.
    if (why.starts_with(path + ": ")) why.erase(0, path.size() + 2);
    ::close(fd);
    return nullptr;
  }
  return std::unique_ptr<LoadedImage>(new LoadedImage(fd, handle));
}

LoadedImage::~LoadedImage() {
  ::dlclose(handle_);
  if (void* still = ::dlopen(path_of(descriptor_).c_str(), RTLD_NOW | RTLD_NOLOAD)) {
    ::dlclose(still);
    return;  // the number stays reserved
  }
  ::close(descriptor_);
}

echelon_kernel_function LoadedImage::find(const char* name) const {
  return reinterpret_cast<echelon_kernel_function>(::dlsym(handle_, name));
}

}  // namespace echelon::cpu
