// SPDX-License-Identifier: Apache-2.0
//
// Last words: what a dying child leaves in its channel - an encoded error (base/error_codec.h)
// where it could still make one, else text from a signal handler: one line and a backtrace. The
// first writer counts. Also the executor's stack on request, for a task that is stuck.
//
// Processes: the child; read_last_words() the parent.
// Threads: handlers run on the thread that faults, on an alternate stack; each thread that is to
//   survive its own stack overflow calls use_alternate_stack().
// Fork: a forked copy must call forget_last_words(), as it no longer has the channel.
#pragma once

#include <pthread.h>

#include <string>
#include <string_view>

#include "base/status.h"

namespace echelon {

class ChannelChild;
class ChannelParent;

/// Handlers for SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT, and a hook for ECHELON_CHECK; each
/// writes and then lets the default action end the process. `channel` must live as long as the
/// process. Under a sanitizer the signals are its own: only the hook is set. Errors: kSystem.
Status install_last_words(ChannelChild& channel);
void forget_last_words();
Status use_alternate_stack();

/// An error that ends this process, with its texts as far as they fit.
void write_last_error(ChannelChild& channel, const ErrorInfo& info);

/// What a child left; OK: nothing. Text becomes the message's first line and the traceback.
Status read_last_words(const ChannelParent& channel);
/// The same of bytes.
Status parse_last_words(std::string_view bytes);

/// "  #0 0x55... function+0x1f (program)" a line. Safe in a signal handler once
/// install_last_words() has run. Returns the bytes written to `out`.
std::size_t write_backtrace(char* out, std::size_t bytes, int skip);

/// The stack of another thread of this process, taken by a signal to it; waits up to 50 ms. Empty:
/// it did not answer (a thread in an uninterruptible call), or one is being taken already.
/// REQUIRES: watch_stack() was called on that thread.
std::string stack_of(pthread_t thread);
/// Prepares the calling thread for stack_of(). Errors: kSystem.
Status watch_stack();

}  // namespace echelon
