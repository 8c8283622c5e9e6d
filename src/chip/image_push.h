// SPDX-License-Identifier: Apache-2.0
//
// Handing an image to a chip: the image's memory file over the edge's socket (shm/pool_push.h, kind
// kChipImage), with the slot that task frames will name it by. Before READY and later alike; a
// frame with a new slot comes after its push.
//
// The file holds the image's bytes, then the kernel's name, then ImageTrailerData; sealed, so that
// it cannot change while it is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/ids.h"
#include "base/mapping.h"
#include "base/status.h"

namespace echelon {

class KernelImage;

inline constexpr std::uint32_t kImageMagic = 0x47414D49;  // "IMAG"
inline constexpr std::size_t kKernelNameBytesMax = 1024;

struct ImageTrailerData {
  std::uint64_t image_bytes;
  std::uint32_t kernel_bytes;
  std::uint32_t magic;
};
static_assert(sizeof(ImageTrailerData) == 16);
static_assert(offsetof(ImageTrailerData, kernel_bytes) == 8);
static_assert(offsetof(ImageTrailerData, magic) == 12);

/// Errors: kSystem (kResourceExhausted: the socket is full and `wait` is false; try again later).
Status push_image(int edge, CallableSlot slot, const KernelImage& image, bool wait);

/// The parts of an image's file, as views of it.
struct ImageFileView {
  std::span<const std::byte> image;
  std::string_view kernel;
};
/// Errors: kBadFrame.
Result<ImageFileView> read_image_file(std::span<const std::byte> file);

/// An image as it arrived.
class PushedImage {
 public:
  /// Errors: kBadFrame (not sealed, of another size, or no image file), kSystem.
  static Result<PushedImage> open(UniqueFd fd, std::uint64_t file_bytes);

  std::span<const std::byte> bytes() const { return file_.bytes().first(image_bytes_); }
  const std::string& kernel() const { return kernel_; }

 private:
  Mapping file_;
  std::size_t image_bytes_ = 0;
  std::string kernel_;
};

}  // namespace echelon
