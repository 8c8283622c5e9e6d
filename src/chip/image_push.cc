// SPDX-License-Identifier: Apache-2.0
#include "chip/image_push.h"

#include <fcntl.h>

#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/syscall.h"
#include "chip/image.h"
#include "shm/pool_push.h"

namespace echelon {
namespace {

Status refuse(std::string what) {
  return Status::error(Code::kFailedPrecondition, Reason::kBadFrame,
                       "a pushed chip image is refused: " + std::move(what));
}

}  // namespace

Status push_image(int edge, CallableSlot slot, const KernelImage& image, bool wait) {
  PoolPush push;
  push.kind = PushKind::kChipImage;
  push.index = slot.value;
  push.bytes = image.file_bytes();
  return send_push(edge, push, image.descriptor(), wait);
}

Result<ImageFileView> read_image_file(std::span<const std::byte> file) {
  ImageTrailerData trailer;
  if (file.size() < sizeof trailer) return refuse(fmt::format("it has {} bytes", file.size()));
  const std::size_t before = file.size() - sizeof trailer;
  std::memcpy(&trailer, file.data() + before, sizeof trailer);
  if (trailer.magic != kImageMagic || trailer.kernel_bytes > kKernelNameBytesMax ||
      trailer.image_bytes > before || before - trailer.image_bytes != trailer.kernel_bytes) {
    return refuse("it does not end as an image file does");
  }
  const auto* const kernel = reinterpret_cast<const char*>(file.data()) + trailer.image_bytes;
  return ImageFileView{file.first(trailer.image_bytes), {kernel, trailer.kernel_bytes}};
}

Result<PushedImage> PushedImage::open(UniqueFd fd, std::uint64_t file_bytes) {
  constexpr int kWanted = F_SEAL_WRITE | F_SEAL_SHRINK;
  ECHELON_ASSIGN_OR_RETURN(const int seals, get_seals(fd.get()));
  if ((seals & kWanted) != kWanted) return refuse("it is not sealed");
  ECHELON_ASSIGN_OR_RETURN(const std::uint64_t bytes, echelon::file_bytes(fd.get()));
  if (bytes != file_bytes || bytes < sizeof(ImageTrailerData) || bytes > 2 * kChipImageBytesMax) {
    return refuse(fmt::format("it has {} bytes, not {}", bytes, file_bytes));
  }
  PushedImage image;
  MapOptions options;
  options.access = MapAccess::kRead;
  ECHELON_ASSIGN_OR_RETURN(image.file_, Mapping::map(fd.get(), bytes, options));
  ECHELON_ASSIGN_OR_RETURN(const ImageFileView view, read_image_file(image.file_.bytes()));
  image.image_bytes_ = view.image.size();
  image.kernel_ = view.kernel;
  return image;
}

}  // namespace echelon
