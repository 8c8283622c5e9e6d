// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "chip/image.h"

namespace echelon::detail {

/// What stands behind the public ChipImage.
struct ChipImageState {
  KernelImage image;
};

}  // namespace echelon::detail
