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
    say "Making .venv"
    python3 -m venv "$VENV"
  fi
  if [[ -f $stamp && $(<"$stamp") == "$*" ]]; then
    return
  fi
  say "Installing $* into .venv"
  "$PYTHON" -m pip install -q --disable-pip-version-check "$@" ||
    die "pip could not install: $*"
  printf '%s' "$*" >"$stamp"
}

# Leaves the wheel alone in build/wheel.
build_wheel() {
  configure_main
  local log=$ROOT/build/wheel.log
  rm -rf "$ROOT/build/wheel"
  (cd "$ROOT" && CMAKE_BUILD_PARALLEL_LEVEL=$JOBS "$PYTHON" -m pip wheel . -v \
    --disable-pip-version-check --no-build-isolation --no-deps \
    --config-settings=build-dir=build -w build/wheel) >"$log" 2>&1 || {
    tail -n 60 "$log" >&2
    die "the wheel could not be built; all of it: build/wheel.log"
  }
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
  build_wheel
  "$PYTHON" -m pip install -q --disable-pip-version-check --no-deps --force-reinstall \
    "$ROOT"/build/wheel/*.whl || die "the wheel could not be installed"
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
  (cd "$ROOT" && "$VENV/bin/mypy" -p echelon && "$VENV/bin/mypy" tests/python examples/digits) ||
    wrong=1
  check_stubs || wrong=1
  return $wrong
}

# The wheel in a virtual environment of its own, and the tests there: nothing of the source tree is
# on their path but themselves.
test_package() {
  local clean=$ROOT/build/venv
  rm -rf "$clean"
  python3 -m venv "$clean"
  "$clean/bin/python" -m pip install -q --disable-pip-version-check \
    "$ROOT"/build/wheel/*.whl "${PYTHON_OF_TESTS[@]}" || die "the wheel could not be installed"
  (cd "$ROOT/build" && "$clean/bin/python" -m pytest -c "$ROOT/pyproject.toml" --rootdir "$ROOT" \
    --basetemp "$ROOT/build/pytest" --junitxml "$ROOT/build/python.xml" "$ROOT/tests/python")
}

# The oldest Python that the package promises: its path; nothing where there is none.
oldest_python() {
  local found
  found=$(command -v python3.9) || return
  "$found" -c 'import ssl, venv' 2>/dev/null && printf '%s' "$found"
}

# The same tests under it. Its own build folder, whose C++ ccache has already.
test_oldest_python() {
  local python
  if ! python=$(oldest_python); then
    warn "skipped: the tests under Python 3.9, as there is no python3.9 on PATH"
    return
  fi
  local old=$ROOT/build-py39
  mkdir -p "$old"
  [[ -x $old/venv/bin/python ]] || "$python" -m venv "$old/venv"
  "$old/venv/bin/python" -m pip install -q --disable-pip-version-check \
    "${PYTHON_TO_RUN[@]}" "${PYTHON_OF_TESTS[@]}"
  local options=(--config-settings=build-dir=build-py39)
  options+=(--config-settings=cmake.define.ECHELON_TESTS=OFF)
  if command -v ccache >/dev/null; then
    options+=(--config-settings=cmake.define.CMAKE_CXX_COMPILER_LAUNCHER=ccache)
    options+=(--config-settings=cmake.define.CMAKE_C_COMPILER_LAUNCHER=ccache)
  fi
  rm -rf "$old/wheel"
  (cd "$ROOT" && CCACHE_NOHASHDIR=1 CMAKE_BUILD_PARALLEL_LEVEL=$JOBS \
    "$old/venv/bin/python" -m pip wheel . -v --disable-pip-version-check --no-build-isolation \
    --no-deps "${options[@]}" -w "$old/wheel") >"$old/wheel.log" 2>&1 || {
    tail -n 60 "$old/wheel.log" >&2
    die "the wheel for Python 3.9 could not be built; all of it: build-py39/wheel.log"
  }
  "$old/venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
    --force-reinstall "$old"/wheel/*.whl
  (cd "$old" && "$old/venv/bin/python" -m pytest -c "$ROOT/pyproject.toml" --rootdir "$ROOT" \
    --basetemp "$old/pytest" "$ROOT/tests/python")
}
