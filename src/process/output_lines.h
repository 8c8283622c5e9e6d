// SPDX-License-Identifier: Apache-2.0
//
// OutputLines: bytes of a pipe in, pieces of whole lines out. A line longer than a piece may be
// comes in pieces; what has no newline waits for one until the end.
//
// Threads: an object is one thread's.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace echelon {

class OutputLines {
 public:
  explicit OutputLines(std::size_t piece_bytes_max) : piece_bytes_max_(piece_bytes_max) {}

  void append(std::string_view bytes) { held_.append(bytes); }
  /// The next piece: as many whole lines as fit. nullopt: no whole line (yet).
  std::optional<std::string> next();
  /// The same at the end of the pipe: the last line needs no newline.
  std::optional<std::string> next_at_end();

 private:
  std::string take(std::size_t bytes);

  const std::size_t piece_bytes_max_;
  std::string held_;
};

}  // namespace echelon
