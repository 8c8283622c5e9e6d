# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What a run of the tests may leave behind: nothing outside the build folders.

# Every process that the tests start inherits the mark and TMPDIR.
note_what_is_there() {
  export ECHELON_TEST_RUN=$$.$RANDOM$RANDOM
  export TMPDIR=$ROOT/build/tmp
  rm -rf "$TMPDIR"
  mkdir -p "$TMPDIR"
  SHM_BEFORE=$(shared_memory_names)
  FILES_BEFORE=$(stray_files)
}

shared_memory_names() { ls -A /dev/shm; }

# Files of the working tree that git does not track, the build folders left out.
stray_files() {
  command -v git >/dev/null || return 0
  git -C "$ROOT" status --porcelain --ignored --untracked-files=all |
    grep -E '^(\?\?|!!) ' | grep -vE '^!! "?(build[^/]*|\.venv)/' || true
}

# Processes that carry the mark; the ones that look for it do not.
marked_processes() (
  mark=ECHELON_TEST_RUN=$ECHELON_TEST_RUN
  unset ECHELON_TEST_RUN
  grep -lzsxF "$mark" /proc/[0-9]*/environ | grep -o '[0-9]*'
)

# What is killed may need a moment to be taken down.
remaining_processes() {
  local pids="" attempt
  for ((attempt = 0; attempt < 20; ++attempt)); do
    pids=$(marked_processes || true)
    [[ -n $pids ]] || return 0
    sleep 0.1
  done
  local pid
  for pid in $pids; do
    printf '%s: %s\n' "$pid" "$({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null)"
  done
}

# new_lines BEFORE AFTER: what stands only in the second.
new_lines() { comm -13 <(sort <<<"$1") <(sort <<<"$2"); }

report_leftover() {
  [[ -z $2 ]] && return
  warn "left behind, $1:"
  printf '%s\n' "$2" >&2
  return 1
}

check_leftovers() {
  local found=0
  report_leftover "processes" "$(remaining_processes)" || found=1
  report_leftover "in /dev/shm" "$(new_lines "$SHM_BEFORE" "$(shared_memory_names)")" || found=1
  report_leftover "in the working tree" "$(new_lines "$FILES_BEFORE" "$(stray_files)")" || found=1
  # pip leaves its certificates behind where ensurepip runs it.
  report_leftover "temporary files" "$(cd "$TMPDIR" && find . -mindepth 1 -maxdepth 1 \
    ! -name '*cacert.pem')" || found=1
  return $found
}
