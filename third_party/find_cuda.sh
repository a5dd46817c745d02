#!/bin/bash
# Prints the folder of the CUDA toolkit to build with. Where there is none it prints nothing, says why on stderr, and the
# build is for CPUs only. deploy/setup.sh and third_party/cuda_configure.bzl both ask here, so that they agree.
#
# In this order:
#   $CUDA_HOME             must be a toolkit where it is set; `none` builds without CUDA
#   /usr/local/cuda
#   $SIEVE_CUDA_TOOLKIT    what deploy/setup.sh made of PyPI's wheels
set -euo pipefail

oldest=13 # C++20 with g++ 12, sm_90a; older ones have not been tried

# Says why the folder is no toolkit that will do, or nothing.
unfit() {
  local version
  [[ -x "$1/bin/nvcc" ]] || { echo "$1 holds no bin/nvcc" && return; }
  version="$({ "$1/bin/nvcc" --version || true; } | sed -n 's/.*release \([0-9]*\)\..*/\1/p')"
  ((${version:-0} >= oldest)) || echo "$1 is CUDA ${version:-of no known version}; $oldest or later is needed"
}

if [[ "${CUDA_HOME:-}" == none ]]; then
  echo "CUDA_HOME is 'none'" >&2
  exit 0
fi
if [[ -n "${CUDA_HOME:-}" ]]; then
  reason="$(unfit "$CUDA_HOME")"
  [[ -z "$reason" ]] || {
    echo "CUDA_HOME is set, but $reason. Set it to a toolkit's folder, unset it, or build without: CUDA_HOME=none" >&2
    exit 1
  }
  echo "$CUDA_HOME"
  exit 0
fi

reasons=()
for folder in /usr/local/cuda ${SIEVE_CUDA_TOOLKIT:+"$SIEVE_CUDA_TOOLKIT"}; do
  reason="$(unfit "$folder")"
  [[ -n "$reason" ]] || { echo "$folder" && exit 0; }
  reasons+=("$reason")
done
printf -v text '%s; ' "CUDA_HOME is not set" "${reasons[@]}"
echo "${text%; }" >&2
