// SPDX-License-Identifier: Apache-2.0
//
// Sums whose bits do not depend on who added what first. Each sample's contribution is put on a
// grid of 2^-40 and added as an integer; integers may be added in any grouping and any order. So
// chips, hosts and the pod add up what they have, and every tree gets the same sum.
// docs/design/0007-digits-reduction.md says what else was looked at.
#pragma once

#include <cmath>
#include <cstdint>

namespace echelon::digits {

inline constexpr int kFractionBits = 40;
/// One sample's contribution is cut off here.
inline constexpr float kTermMax = 0x1p16f;
inline constexpr std::int64_t kBatchRows = 64;

// A whole batch of the largest terms fits.
static_assert((std::int64_t{1} << (16 + kFractionBits)) <= INT64_MAX / kBatchRows);

/// Rounds towards zero; exact from 2^-17 up. Not a number counts as zero.
inline std::int64_t to_fixed(float value) {
  if (std::isnan(value)) return 0;
  const float cut = value > kTermMax ? kTermMax : value < -kTermMax ? -kTermMax : value;
  return static_cast<std::int64_t>(cut * 0x1p40f);
}

inline double from_fixed(std::int64_t value) {
  return static_cast<double>(value) * 0x1p-40;
}

}  // namespace echelon::digits
