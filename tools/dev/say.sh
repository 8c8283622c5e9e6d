# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# How the script speaks: everything of its own goes to standard error.

say() { printf '%s\n' "$*" >&2; }

warn() { printf 'dev: %s\n' "$*" >&2; }

die() {
  warn "$*"
  exit 1
}

heading() { printf '\n== %s ==\n' "$*" >&2; }

# Passes on the output of ninja or ctest: everything on a terminal, which ninja overwrites; else one
# line in ten of those that only count, and all others.
progress() {
  if [[ -t 1 ]]; then
    cat
    return
  fi
  awk '
    function show_tenth(done, all, text) {
      tenth = int(10 * done / all)
      if (tenth != last) { last = tenth; print substr(text, 1, 120); fflush() }
    }
    /^\[[0-9]+\/[0-9]+\] / { split(substr($1, 2), n, /[\/\]]/); show_tenth(n[1], n[2], $0); next }
    /^ *[0-9]+\/[0-9]+ Test .* Passed / { split($1, n, "/"); show_tenth(n[1], n[2], $0); next }
    /^ *Start +[0-9]+: / { next }
    { print; fflush() }'
}
