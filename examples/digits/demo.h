// SPDX-License-Identifier: Apache-2.0
//
// `echelon demo`: trains the digits classifier on a pod of hosts and chips, trains it again with
// one host and one chip, and compares the parameters bit for bit.
#pragma once

#include <string>
#include <vector>

#include "trainer.h"

namespace echelon::digits {

inline constexpr int kHostsMax = 4;
inline constexpr int kChipsMax = 4;
inline constexpr int kEpochsMax = 100'000;
inline constexpr int kHiddenMax = 4096;
inline constexpr int kEpochsDefault = 25;
inline constexpr int kHiddenDefault = 64;
/// Held-out accuracy that the shipped data is to reach with at least the default epochs and hidden
/// units.
inline constexpr double kAccuracyMin = 0.95;

struct DemoOptions {
  int hosts = 2;
  int chips = 2;          // a host
  std::string data = {};  // a CSV file, gzip or not; empty: the digits that are shipped
  int epochs = kEpochsDefault;
  int hidden = kHiddenDefault;
  std::vector<RemoteHost> remote = {};  // as many as `hosts`; empty: processes of this machine
  std::string where = {};               // with `remote`: what it says of the hosts, "netns"
  std::string where_note = {};          // and more in words
  bool json = false;  // one JSON object on standard output, and nothing else there
};

/// Returns the exit code: 0; 1 if the parameters differ, the shipped data is not learnt, or the
/// runtime failed; 2 if an option or the data is refused (one line on standard error says why).
int demo_main(const DemoOptions& options);

}  // namespace echelon::digits
