// SPDX-License-Identifier: Apache-2.0
//
// TemporaryFolder: a folder for this user alone, for as long as this process lives.
//
// Processes: a child of its own waits for the end of this one, however that comes, and removes the
// folder if the destructor did not.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/fd.h"
#include "base/status.h"

namespace echelon::cli {

class TemporaryFolder {
 public:
  /// In $TMPDIR, else /tmp. REQUIRES: this process has one thread. Errors: kSystem.
  static Result<TemporaryFolder> make(std::string_view prefix);
  TemporaryFolder(TemporaryFolder&& other) noexcept
      : path_(std::exchange(other.path_, {})),
        alive_(std::move(other.alive_)),
        remover_(std::exchange(other.remover_, -1)) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();

  const std::string& path() const { return path_; }

 private:
  TemporaryFolder() = default;

  std::string path_;
  UniqueFd alive_;  // the remover reads its other end
  pid_t remover_ = -1;
};

}  // namespace echelon::cli
