// SPDX-License-Identifier: Apache-2.0
//
// What both ends of a lane hear when it goes down, in the same words whatever carries it.
#pragma once

#include "base/status.h"
#include "remote/lane.h"

namespace echelon {

/// At the end that called close(why).
Status lane_closed_here(const Status& why);
/// At the other end; `why` as it was given there.
Status lane_closed_by_peer(const Status& why);
/// The other end is gone without a word: its process ended, or it destroyed its lane.
Status lane_peer_gone();
/// For whoever has more lanes than this one: says which is down, where it ended by itself.
Status lane_down(LaneRole role, const Status& why);

}  // namespace echelon
