# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What is checked without running the program.

# Every C++ file that git tracks or would track, each followed by a NUL.
cpp_files() {
  cd "$ROOT" && git ls-files -z -co --exclude-standard -- '*.h' '*.cc' '*.c'
}

check_format() {
  cpp_files | (cd "$ROOT" && xargs -0 clang-format --dry-run -Werror) ||
    die "not in the project's format; ./dev format puts it right"
}

check_tidy() { "$ROOT/tools/tidy.py" "$@"; }

check_layers() { "$ROOT/tools/check_layers.py"; }

# Each public header can be included alone, the C ones from C, too.
check_public_headers() (
  cd "$ROOT/include/echelon" || exit
  local header
  for header in *.h; do
    compiles_alone "$header" clang++ -std=c++20 -x c++
    if grep -qF 'extern "C"' "$header"; then
      compiles_alone "$header" clang -std=c99 -x c
    fi
  done
)

# compiles_alone HEADER COMPILER...
compiles_alone() {
  local header=$1
  shift
  "$@" -fsyntax-only -Wall -Wextra -Wpedantic -Werror -I.. - <<<"#include <echelon/$header>"
}

# clang-tidy over the given files, or over all sources of the main build folder: minutes.
check_clang_tidy() {
  configure_main
  build build all tests
  local files=("$@")
  if ((${#files[@]} == 0)); then
    mapfile -d '' -t files < <(cpp_files | grep -zE '^src/.*\.cc$')
  fi
  (cd "$ROOT" && printf '%s\0' "${files[@]}" |
    xargs -0 -P "$JOBS" -n 1 clang-tidy -p build --quiet)
}

lint() {
  local files=()
  if (($# > 0)); then
    mapfile -t files < <(realpath "$@")
  fi
  check_format
  check_tidy "${files[@]}"
  check_layers
  check_clang_tidy "${files[@]}"
}
