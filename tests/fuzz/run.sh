#!/bin/bash
# Builds the fuzz targets with clang's libFuzzer, AddressSanitizer and UBSan, and runs each for a while.
#
#   bash tests/fuzz/run.sh                             every target, 600 s each, one at a time
#   bash tests/fuzz/run.sh --seconds 60 --jobs 2 gguf validator
#
# Needs clang and libclang-rt-14-dev beside what deploy/setup.sh installs. What the runs discover is kept in
# ${SIEVE_CACHE:-~/.cache/sieve}/fuzz (corpora, findings made small, logs) and is where the next run begins. A
# line for each target is appended to bench/results/fuzz.jsonl. Exits with 1 when there was a finding: put its
# input under tests/fuzz/regressions/<target>/, run tests/fuzz/update_inputs.py, and repair what it shows.
set -euo pipefail
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/setup.sh"

seconds=600
jobs=1
targets=()
while (($# > 0)); do
  case "$1" in
    --seconds) seconds="$2" && shift 2 ;;
    --jobs) jobs="$2" && shift 2 ;;
    --help | -h)
      sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    -*) die "unknown argument: $1" "Usage: bash tests/fuzz/run.sh [--seconds N] [--jobs N] [target...]" ;;
    *) targets+=("$1") && shift ;;
  esac
done
cd "$SIEVE_ROOT"
((${#targets[@]} > 0)) || mapfile -t targets < <(cd tests/fuzz/corpus && printf '%s\n' *)
mapfile -t missing < <(missing_packages clang libclang-rt-14-dev)
((${#missing[@]} == 0)) || die "missing packages: ${missing[*]}" "As root: apt-get install ${missing[*]}"

kept="$SIEVE_CACHE/fuzz"
mkdir -p "$kept"
scratch="$(mktemp -d "$([[ -w /dev/shm ]] && echo /dev/shm || echo /tmp)/sieve-fuzz.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT

# A Bazel of its own: another compiler would make the everyday one begin again each time.
bazel=("$SIEVE_BAZEL" --output_base="$kept/bazel" --max_idle_secs=60)
write_bazelrc
labels=("${targets[@]/#///tests/fuzz:}")
labels=("${labels[@]/%/_fuzzer}")
commit="$(git rev-parse --short HEAD)"
[[ -z "$(git status --porcelain -- kernels model proto server tests)" ]] || commit+=-dirty
say "Building: ${targets[*]}"
"${bazel[@]}" build --config=fuzz --symlink_prefix=/ "${labels[@]}" \
  >"$kept/build.log" 2>&1 || die "the build; the end of $kept/build.log:" "$(tail -n 30 "$kept/build.log")"
bin="$("${bazel[@]}" info --config=fuzz --symlink_prefix=/ bazel-bin 2>/dev/null)/tests/fuzz"

export ASAN_OPTIONS=quarantine_size_mb=32:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1

# Runs one target; prints nothing unless it finds something.
run_target() {
  local target="$1" status=0 finding folders
  local log="$kept/$target.log" findings="$kept/findings/$target/"
  mkdir -p "$kept/corpus/$target" "$findings" "$scratch/$target"
  touch "$scratch/$target.start"
  folders=("$kept/corpus/$target" "tests/fuzz/corpus/$target")
  [[ ! -d "tests/fuzz/regressions/$target" ]] || folders+=("tests/fuzz/regressions/$target")
  TMPDIR="$scratch/$target" "$scratch/bin/${target}_fuzzer" -max_total_time="$seconds" -rss_limit_mb=512 \
    -timeout=5 -print_final_stats=1 -artifact_prefix="$findings" "${folders[@]}" >"$log" 2>&1 || status=$?
  for finding in $(find "$findings" -type f -newer "$scratch/$target.start" ! -name '*.small'); do
    TMPDIR="$scratch/$target" "$scratch/bin/${target}_fuzzer" -minimize_crash=1 -max_total_time=60 \
      -rss_limit_mb=512 -timeout=5 -exact_artifact_path="$finding.small" "$finding" >"$finding.log" 2>&1 || true
    say "$target: finding $finding (its end of the log: $log)"
  done
  "$SIEVE_PYTHON" tests/fuzz/record.py --target "$target" --log "$log" --status "$status" \
    --corpus "$kept/corpus/$target" --commit "$commit" >>bench/results/fuzz.jsonl
  return "$status"
}

# Copies, for another build may replace the programs while they run.
mkdir "$scratch/bin"
for target in "${targets[@]}"; do cp "$bin/${target}_fuzzer" "$scratch/bin/"; done

status=0
for target in "${targets[@]}"; do
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n || status=1; done
  say "Fuzzing $target for $seconds s"
  run_target "$target" &
done
while (($(jobs -rp | wc -l) > 0)); do wait -n || status=1; done
wait || status=1
tail -n "${#targets[@]}" bench/results/fuzz.jsonl
exit "$status"
