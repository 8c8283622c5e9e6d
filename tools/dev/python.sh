# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The Python package: .venv with what builds and checks it, and a wheel made in build/, so that
# nothing is compiled twice.

VENV=$ROOT/.venv
PYTHON=$VENV/bin/python
# What the checkers remember lies with them.
export MYPY_CACHE_DIR=$VENV/mypy-cache RUFF_CACHE_DIR=$VENV/ruff-cache
# To build the wheel, and to run it.
PYTHON_TO_RUN=("scikit-build-core>=0.10" "nanobind>=2.4,<3" numpy "cloudpickle>=2.2")
# What the tests import, and the checkers. A Jupyter kernel runs the smallest program in cells.
PYTHON_OF_TESTS=(pytest ml_dtypes ipykernel jupyter_client)
PYTHON_TO_TEST=("${PYTHON_OF_TESTS[@]}" ruff mypy)

# pip_install PACKAGES...: into .venv, unless these very words were installed before.
pip_install() {
  local stamp=$VENV/installed-$1
  if [[ ! -x $PYTHON ]]; then
    say "Making ${VENV#"$ROOT"/}"
    python3 -m venv "$VENV"
  fi
  if [[ -f $stamp && $(<"$stamp") == "$*" ]]; then
    return
  fi
  say "Installing $* into ${VENV#"$ROOT"/}"
  "$PYTHON" -m pip install -q --disable-pip-version-check "$@" ||
    die "pip could not install: $*"
  printf '%s' "$*" >"$stamp"
}

# build_wheel FOLDER OPTIONS...: by $PYTHON, in that build folder; leaves it alone in FOLDER/wheel.
build_wheel() {
  local folder=$1 log=$ROOT/$1/wheel.log
  shift
  rm -rf "${ROOT:?}/$folder/wheel"
  (cd "$ROOT" && CMAKE_BUILD_PARALLEL_LEVEL=$JOBS "$PYTHON" -m pip wheel . -v \
    --disable-pip-version-check --no-build-isolation --no-deps \
    "--config-settings=build-dir=$folder" "$@" -w "$folder/wheel") >"$log" 2>&1 || {
    tail -n 60 "$log" >&2
    die "the wheel could not be built; all of it: $log"
  }
}

