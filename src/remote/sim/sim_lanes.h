// SPDX-License-Identifier: Apache-2.0
//
// Two lanes that are each other's peer, within one process: what is sent on one is there to be
// polled on the other as soon as try_send() returns. notify() of an end is called on the thread
// that sends, polls or closes at the other.
//
// Threads: as in lane.h; the two ends on any threads.
// Ownership: each end may go first; the other one then hears that its peer is gone.
#pragma once

#include <memory>

#include "remote/lane.h"

namespace echelon {

struct SimLanes {
  std::unique_ptr<Lane> a;
  std::unique_ptr<Lane> b;
};

SimLanes make_sim_lanes(LaneOptions options_a = {}, LaneOptions options_b = {});

}  // namespace echelon
