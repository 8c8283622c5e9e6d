# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# System packages: what is needed, and how it gets there.

# To build the library and the programs, and for chip images compiled at registration.
PACKAGES_TO_RUN=(
  g++ cmake ninja-build
  libfmt-dev libspdlog-dev libcli11-dev nlohmann-json3-dev libssl-dev zlib1g-dev
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libucx-dev
)
# For every test: GoogleTest (and its source, for AArch64), the second compiler, the cross compiler,
# and make, as the hello program is built as a user would, with CMake's default.
PACKAGES_TO_TEST=(
  git python3 make libgtest-dev libgmock-dev googletest clang clang-format
  g++-aarch64-linux-gnu qemu-user
)
# For the Python package.
PACKAGES_FOR_PYTHON=(python3-dev python3-venv)
PACKAGES_TO_LINT=(clang-tidy)
# For the API pages; the Python half has pdoc by pip, in .venv.
PACKAGES_TO_DOCUMENT=(doxygen python3)

# Prints those of the packages that are not installed.
missing_packages() {
  local installed package
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
  for package in "$@"; do
    grep -qxF "$package installed" <<<"$installed" || printf '%s\n' "$package"
  done
}

# Installs those of the packages that are missing; costs one dpkg-query when none is.
install_missing() {
  if ! command -v dpkg-query >/dev/null; then
    warn "not a Debian system: these must be there already, under its own names: $*"
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    return
  fi
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "packages are missing and there is no sudo; as root, run:
  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing ${missing[*]}"
  apt_get "${as_root[@]}" -- update
  apt_get "${as_root[@]}" -- install -y --no-install-recommends "${missing[@]}"
}

# apt_get [SUDO...] -- ARGS: quiet, but the whole output when it fails.
apt_get() {
  local as_root=()
  while [[ $1 != -- ]]; do
    as_root+=("$1")
    shift
  done
  shift
  local command=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
  local output
  output=$("${as_root[@]}" "${command[@]}" "$@" 2>&1) ||
    die "apt-get $* failed:
$output"
}
