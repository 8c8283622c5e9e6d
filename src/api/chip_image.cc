// SPDX-License-Identifier: Apache-2.0
#include <echelon/chip_image.h>

#include "api/chip_image_state.h"
#include "api/throw_status.h"

namespace echelon {

ChipImage ChipImage::from_file(const std::string& path, std::string_view kernel) {
  auto image = detail::value_or_throw(KernelImage::from_file(path, std::string(kernel)));
  return ChipImage(
      std::make_shared<const detail::ChipImageState>(detail::ChipImageState{std::move(image)}));
}

ChipImage ChipImage::from_source(std::string_view source, std::string_view kernel,
                                 const std::vector<std::string>& flags) {
  CompileOptions options;
  options.flags = flags;
  auto image =
      detail::value_or_throw(KernelImage::from_source(source, std::string(kernel), options));
  return ChipImage(
      std::make_shared<const detail::ChipImageState>(detail::ChipImageState{std::move(image)}));
}

const std::string& ChipImage::kernel() const {
  return state_->image.kernel();
}

}  // namespace echelon
