#!/bin/bash
# Gathers programs with the shared libraries that they need, for a machine with another Linux.
set -euo pipefail
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
# shellcheck source=deploy/libraries.sh
source "$SIEVE_ROOT/deploy/libraries.sh"

usage() {
  cat <<USAGE
Usage: bash deploy/bundle.sh [--out PATH] [LABEL...]

  LABEL        a program or test to build (default: //server:sieve_server //client:sieve)
  --out PATH   a folder, replaced if it is an older bundle, or a file PATH.tar.zst (default: sieve-bundle)
  --help       this text

The folder holds bin/NAME to start, libexec/NAME (the programs, stripped) and lib/. It needs bash, an x86-64 Linux with
glibc 2.36 or later and, for CUDA, NVIDIA's driver: the CUDA runtime is in the programs. Files that a test reads at
run time are not part of it, nor is LibTorch: to run the trainer, put the lib/ of torch 2.11 (a Python package) on LD_LIBRARY_PATH.
USAGE
}

out=sieve-bundle
labels=()

parse_arguments() {
  while (($# > 0)); do
    case "$1" in
      --help | -h) usage && exit 0 ;;
      --out)
        (($# > 1)) || die "--out needs a value"
        out="$2" && shift
        ;;
      //*:*) labels+=("$1") ;;
      *)
        usage >&2
        die "$1: expected an option or a label like //server:sieve_server"
        ;;
    esac
    shift
  done
  ((${#labels[@]} > 0)) || labels=(//server:sieve_server //client:sieve)
}

# Finds its own folder, also through links.
write_launcher() {
  cat >"$1" <<'LAUNCHER'
#!/bin/bash
self="$(readlink -f "${BASH_SOURCE[0]}")"
root="$(dirname "$(dirname "$self")")"
export LD_LIBRARY_PATH="$root/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$root/libexec/$(basename "$self")" "$@"
LAUNCHER
  chmod 755 "$1"
}

# add_program BUNDLE LABEL
add_program() {
  local bundle="$1" path="${2#//}" name="${2##*:}" libraries library
  path="bazel-bin/${path/:/\/}"
  [[ -f "$path" && -x "$path" ]] || die "$2 is no program: Bazel made no $path"
  [[ ! -e "$bundle/bin/$name" ]] || die "two of the programs are named $name: put them into two bundles"
  strip -o "$bundle/libexec/$name" "$path"
  write_launcher "$bundle/bin/$name"
  libraries="$(libraries_of "$path" | without_glibc | without_torch)"
  while read -r library; do
    [[ -z "$library" ]] || install -m 755 "$(realpath "$library")" "$bundle/lib/${library##*/}"
  done <<<"$libraries"
}

# Replaces the folder, or writes the file, when all is there.
keep() {
  local bundle="$1" target="$2"
  if [[ "$target" == *.tar.zst ]]; then
    tar --sort=name --owner=0 --group=0 --mtime=@0 --zstd -C "$(dirname "$bundle")" \
      -cf "$target.partial" "$(basename "$bundle")" || die "tar could not write $target (its own message is above)"
    mv "$target.partial" "$target"
  else
    [[ ! -e "$target" || -e "$target/.sieve-bundle" ]] ||
      die "$target exists and is no bundle" "Remove it, or give --out another path."
    rm -rf "$target"
    mv "$bundle" "$target"
  fi
}

main() {
  local target bundle label
  parse_arguments "$@"
  target="$(realpath -m -- "$out")"
  sieve_setup
  [[ "$target" != *.tar.zst ]] || install_packages zstd
  cd "$SIEVE_ROOT"
  say "Building ${labels[*]}"
  "$SIEVE_BAZEL" build -- "${labels[@]}" >&2 || die "bazel build (its own message is above)"
  scratch="$(mktemp -d "$target.XXXXXX")"
  trap 'rm -rf "$scratch"' EXIT
  bundle="$scratch/sieve"
  mkdir -p "$bundle"/{bin,lib,libexec}
  touch "$bundle/.sieve-bundle"
  for label in "${labels[@]}"; do add_program "$bundle" "$label"; done
  keep "$bundle" "$target"
  say "$out: ${#labels[@]} programs, $(du -sh --apparent-size "$target" | cut -f1)"
}

main "$@"
