#!/bin/bash
# Runs the GPU benchmarks on a machine that has a GPU but need not have this one's tools.
#
#   bash bench/gpu.sh bundle [PATH]        where Bazel is: builds them into a folder (default: .gpu-bench/) or a file
#                                          PATH.tar.gz, which is several times smaller
#   bash bench/gpu.sh run [--out DIR] [kernels|peers|model|long|service...]
#                                          where the GPU is, from a clone with .gpu-bench/ or from the unpacked bundle
#                                          itself: runs all parts, or those named; appends rows to the cuda_*.jsonl of
#                                          bench/results, or of DIR
#
# `run` needs bash, Python 3.9 or later, NVIDIA's driver and about four minutes; `peers` needs torch with CUDA too, and is
# left out where that is not. It prints a line a command; one that fails, or takes too long, ends with it, and the exit
# status is 1. Of the rows `python3 bench/gpu_table.py` makes tables and `bench/gpu_plots.py` pictures.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

bundle() {
  local out="${1:-$root/.gpu-bench}" folder file
  folder="${out%.tar.gz}"
  bash "$root/deploy/bundle.sh" --out "$folder" //bench:cuda_kernels_bench //bench:cuda_sampling_bench \
    //bench:model_bench //server:sieve_server //client:sieve
  for file in gpu.sh gpu_run.py gpu_peers.py gpu_rows.py models/llama_3.2_1b.json; do
    install -D -m 644 "$root/bench/$file" "$folder/bench/$file"
  done
  [[ "$out" != *.tar.gz ]] || {
    tar -C "$(dirname "$folder")" -czf "$out" "$(basename "$folder")"
    rm -r "$folder"
  }
}

run() {
  local programs="$root/bin"
  [[ -e "$root/.sieve-bundle" ]] || programs="$root/.gpu-bench/bin"
  [[ -d "$programs" ]] || {
    echo "$programs holds no programs; make them with: bash bench/gpu.sh bundle" >&2
    exit 1
  }
  exec python3 "$root/bench/gpu_run.py" --programs "$programs" "$@"
}

case "${1:-}" in
  bundle) bundle "${@:2}" ;;
  run) run "${@:2}" ;;
  *)
    echo "expected bundle or run; the head of this file says what each does" >&2
    exit 1
    ;;
esac
