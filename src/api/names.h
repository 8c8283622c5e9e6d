// SPDX-License-Identifier: Apache-2.0
//
// Names that users give: they are printed in errors and trees, on terminals too.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace echelon::detail {

inline bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

inline bool has_control_characters(std::string_view name) {
  return std::any_of(name.begin(), name.end(), is_control);
}

inline constexpr std::size_t kNamesShown = 16;

/// "there are "a", "b" and 3 more", sorted.
inline std::string names_text(std::vector<std::string> names) {
  if (names.empty()) return "there is none at all";
  for (std::string& name : names) name = '"' + name + '"';
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  const std::size_t shown = std::min(names.size(), kNamesShown);
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(shown);
  std::string text = fmt::format("there are {}", fmt::join(names.begin(), end, ", "));
  if (shown < names.size()) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

/// Of a name that has some: why it is refused, with them as "\\x1b".
inline std::string control_characters_refusal(std::string_view name) {
  std::string shown;
  for (const char c : name) {
    if (is_control(c)) {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      shown += c;
    }
  }
  return fmt::format("the name \"{}\" has control characters; leave them out", shown);
}

}  // namespace echelon::detail
