#!/bin/bash
# Used by third_party/cuda.bzl: runs nvcc so that the same sources give the same object file, wherever and whenever.
#
#   bash nvcc.sh INPUTS SOURCE OBJECT NVCC [ARGUMENT...]
#
# INPUTS names a file with the paths of the source and of all headers, one a line. nvcc would put into the object file
# the folder that it works in, the random names of its intermediate files, and, with the line numbers, the time at which
# each source was last written: so it works on copies without a date, under names that do not change.
set -euo pipefail

inputs="$1" source="$2" object="$PWD/$3"
shift 3

scratch="$(mktemp -d "$object.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/tree" "$scratch/tree/.nvcc"
xargs -d '\n' cp --parents --target-directory="$scratch/tree" <"$inputs"
find "$scratch/tree" -type f -exec touch -d @0 {} +

cd "$scratch/tree"
# The compilers take the name of the folder from PWD if that is one of its names.
PWD=/proc/self/cwd "$@" --keep --keep-dir .nvcc -Xcudafe "--orig_src_path_name=$source" \
  "-frandom-seed=$source" -x cu -c "$source" -o object.o
mv object.o "$object"
