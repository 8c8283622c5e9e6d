// SPDX-License-Identifier: Apache-2.0
//
// The hosts of `echelon demo --remote`: daemons of this very program, each in a network namespace
// of its own where that is permitted and else on a port of loopback, with keys made for this once.
// All of it goes with this process, however that ends.
#pragma once

#include <digits/trainer.h>

#include <string>
#include <vector>

#include "base/status.h"
#include "cli/background_program.h"
#include "cli/temporary_folder.h"

namespace echelon::cli {

class DemoHosts {
 public:
  /// Moves this process into a namespace of its own, too. REQUIRES: it has one thread. Errors: what
  /// a daemon said that did not start; kSystem.
  static Result<DemoHosts> start(int hosts);

  const std::vector<digits::RemoteHost>& hosts() const { return hosts_; }
  /// "netns" or "loopback".
  const std::string& where() const { return where_; }
  /// Why not namespaces.
  const std::string& note() const { return note_; }
  /// What the daemons have said until now.
  std::string logs() const;

 private:
  explicit DemoHosts(TemporaryFolder folder) : folder_(std::move(folder)) {}

  TemporaryFolder folder_;
  std::vector<BackgroundProgram> daemons_;
  std::vector<digits::RemoteHost> hosts_;
  std::string where_, note_;
};

}  // namespace echelon::cli
