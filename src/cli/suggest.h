// SPDX-License-Identifier: Apache-2.0
//
// What a mistyped word was probably meant to be.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace echelon::cli {

/// Fewest single letters added, removed, replaced or swapped with their neighbour that turn `a`
/// into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, if it is near enough to be a slip: a third of its letters. A
/// candidate that begins with `word` always is.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace echelon::cli
