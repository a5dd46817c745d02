#!/bin/bash
# Runs the CUDA tests on a machine that has a GPU but need not have this one's tools.
#
#   bash tests/gpu.sh bundle               where Bazel is: builds the tests into .gpu/
#   bash tests/gpu.sh run [--sanitize]     where the GPU is, with .gpu/ copied there: runs each of them
#
# `run` needs bash, NVIDIA's driver and, for --sanitize, compute-sanitizer: each test is then run three times more, under
# memcheck, racecheck and initcheck. It prints a line a test, the output of those that fail, and the total; a test that
# ran no case, for want of a device, has failed.
set -euo pipefail
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/setup.sh"

folder="$SIEVE_ROOT/.gpu"

bundle() {
  local tests=()
  sieve_setup
  cd "$SIEVE_ROOT"
  mapfile -t tests < <("$SIEVE_BAZEL" query 'attr(tags, "\bcuda\b", tests(//...))')
  ((${#tests[@]} > 0)) || die "no CUDA tests are built here" "Is there a CUDA toolkit? bash deploy/setup.sh says."
  bash deploy/bundle.sh --out "$folder" "${tests[@]}"
}

passed=0
failed=0

# run_one NAME COMMAND...: NAME is what the line says.
run_one() {
  local name="$1" log status=0 start="$SECONDS" verdict
  shift
  log="$("$@" 2>&1)" || status=$?
  if ((status != 0)); then
    verdict="FAILED (status $status)"
  elif ! grep -q '^\[  PASSED  \] [1-9]' <<<"$log"; then
    verdict="FAILED (no case ran)"
  else
    passed=$((passed + 1))
    printf 'PASSED  %s  %d s\n' "$name" $((SECONDS - start))
    return
  fi
  failed=$((failed + 1))
  printf '%s\n%s  %s  %d s\n' "$log" "$verdict" "$name" $((SECONDS - start))
}

run() {
  local sanitize="${1:-}" program tool name
  [[ -d "$folder/bin" ]] || die "$folder holds no tests" "Make it with: bash tests/gpu.sh bundle"
  [[ -z "$sanitize" ]] || command -v compute-sanitizer >/dev/null ||
    die "--sanitize needs compute-sanitizer on the path" "It is part of the CUDA toolkit."
  for program in "$folder"/bin/*; do
    name="$(basename "$program")"
    run_one "$name" "$program"
    [[ -n "$sanitize" ]] || continue
    for tool in memcheck racecheck initcheck; do
      # The program is started by a script.
      run_one "$name under $tool" compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 86 "$program"
    done
  done
  printf '%d passed, %d failed\n' "$passed" "$failed"
  ((failed == 0))
}

case "$*" in
  bundle) bundle ;;
  run) run ;;
  "run --sanitize") run --sanitize ;;
  *) die "expected bundle, run or run --sanitize, got: $*" "The head of this file says what each does." ;;
esac
