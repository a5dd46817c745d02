#!/bin/bash
# Runs the CUDA tests on a machine that has a GPU but need not have this one's tools.
#
#   bash tests/gpu.sh bundle               where Bazel is: builds the tests into .gpu/
#   bash tests/gpu.sh run [--sanitize] [test...]
#                                          where the GPU is, with .gpu/ copied there: runs each of them, or those named
#
# `run` needs bash, NVIDIA's driver, the default model for its tests and, for --sanitize, compute-sanitizer: what
# chosen_cases says of each test is then run under memcheck, initcheck and racecheck too. Processes run beside each
# other, one a core. It prints a line a test and tool, the output of those that fail, and the total; a test that ran no
# case, for want of a device, has failed.
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

limit_s=300 # of a process: one that hangs must not hold the device
passed=0
failed=0

# What a tool runs of a test, as GoogleTest's filter; nothing: not at all. Under racecheck kernels take a hundred times
# as long, under the others ten times. Of the long tests memcheck and initcheck run a case of each kernel that is
# compiled for itself (type, head dimension, tile), with edges of tiles, pages and chains in it; racecheck leaves out
# some of those that differ in the type alone, and most tiles of products that split their chains.
chosen_cases() {
  case "$1 $2" in
    "plain "*) echo '*' ;;
    # One looks for a fault, one at the device's memory, and two are long and have their kernels from the others.
    *" lost_device_test" | *" device_memory_test" | *" smollm2_cuda_test" | *" bf16_test") ;;
    "racecheck attention_test") echo '*CudaAttentionTest*/bf16_*_4:*CudaAttentionTest*/f16_64_5:*CudaAttentionTest*/f16_128_3' ;;
    "racecheck hopper_matmul_test") echo 'Every*_64:EveryPortable*_72:Every*/bf16_3_16_4160:Every*/bf16_3_4240_8192' ;;
    "racecheck matmul_test") echo '*/f32_33_80_576' ;;
    "racecheck sampling_test") echo 'Small*/2:Small*/7:Small*/12:Small*/17:Small*/22:Small*/26:Large*/0' ;;
    "racecheck sum_order_test") echo '*/0:*/1' ;;
    "racecheck tiny_llamas_cuda_test") echo '*gqa8_dim64_all_biases' ;;
    "racecheck block_"*"_test" | "racecheck sparse_attention_test") echo '*bf16_64_4:*bf16_128_4:*f16_64_3:*f32_80_4' ;;
    *" block_"*"_test" | *" sparse_attention_test") echo '*_4:*/f16_64_3:*Select*' ;;
    "racecheck cuda_adapter_test") echo '*AgreesWithTheCpu/index:*CompanyInTheBatchDoesNotShow/tile_16' ;;
    *" cuda_adapter_test") echo '-*TheCutIntoSteps*' ;;
    "racecheck cuda_"*) echo '*FewSteps*:*LongContexts*' ;;
    *" attention_test") echo '*_4:*/bf16_64_5:*/f16_64_3:*/f16_128_3' ;;
    *" hopper_matmul_test") echo 'Every*:*/bf16_40_96_9216' ;;
    *" matmul_test") echo '*/f32_*' ;;
    *" sampling_test") echo 'Small*:Large*/1:Large*/6:CudaSamplingTest*' ;;
    *" cuda_step_runner_test") echo '-*TheDeviceDrawsWhatTheHostDraws' ;;
    *" cuda_transformer_test") echo '-*BitsDoNotDependOnChunksNorOnTheBatch:*DeepModels*' ;;
    *) echo '*' ;;
  esac
}

# Processes that a test's cases are divided among.
shards_of() {
  case "$1" in
    attention_test | block_scores_test | hopper_matmul_test | sampling_test) echo 4 ;;
    cuda_adapter_test) echo 4 ;;
    cuda_*_test | matmul_test) echo 2 ;;
    *) echo 1 ;;
  esac
}

