// SPDX-License-Identifier: Apache-2.0
//
// What the C library does with memory that bulk data has passed through. At first it gives what is
// freed back to the system at once, page by page, and gets and zeroes it again for the next piece
// (measured: 430,000 page faults for 3.75 GiB to a session, 60,000 without). Once a program has
// freed a block of some size it keeps twice that much; this frees one as large as what a lane may
// hold.
//
// Threads: any.
#pragma once

namespace echelon {

/// The first call of a process does it.
void keep_freed_memory();

}  // namespace echelon
