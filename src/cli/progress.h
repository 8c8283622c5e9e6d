// SPDX-License-Identifier: Apache-2.0
//
// Progress: one line on standard error that says what goes on, only where that is a terminal.
#pragma once

#include <string_view>

namespace echelon::cli {

class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Replaces the line.
  void say(std::string_view text);
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
};

}  // namespace echelon::cli
