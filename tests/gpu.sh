#!/bin/bash
# Runs the CUDA tests on a machine that has a GPU but need not have this one's tools.
#
#   bash tests/gpu.sh bundle               where Bazel is: builds the tests into .gpu/
#   bash tests/gpu.sh run [--sanitize] [test...]
#                                          where the GPU is, with .gpu/ copied there: runs each of them, or those named
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

# run_sanitized NAME PROGRAM
run_sanitized() {
  local tool options
  for tool in memcheck racecheck initcheck; do
    # The program is started by a script. A call that is refused, which tests provoke, is no error of memory.
    options=(--tool "$tool" --target-processes all --error-exitcode 86)
    [[ "$tool" != memcheck ]] || options+=(--report-api-errors no)
    run_one "$1 under $tool" compute-sanitizer "${options[@]}" "$2"
  done
}

run() {
  local sanitize="" name names=()
  [[ "${1:-}" != --sanitize ]] || { sanitize=1 && shift; }
  [[ -d "$folder/bin" ]] || die "$folder holds no tests" "Make it with: bash tests/gpu.sh bundle"
  [[ -z "$sanitize" ]] || command -v compute-sanitizer >/dev/null ||
    die "--sanitize needs compute-sanitizer on the path" "It is part of the CUDA toolkit."
  names=("$@")
  (($# > 0)) || mapfile -t names < <(cd "$folder/bin" && printf '%s\n' *)
  for name in "${names[@]}"; do
    [[ -x "$folder/bin/$name" ]] || die "there is no test $name" "There are: $(cd "$folder/bin" && echo *)"
    run_one "$name" "$folder/bin/$name"
    # The fault that one test makes is the very thing that these tools look for.
    [[ -z "$sanitize" || "$name" == lost_device_test ]] || run_sanitized "$name" "$folder/bin/$name"
  done
  printf '%d passed, %d failed\n' "$passed" "$failed"
  ((failed == 0))
}

case "${1:-}" in
  bundle) bundle ;;
  run) run "${@:2}" ;;
  *) die "expected bundle or run, got: $*" "The head of this file says what each does." ;;
esac
