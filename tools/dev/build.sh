# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Configuring and building, one folder a variant: build, build-asan, build-tsan, build-arm64.

JOBS=$(nproc)

# configure FOLDER CMAKE_ARGUMENTS...: runs CMake unless the folder was configured with the same
# arguments (ninja itself sees to changes in CMake files).
configure() {
  local folder=$ROOT/$1
  shift
  local arguments=(-G Ninja "$@")
  if command -v ccache >/dev/null; then
    arguments+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
  fi
  local stamp=$folder/configured-with
  if [[ -f $folder/build.ninja && -f $stamp && $(<"$stamp") == "${arguments[*]}" ]]; then
    return
  fi
  mkdir -p "$folder"
  rm -f "$stamp"
  cmake -S "$ROOT" -B "$folder" "${arguments[@]}" >"$folder/configure.log" 2>&1 || {
    cat "$folder/configure.log" >&2
    die "cmake failed in $folder"
  }
  printf '%s' "${arguments[*]}" >"$stamp"
}

# build FOLDER TARGETS...
build() {
  local folder=$ROOT/$1
  shift
  ninja -C "$folder" -j "$JOBS" "$@" | progress
}

# The main folder; the tests only where GoogleTest is, as running needs none.
configure_main() {
  local tests=OFF
  if [[ -e /usr/include/gmock/gmock.h ]]; then
    tests=ON
  fi
  configure build -DECHELON_WERROR=ON -DECHELON_TESTS=$tests
}

build_programs() {
  configure_main
  build build all
}

# For commands whose standard output is the program's alone: silent when there is little to do.
build_programs_quietly() {
  configure_main >&2
  local changed=yes
  if [[ -x $ROOT/build/bin/echelon ]]; then
    changed=$(find "$ROOT/src" "$ROOT/include" -newer "$ROOT/build/bin/echelon" -print -quit)
  fi
  if [[ -n $changed ]]; then
    say "Building Echelon"
    build build all >&2
  else
    ninja -C "$ROOT/build" --quiet all >&2
  fi
}

build_programs_and_tests() {
  configure_main
  build build all tests
}
