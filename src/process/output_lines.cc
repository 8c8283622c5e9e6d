// SPDX-License-Identifier: Apache-2.0
#include "process/output_lines.h"

#include <algorithm>

namespace echelon {

std::optional<std::string> OutputLines::next() {
  const std::string_view piece = std::string_view(held_).substr(0, piece_bytes_max_);
  if (const auto newline = piece.rfind('\n'); newline != std::string_view::npos) {
    return take(newline + 1);
  }
  if (piece.size() == piece_bytes_max_) return take(piece.size());
  return std::nullopt;
}

std::optional<std::string> OutputLines::next_at_end() {
  if (auto piece = next(); piece.has_value()) return piece;
  if (held_.empty()) return std::nullopt;
  return take(held_.size());
}

std::string OutputLines::take(std::size_t bytes) {
  std::string piece = held_.substr(0, bytes);
  held_.erase(0, bytes);
  return piece;
}

}  // namespace echelon
