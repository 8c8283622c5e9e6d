// SPDX-License-Identifier: Apache-2.0
#include "chip/image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "base/fd.h"
#include "base/syscall.h"
#include "chip/compile.h"
#include "chip/elf.h"
#include "chip/image_push.h"

namespace echelon {
namespace {

/// Of an image without the wanted kernel, so many names are listed.
constexpr std::size_t kNamesListedMax = 16;

Status image_error(std::string message) {
  return Status::error(Code::kInvalidArgument, Reason::kImage, std::move(message));
}

/// Functions that may be kernels: not C++'s mangled names, nor what the linker adds.
std::string list_kernels(const std::vector<std::string>& functions) {
  std::string list;
  std::size_t listed = 0, more = 0;
  for (const std::string& name : functions) {
    if (name.starts_with("_")) continue;
    if (listed == kNamesListedMax) {
      ++more;
      continue;
    }
    list += (listed++ == 0 ? "" : ", ") + name;
  }
  if (more != 0) list += fmt::format(" and {} more", more);
  return list.empty() ? "none" : list;
}

Status check_kernel(std::span<const std::byte> bytes, const std::string& kernel,
                    const std::string& origin) {
  if (kernel.empty() || kernel.size() > kKernelNameBytesMax) {
    return image_error(
        fmt::format("chip image {}: a kernel's name has 1..{} bytes", origin, kKernelNameBytesMax));
  }
  if (bytes.size() > kChipImageBytesMax) {
    return image_error(fmt::format("chip image {} has {} bytes; the limit is {}", origin,
                                   bytes.size(), kChipImageBytesMax));
  }
  const auto functions = exported_functions(bytes);
  if (!functions.ok()) {
    return image_error(fmt::format("chip image {} (kernel '{}'): {}", origin, kernel,
                                   functions.status().info().message));
  }
  if (std::binary_search(functions->begin(), functions->end(), kernel)) return Status();
  return image_error(fmt::format(
      "chip image {} has no kernel '{}'; kernels it has: {} (declare one with ECHELON_KERNEL)",
      origin, kernel, list_kernels(*functions)));
}

Status write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Status::from_errno(errno, "write to an image's memory file");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return Status();
}

/// The file of chip/image_push.h.
Result<UniqueFd> image_file(std::span<const std::byte> bytes, const std::string& kernel) {
  ECHELON_ASSIGN_OR_RETURN(UniqueFd fd, create_memfd("echelon-image", 0));
  const ImageTrailerData trailer{bytes.size(), static_cast<std::uint32_t>(kernel.size()),
                                 kImageMagic};
  ECHELON_RETURN_IF_ERROR(write_all(fd.get(), bytes));
  ECHELON_RETURN_IF_ERROR(write_all(fd.get(), std::as_bytes(std::span(kernel))));
  ECHELON_RETURN_IF_ERROR(write_all(fd.get(), std::as_bytes(std::span(&trailer, 1))));
  ECHELON_RETURN_IF_ERROR(
      add_seals(fd.get(), F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL));
  return fd;
}

Result<std::vector<std::byte>> read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Status::from_errno(errno, "open");
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return Status::from_errno(errno, "fstat");
  if (!S_ISREG(info.st_mode)) return image_error("it is no regular file");
  if (static_cast<std::uint64_t>(info.st_size) > kChipImageBytesMax) {
    return image_error("it is larger than images may be");
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(info.st_size));
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t got = ::read(fd.get(), bytes.data() + at, bytes.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, "read");
    if (got == 0) bytes.resize(at);
    at += static_cast<std::size_t>(got);
  }
  return bytes;
}

}  // namespace

KernelImage::State::~State() {
  if (descriptor >= 0) ::close(descriptor);
}

Result<KernelImage> KernelImage::from_file(std::string path, std::string kernel) {
  const auto bytes = read_file(path);
  if (!bytes.ok()) {
    return image_error(fmt::format("chip image {} (kernel '{}') cannot be read: {}", path, kernel,
                                   bytes.status().info().message));
  }
  return from_bytes(*bytes, std::move(kernel), std::move(path));
}

Result<KernelImage> KernelImage::from_bytes(std::span<const std::byte> bytes, std::string kernel,
                                            std::string origin) {
  ECHELON_RETURN_IF_ERROR(check_kernel(bytes, kernel, origin));
  ECHELON_ASSIGN_OR_RETURN(UniqueFd fd, image_file(bytes, kernel));
  auto state = std::make_shared<State>();
  state->kernel = std::move(kernel);
  state->origin = std::move(origin);
  state->digest = sha256(bytes);
  state->bytes = bytes.size();
  state->file_bytes = bytes.size() + state->kernel.size() + sizeof(ImageTrailerData);
  state->descriptor = fd.release();
  return KernelImage(std::move(state));
}

Result<KernelImage> KernelImage::from_source(std::string_view source, std::string kernel,
                                             const CompileOptions& options) {
  ECHELON_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                           compile_shared_object(source, options));
  return from_bytes(bytes, std::move(kernel), options.file_name);
}

Result<std::string> find_compiler() {
  ECHELON_ASSIGN_OR_RETURN(CompilerCommand command, find_compiler_command());
  return command.path;
}

}  // namespace echelon
