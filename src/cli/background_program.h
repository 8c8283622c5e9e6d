// SPDX-License-Identifier: Apache-2.0
//
// BackgroundProgram: a program that runs beside this one, its output in a file, and ends with it.
//
// Processes: it is killed when the thread that started it ends, as with this process.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace echelon::cli {

/// The path of the program that runs here. Errors: kSystem.
Result<std::string> this_program();

class BackgroundProgram {
 public:
  struct Options {
    std::vector<std::string> command;  // the program's path, and its arguments
    std::string log_path;              // standard output and error, together
    /// In the child, before the program: 0, or an errno. May be empty.
    std::function<int()> prepare;
  };
  /// REQUIRES: this process has one thread. Errors: kSystem.
  static Result<BackgroundProgram> start(const Options& options);
  BackgroundProgram(BackgroundProgram&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        process_(std::move(other.process_)),
        log_path_(std::move(other.log_path_)) {}
  BackgroundProgram& operator=(BackgroundProgram&&) = delete;
  /// Asks it to end; after 5 s it is killed.
  ~BackgroundProgram();

  /// The rest of the first line of its output that has `mark`, once that is there. Errors
  /// (kSystem): it ended, or its time is up; with what it said.
  Result<std::string> await_line(const std::string& mark, std::chrono::milliseconds patience);
  /// What it said.
  std::string output() const;
  pid_t pid() const { return pid_; }

 private:
  BackgroundProgram(pid_t pid, UniqueFd process, std::string log_path)
      : pid_(pid), process_(std::move(process)), log_path_(std::move(log_path)) {}

  pid_t pid_;
  UniqueFd process_;
  std::string log_path_;
};

}  // namespace echelon::cli
