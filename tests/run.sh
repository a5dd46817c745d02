#!/bin/bash
# Installs what is missing, builds, and runs every test. The last line printed is the total:
# "N passed, N failed", with ", N skipped" where there are any. Exits with 0 when all is well.
#
#   bash tests/run.sh                  everything
#   bash tests/run.sh --config=asan    the C++ tests under AddressSanitizer and UBSan
#   bash tests/run.sh --config=tsan    the C++ tests under ThreadSanitizer
#
# Other arguments that start with a dash go to `bazel test`, and with a sanitizer labels do too (default: //...).
set -euo pipefail
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/setup.sh"

sanitizer=false
bazel_flags=()
targets=()
for argument in "$@"; do
  case "$argument" in
    --help | -h)
      sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --config=*) sanitizer=true && bazel_flags+=("$argument") ;;
    -*) bazel_flags+=("$argument") ;;
    *) targets+=("$argument") ;;
  esac
done
((${#targets[@]} > 0)) || targets=(//...)

sieve_setup --tests
cd "$SIEVE_ROOT"
# Text for evaluation that some tests read when it is there; never part of the repository.
if [[ -z "${SIEVE_DATA:-}" && -d ../shared/data ]]; then
  SIEVE_DATA="$(realpath ../shared/data)"
  export SIEVE_DATA
fi

results="$(mktemp -d)"
trap 'rm -rf "$results"' EXIT

say "Building and running the C++ tests: ${targets[*]}"
bazel_status=0
"$SIEVE_BAZEL" test --keep_going --build_event_json_file="$results/bazel.json" \
  ${bazel_flags[@]+"${bazel_flags[@]}"} -- "${targets[@]}" ||
  bazel_status=$?
tally=(--bazel "$results/bazel.json" --bazel_status "$bazel_status")

if [[ "$sanitizer" == false ]]; then
  say "Running the Python tests: presubmit, parity, end to end"
  pytest_status=0
  "$(test_venv)/bin/python" -m pytest --junitxml="$results/pytest.xml" tests || pytest_status=$?
  tally+=(--junit "$results/pytest.xml" --junit_status "$pytest_status")
fi

say "Totals"
"$SIEVE_PYTHON" tests/tally.py "${tally[@]}"