# start_shard TOOL NAME SHARD: its output, status and seconds go to files.
start_shard() {
  local command=() start="$SECONDS" status=0 to="$scratch/$1-$2-$3"
  # The program is started by a script. A call that is refused, which tests provoke, is no error of memory.
  [[ "$1" == plain ]] || command=(compute-sanitizer --tool "$1" --target-processes all --error-exitcode 86)
  [[ "$1" != memcheck ]] || command+=(--report-api-errors no)
  mkdir "$to"
  TEST_TMPDIR="$to" GTEST_SHARD_INDEX="$3" GTEST_TOTAL_SHARDS="$(shards_of "$2")" timeout "$limit_s" \
    "${command[@]}" "$folder/bin/$2" --gtest_filter="$(chosen_cases "$1" "$2")" >"$to/log" 2>&1 || status=$?
  printf '%d %d\n' "$status" $((SECONDS - start)) >"$to/result"
}

# report TOOL NAME: counts the test and prints its line.
report() {
  local shard shard_status shard_seconds status=0 seconds=0 log="" cases verdict what="$2"
  [[ "$1" == plain ]] || what="$2 under $1"
  for ((shard = 0; shard < $(shards_of "$2"); ++shard)); do
    read -r shard_status shard_seconds <"$scratch/$1-$2-$shard/result"
    ((shard_status == 0)) || status="$shard_status"
    seconds=$((shard_seconds > seconds ? shard_seconds : seconds))
    log+="$(cat "$scratch/$1-$2-$shard/log")"$'\n'
  done
  cases="$(awk '/^\[  PASSED  \] [0-9]+ test/ { n += $4 } END { print n + 0 }' <<<"$log")"
  if ((status != 0)); then
    verdict="FAILED (status $status)"
  elif ((cases == 0)); then
    verdict="FAILED (no case ran)"
  else
    passed=$((passed + 1))
    printf 'PASSED  %s  %d cases, %d s\n' "$what" "$cases" "$seconds"
    return
  fi
  failed=$((failed + 1))
  printf '%s%s  %s  %d s\n' "$log" "$verdict" "$what" "$seconds"
}

# run_beside TOOLS NAME...: all tools' runs of all tests, then their lines.
run_beside() {
  local tool name shard
  for tool in $1; do
    for name in "${@:2}"; do
      [[ -n "$(chosen_cases "$tool" "$name")" ]] || continue
      for ((shard = 0; shard < $(shards_of "$name"); ++shard)); do
        while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n; done
        start_shard "$tool" "$name" "$shard" &
      done
    done
  done
  wait
  for tool in $1; do
    for name in "${@:2}"; do
      [[ -z "$(chosen_cases "$tool" "$name")" ]] || report "$tool" "$name"
    done
  done
}

run() {
  local sanitize="" name names=() others=()
  [[ "${1:-}" != --sanitize ]] || { sanitize=1 && shift; }
  [[ -d "$folder/bin" ]] || die "$folder holds no tests" "Make it with: bash tests/gpu.sh bundle"
  [[ -z "$sanitize" ]] || command -v compute-sanitizer >/dev/null ||
    die "--sanitize needs compute-sanitizer on the path" "It is part of the CUDA toolkit."
  names=("$@")
  (($# > 0)) || mapfile -t names < <(cd "$folder/bin" && printf '%s\n' *)
  cd "$SIEVE_ROOT" # where the files are that tests read
  if [[ ! -e "$SIEVE_MODEL" && " ${names[*]} " == *" smollm2_cuda_test "* ]]; then
    say "smollm2_cuda_test is left out, and a case of bf16_test: there is no $SIEVE_MODEL"
    mapfile -t names < <(printf '%s\n' "${names[@]}" | grep -vx smollm2_cuda_test)
    ((${#names[@]} > 0)) || die "no test is left to run" "bash deploy/setup.sh fetches the model."
    unset SIEVE_CACHE
  fi
  scratch="$(mktemp -d)"
  trap 'rm -rf "$scratch"' EXIT
  for name in "${names[@]}"; do
    [[ -x "$folder/bin/$name" ]] || die "there is no test $name" "There are: $(cd "$folder/bin" && echo *)"
    # Alone, for it looks at the device's free memory.
    if [[ "$name" == device_memory_test ]]; then run_beside plain "$name"; else others+=("$name"); fi
  done
  ((${#others[@]} == 0)) || run_beside plain "${others[@]}"
  [[ -z "$sanitize" ]] || ((${#others[@]} == 0)) || run_beside "memcheck initcheck racecheck" "${others[@]}"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  ((failed == 0))
}

case "${1:-}" in
  bundle) bundle ;;
  run) run "${@:2}" ;;
  *) die "expected bundle or run, got: $*" "The head of this file says what each does." ;;
esac
