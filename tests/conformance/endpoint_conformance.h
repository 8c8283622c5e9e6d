// SPDX-License-Identifier: Apache-2.0
//
// What every Endpoint has to do, whatever is behind it. A rig makes one endpoint whose child runs
// the tasks of process/test_tree.h one after the other; the suite (endpoint_conformance.cc) runs
// over each rig.
//
// A further implementation adds a rig and is done.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "engine/endpoint.h"

namespace echelon {

class EndpointRig {
 public:
  virtual ~EndpointRig() = default;
  virtual Endpoint& endpoint() = 0;
  /// Unfinished tasks at most.
  virtual std::uint32_t window() const = 0;
  /// Reports what has come, or waits a little until something does.
  virtual void pump() = 0;
  /// The child dies without a word.
  virtual void kill() = 0;
};

struct RigKind {
  std::string name;
  /// `events` gets what the endpoint reports; it outlives the rig. The child is ready on return.
  std::function<std::unique_ptr<EndpointRig>(EndpointEvents& events)> make;
};
inline void PrintTo(const RigKind& kind, std::ostream* out) {
  *out << kind.name;
}

/// In rigs.cc; the remote one in remote_rig.cc, where that layer is built.
RigKind null_rig();
RigKind process_rig();
RigKind remote_rig();
std::vector<RigKind> all_rigs();

}  // namespace echelon
