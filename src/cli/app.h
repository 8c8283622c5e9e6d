// SPDX-License-Identifier: Apache-2.0
//
// The command line: its commands, its help, and what it says about a slip.
//
// Exit codes: 0 well; 1 it failed; 2 the command line (or what it names) is wrong, and nothing was
// done.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace echelon::cli {

inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

/// Parses and does what is asked. Never throws.
int run_app(int argc, const char* const* argv);

/// What a parsed command line asks for; returns the exit code.
using Action = std::function<int()>;

// Each adds one command to `app`; when it is given, `action` is what it does.
void add_demo(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_daemon(CLI::App& app, Action& action);
void add_keys(CLI::App& app, Action& action);
void add_version(CLI::App& app, Action& action);

}  // namespace echelon::cli
