# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# `./dev test`: the steps, in order, each with its heading and time; then a table and the sum.
source "$ROOT/tools/dev/leftovers.sh"

STEPS=(setup lint tools build unit demo python python39 docs clang asan asanpy tsan arm64 leftovers)
QUICK_STEPS=(setup lint tools build unit demo python python39 docs leftovers)
declare -A ABOUT=(
  [setup]="system packages"
  [lint]="format, sizes, banned calls and layers"
  [tools]="the tests of our own tools"
  [build]="library, programs and tests by g++, warnings are errors"
  [unit]="unit and integration tests, the hello program against an installed copy"
  [demo]="the demo in a short form"
  [python]="ruff, mypy, an editable install, the tests against the wheel in a clean venv"
  [python39]="the same tests under Python 3.9, the oldest promised, where there is one"
  [docs]="API pages; every public name is documented"
  [clang]="library, programs and Python extension by clang, warnings are errors"
  [asan]="the same tests under AddressSanitizer and UndefinedBehaviorSanitizer"
  [asanpy]="tests of the Python package under both, where the extension is called most"
  [tsan]="tests of base, shm, engine and process under ThreadSanitizer"
  [arm64]="tests of base, shm and engine for AArch64, under qemu-user"
  [leftovers]="no process, shared memory or file is left"
)

test_usage() {
  local step
  printf '%s\n' "usage: ./dev test [--quick] [--only STEP,...]" "" \
    "  --quick   leave out the second compiler, the sanitizers and AArch64" \
    "  --only    these steps alone:" ""
  for step in "${STEPS[@]}"; do
    printf '  %-10s %s\n' "$step" "${ABOUT[$step]}"
  done
}

step_setup() {
  install_missing "${PACKAGES_TO_RUN[@]}" "${PACKAGES_TO_TEST[@]}" "${PACKAGES_TO_DOCUMENT[@]}"
}

step_lint() {
  local wrong=0
  (check_format) || wrong=1
  check_tidy || wrong=1
  check_layers || wrong=1
  return $wrong
}

step_tools() { (cd "$ROOT" && python3 -m unittest discover -s tools/tests -p '*_test.py'); }

step_build() { build_programs_and_tests; }

step_unit() {
  build_programs_and_tests
  run_ctest build
}

step_demo() {
  build_programs
  "$ROOT/build/bin/echelon" demo --epochs 3 --json >"$ROOT/build/demo.json"
  python3 "$ROOT/tools/dev/check_demo.py" "$ROOT/build/demo.json"
}

step_python() {
  install_missing "${PACKAGES_FOR_PYTHON[@]}"
  build_programs
  pip_install "${PYTHON_TO_TEST[@]}"
  install_package
  [[ -d $ROOT/build/wheel ]] || build_wheel build
  check_python
  test_editable
  test_package
}

step_python39() {
  local python
  if ! python=$(oldest_python); then
    say "skipped: no Python 3.9 that runs and has its headers, neither on PATH nor in pyenv"
    return $SKIPPED
  fi
  build_programs
  test_oldest_python "$python"
}

step_docs() { write_docs; }

step_clang() {
  check_public_headers
  install_missing "${PACKAGES_FOR_PYTHON[@]}"
  pip_install "${PYTHON_TO_RUN[@]}"
  configure build/clang -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang \
    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DECHELON_WERROR=ON -DECHELON_TESTS=OFF \
    -DECHELON_PYTHON=ON "-DPython_EXECUTABLE=$PYTHON"
  build build/clang -k 0 all
}

step_asan() {
  export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
  export UBSAN_OPTIONS=print_stacktrace=1
  configure_asan
  build build-asan all tests
  run_ctest build-asan
}

configure_asan() {
  install_missing "${PACKAGES_FOR_PYTHON[@]}"
  pip_install "${PYTHON_TO_RUN[@]}"
  configure build-asan -DECHELON_SANITIZE=address -DECHELON_PYTHON=ON "-DPython_EXECUTABLE=$PYTHON"
}

step_asanpy() {
  pip_install "${PYTHON_TO_TEST[@]}"
  configure_asan
  build build-asan echelon_wheel
  test_package_under_asan
}

