# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# `./dev fuzz`: libFuzzer on each target of fuzz/, one after another; then a table. What it has
# found to be worth trying stays in build-fuzz/corpus/, what crashed in build-fuzz/crashes/.

FUZZ_SECONDS=60
FUZZ_MEMORY_MB=2048

fuzz_usage() {
  cat <<'END'
usage: ./dev fuzz [--seconds N] [--only NAME,...] [--replay FILE] [--list]

  --seconds N   for each target: 60 unless told
  --only        these targets alone; `canary` is there to be found
  --replay      runs the one target of --only on FILE, and nothing else
  --list        prints the targets
END
}

build_fuzz() {
  configure build-fuzz -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DECHELON_TESTS=OFF \
    -DECHELON_FUZZ=ON -DECHELON_SANITIZE=address -DECHELON_WERROR=ON \
    "-DECHELON_LAYERS=base;shm;observe;engine;process;chip;remote"
  build build-fuzz echelon_fuzz
}

fuzz_binary() { printf '%s/build-fuzz/bin/echelon_fuzz' "$ROOT"; }

fuzz_targets() { "$(fuzz_binary)" --list | cut -f 1; }

# fuzz_one NAME SECONDS: adds its line to FUZZ_TABLE; status 1 where it found something.
fuzz_one() {
  local name=$1 seconds=$2 status=0
  local corpus=$ROOT/build-fuzz/corpus/$name crashes=$ROOT/build-fuzz/crashes
  local log=$ROOT/build-fuzz/$name.log seeds
  seeds=$(mktemp -d)
  mkdir -p "$corpus" "$crashes"
  "$(fuzz_binary)" "--target=$name" "--seeds=$seeds"
  # A line every few seconds, so that whoever looks sees it go on.
  "$(fuzz_binary)" "--target=$name" "-max_total_time=$seconds" -timeout=10 -max_len=16384 \
    "-rss_limit_mb=$FUZZ_MEMORY_MB" -print_final_stats=1 "-artifact_prefix=$crashes/$name-" \
    "$corpus" "$seeds" 2>&1 | tee "$log" | awk -v name="$name" '
      /^#[0-9]+.*pulse/ { printf "%s: %s inputs, %s edges\n", name, substr($1, 2), $4; fflush() }
      /ERROR|SUMMARY|ECHELON|runtime error|check failed/ { print; fflush() }' >&2 || status=1
  rm -rf "$seeds"
  local runs edges verdict=ok found
  runs=$(grep -o 'stat::number_of_executed_units: *[0-9]*' "$log" | grep -o '[0-9]*$' || echo -)
  edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | grep -o '[0-9]*' || echo -)
  if ((status != 0)); then
    verdict=CRASH
    found=$(grep -o "$crashes/$name-[a-z]*-[0-9a-f]*" "$log" | tail -n 1 || true)
    FUZZ_FOUND+="  ./dev fuzz --only $name --replay ${found:-(see $log)}"$'\n'
  fi
  FUZZ_TABLE+=$(printf '%-15s %-7s %11s %7s %7d' "$name" "$verdict" "$runs" "$edges" \
    "$(find "$corpus" -type f | wc -l)")$'\n'
  return $status
}

# The targets that were asked for; dies where one is none.
chosen_fuzz_targets() {
  local only=$1 known name
  known=$(fuzz_targets)
  if [[ -z $only ]]; then
    printf '%s\n' "$known"
    return
  fi
  for name in ${only//,/ }; do
    grep -qxF "$name" <<<"$known"$'\n'canary ||
      die "fuzz: no such target: $name (./dev fuzz --list)"
    printf '%s\n' "$name"
  done
}

fuzz() {
  local seconds=$FUZZ_SECONDS only='' replay=''
  while (($# > 0)); do
    case $1 in
      --seconds) seconds=${2:-} && shift ;;
      --only) only=${2:-} && shift ;;
      --replay) replay=$(realpath -e "${2:-}") && shift ;;
      --list)
        build_fuzz
        "$(fuzz_binary)" --list
        return
        ;;
      -h | --help)
        fuzz_usage
        return
        ;;
      *) die "fuzz: no such option: $1 (see ./dev fuzz --help)" ;;
    esac
    shift
  done
  [[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || die "fuzz: --seconds is 1 to 999999, not '$seconds'"
  build_fuzz
  local names name failed=0
  names=$(chosen_fuzz_targets "$only") || exit 1
  if [[ -n $replay ]]; then
    [[ $(wc -l <<<"$names") == 1 ]] || die "fuzz: --replay needs one target: --only NAME"
    exec "$(fuzz_binary)" "--target=$names" -timeout=10 "$replay"
  fi
  FUZZ_TABLE='' FUZZ_FOUND=''
  for name in $names; do
    heading "$name: $(grep -P "^$name\t" <<<"$("$(fuzz_binary)" --list)" | cut -f 2)"
    fuzz_one "$name" "$seconds" || failed=$((failed + 1))
  done
  heading summary
  printf '%-15s %-7s %11s %7s %7s\n%s' target "" inputs edges corpus "$FUZZ_TABLE"
  if ((failed > 0)); then
    printf '\nfound something; again, with what was wrong:\n%s' "$FUZZ_FOUND"
    return 1
  fi
}