install_wheel() {
  "$PYTHON" -m pip install -q --disable-pip-version-check --no-deps --force-reinstall \
    "$ROOT/$1"/wheel/*.whl || die "the wheel could not be installed"
}

# The package of this tree, into .venv; costs a second when nothing has changed.
install_package() {
  pip_install "${PYTHON_TO_RUN[@]}"
  local stamp=$VENV/installed-echelon newer=yes
  if [[ -f $stamp ]]; then
    newer=$(find "$ROOT/src" "$ROOT/include" "$ROOT/python" "$ROOT/pyproject.toml" \
      "$ROOT/CMakeLists.txt" "$ROOT/cmake" -newer "$stamp" -type f -print -quit)
  fi
  if [[ -z $newer ]]; then
    return
  fi
  say "Building the Python package"
  configure_main
  build_wheel build
  install_wheel build
  touch "$stamp"
}

# The types of the extension module, as nanobind sees them, to FILE.
write_stubs() {
  "$PYTHON" -m nanobind.stubgen -q -P --exclude-values -p "$ROOT/tools/dev/stubs.txt" \
    -m echelon._src._core -o "$1"
  sed -i '1i # SPDX-License-Identifier: Apache-2.0' "$1"
  "$VENV/bin/ruff" check -q --fix "$1"
  "$VENV/bin/ruff" format -q "$1"
}

check_stubs() {
  mkdir -p "$ROOT/build/stubs"
  write_stubs "$ROOT/build/stubs/_core.pyi"
  diff -u "$ROOT/python/echelon/_src/_core.pyi" "$ROOT/build/stubs/_core.pyi" || {
    warn "the stubs are not those of the module: cp build/stubs/_core.pyi python/echelon/_src/"
    return 1
  }
}

# ruff over every Python file of the repository; mypy over the package, its tests, the examples.
check_python() {
  local wrong=0 folders=(python tests tools examples)
  (cd "$ROOT" && "$VENV/bin/ruff" check -q "${folders[@]}") || wrong=1
  (cd "$ROOT" && "$VENV/bin/ruff" format -q --check "${folders[@]}") ||
    { warn "not in the project's format: .venv/bin/ruff format ${folders[*]}"; wrong=1; }
  (cd "$ROOT" && "$VENV/bin/mypy" -p echelon &&
    "$VENV/bin/mypy" tests/python examples/digits examples/remote) || wrong=1
  check_stubs || wrong=1
  return $wrong
}

# The wheel in a virtual environment of its own, and the tests there.
test_package() {
  local clean=$ROOT/build/venv
  rm -rf "$clean"
  python3 -m venv "$clean"
  "$clean/bin/python" -m pip install -q --disable-pip-version-check \
    "$ROOT"/build/wheel/*.whl "${PYTHON_OF_TESTS[@]}" || die "the wheel could not be installed"
  run_pytest "$clean/bin/python" build
}

# The package as its developers have it: installed editable in .venv, from build/, which compiles
# nothing again. The wheel stands there before and after.
test_editable() {
  "$PYTHON" -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps \
    --config-settings=build-dir=build --editable "$ROOT" || die "no editable install"
  local wrong=0
  (cd "$ROOT/build" && "$PYTHON" -c "
import echelon
assert echelon.__file__ == '$ROOT/python/echelon/__init__.py', echelon.__file__") || wrong=1
  run_pytest "$PYTHON" build "$ROOT/tests/python/programs_test.py" \
    -k "as_a_script or as_a_module" || wrong=1
  install_wheel build
  return $wrong
}

# Tests hang if they take longer: they are ended, and Python prints its stacks.
PYTEST_SECONDS_MAX=900

# run_pytest PYTHON FOLDER [TESTS...]: nothing of the source tree is on their path but themselves.
run_pytest() {
  local python=$1 folder=$ROOT/$2
  shift 2
  (($# > 0)) || set -- "$ROOT/tests/python"
  (cd "$folder" && timeout --foreground -s ABRT "$PYTEST_SECONDS_MAX" "$python" -m pytest \
    -c "$ROOT/pyproject.toml" --rootdir "$ROOT" --basetemp "$folder/pytest" \
    --junitxml "$folder/python.xml" "$@")
}

# Where Python and C++ hand each other memory, errors and functions; the others call the same code,
# or start programs that the sanitizers make slow.
TESTS_UNDER_ASAN=(arguments tensors errors odd_exceptions orchestration registration envelope)

# The package of build-asan. The interpreter is not sanitized, so that the runtime comes before it,
# with the library whose exceptions it watches. What an interpreter leaves at its end is no leak of
# ours, memory that the runtime keeps back none of the tests' business; and a thread that begins
# while a tree is forked (OpenBLAS, a watchdog) leaves the child a lock that nobody opens.
test_package_under_asan() {
  local site=$ROOT/build-asan/site name tests=()
  rm -rf "$site"
  cmake --install "$ROOT/build-asan" --component python --prefix "$site" >/dev/null
  cp -r "$ROOT/python/echelon" "$site"
  for name in "${TESTS_UNDER_ASAN[@]}"; do
    tests+=("$ROOT/tests/python/${name}_test.py")
  done
  export PYTHONPATH=$site PYTHONMALLOC=malloc OPENBLAS_NUM_THREADS=1
  export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1
  export UBSAN_OPTIONS=print_stacktrace=1
  LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
    run_pytest "$PYTHON" build-asan -o faulthandler_timeout=0 -k "not leaks" "${tests[@]}"
}

# The oldest Python that the package promises, with headers: its path. What is on PATH may be a shim
# that runs none.
oldest_python() {
  local found
  while read -r found; do
    if "$found" -c '
import os, ssl, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not (sys.version_info[:2] == (3, 9) and os.path.exists(header)))' 2>/dev/null; then
      printf '%s' "$found"
      return
    fi
  done < <(
    type -ap python3.9
    compgen -G "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/3.9*/bin/python3.9"
  )
  return 1
}

# test_oldest_python PYTHON: the same tests under it. Only the extension module is built for it; the
# library and the programs are those in build/.
test_oldest_python() {
  local old=build-py39
  local VENV=$ROOT/$old/venv
  local PYTHON=$VENV/bin/python
  [[ -x $PYTHON ]] || "$1" -m venv "$VENV"
  pip_install "${PYTHON_TO_RUN[@]}"
  pip_install "${PYTHON_OF_TESTS[@]}"
  local define=--config-settings=cmake.define
  local options=("$define.ECHELON_PREBUILT=$ROOT/build" "$define.ECHELON_WERROR=ON")
  if command -v ccache >/dev/null; then
    options+=("$define.CMAKE_CXX_COMPILER_LAUNCHER=ccache")
    options+=("$define.CMAKE_C_COMPILER_LAUNCHER=ccache")
  fi
  build_wheel $old "${options[@]}"
  install_wheel $old
  run_pytest "$PYTHON" $old
}