# Without address space randomisation: g++ 12's runtime refuses where the kernel randomises more
# than it expects (vm.mmap_rnd_bits above 28).
step_tsan() {
  export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
  configure build-tsan -DECHELON_SANITIZE=thread \
    "-DECHELON_LAYERS=base;shm;observe;engine;process"
  setarch -R ninja -C "$ROOT/build-tsan" -j "$JOBS" tests | progress
  setarch -R ctest "${CTEST_OPTIONS[@]}" --test-dir "$ROOT/build-tsan" \
    --output-junit results.xml | progress
}

step_arm64() {
  configure build-arm64 "-DECHELON_LAYERS=base;shm;engine" \
    "-DCMAKE_TOOLCHAIN_FILE=$ROOT/cmake/aarch64-linux-gnu.cmake"
  build build-arm64 tests
  run_ctest build-arm64
}

step_leftovers() { check_leftovers; }

# The status of a step that cannot run here; it has said why.
SKIPPED=77

CTEST_OPTIONS=(-j "$JOBS" --output-on-failure --no-tests=error)

run_ctest() {
  ctest "${CTEST_OPTIONS[@]}" --test-dir "$ROOT/$1" --output-junit results.xml | progress
}

# The JUnit file of a step that writes one.
results_of() {
  case $1 in
    unit) printf build/results.xml ;;
    asan | tsan | arm64) printf 'build-%s/results.xml' "$1" ;;
    python) printf build/python.xml ;;
    python39) printf build-py39/python.xml ;;
    asanpy) printf build-asan/python.xml ;;
    *) printf build/none ;;
  esac
}

# count FILE ATTRIBUTE: that number of a JUnit file's test suite.
count() { grep -o -m1 "$2=\"[0-9]*\"" "$1" | grep -o '[0-9]*'; }

# run_step NAME: adds its line to the table. A step without such a file, or that did not come so
# far, counts as one.
run_step() {
  local step=$1 before=$SECONDS status results
  results=$ROOT/$(results_of "$step")
  rm -f "$results"
  heading "$step: ${ABOUT[$step]}"
  set +e # or it would be off within the step, too
  (
    set -e
    "step_$step"
  )
  status=$?
  set -e
  local passed=0 failed=0 skipped=0 verdict=ok
  if [[ -f $results ]]; then
    failed=$(($(count "$results" failures) + $(count "$results" errors || echo 0)))
    skipped=$(count "$results" skipped)
    passed=$(($(count "$results" tests) - failed - skipped))
  elif ((status == SKIPPED)); then
    skipped=1 status=0 verdict=skipped
  elif ((status == 0)); then
    passed=1
  fi
  if ((status != 0 && failed == 0)); then
    failed=1
  fi
  if ((failed > 0)); then
    verdict=FAILED
  fi
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
  TABLE+=$(printf '%-10s %-7s %7d %7d %8d %6ds' "$step" "$verdict" "$passed" "$failed" "$skipped" \
    $((SECONDS - before)))$'\n'
}

# Sets CHOSEN to the steps that the options ask for.
choose_steps() {
  CHOSEN=("${STEPS[@]}")
  while (($# > 0)); do
    case $1 in
      --quick) CHOSEN=("${QUICK_STEPS[@]}") ;;
      --only)
        IFS=, read -ra CHOSEN <<<"${2:-}"
        shift
        ;;
      -h | --help)
        test_usage
        exit 0
        ;;
      *) die "test: no such option: $1 (see ./dev test --help)" ;;
    esac
    shift
  done
  local step
  for step in "${CHOSEN[@]}"; do
    [[ " ${STEPS[*]} " == *" $step "* ]] || die "test: no such step: $step (see ./dev test --help)"
  done
}

run_tests() {
  choose_steps "$@"
  PASSED=0 FAILED=0 TABLE=
  note_what_is_there
  local step
  for step in "${CHOSEN[@]}"; do
    run_step "$step"
  done
  heading summary
  printf '%-10s %-7s %7s %7s %8s %7s\n' step "" passed failed skipped time
  printf '%s\n%d passed, %d failed\n' "$TABLE" "$PASSED" "$FAILED"
  ((FAILED == 0))
}
