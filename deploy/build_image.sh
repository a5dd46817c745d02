#!/bin/bash
# Builds the server's image, or the trainer's: with docker where its daemon answers, else with buildah, which needs none.
set -euo pipefail
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
# shellcheck source=deploy/libraries.sh
source "$(dirname "${BASH_SOURCE[0]}")/libraries.sh"

usage() {
  cat <<USAGE
Usage: bash deploy/build_image.sh [options]

  --tag NAME             name of the image (default: localhost/sieve:latest, localhost/sieve-trainer:latest)
  --trainer              the trainer's image rather than the server's: with this machine's LibTorch (deploy/setup.sh --trainer),
                         for CPUs 0.6 GB; with all that a GPU needs where this machine has one
  --engine NAME          docker or buildah (default: docker where its daemon answers)
  --base_image IMAGE     Debian 12 to start from (default with docker: the one that deploy/Dockerfile pins; with
                         buildah: made from Debian packages by mmdebstrap, so that no registry is needed)
  --inside               build the programs inside, too, rather than with this machine's Bazel
  --archive FILE         also write the image to FILE, for \`docker load\`
  --fresh                use nothing cached, so that the image has Debian's latest fixes
  --help                 this text

buildah keeps images and layers under \$SIEVE_CACHE/containers (now $SIEVE_CACHE/containers), the base for 30 days.
USAGE
}

tag=""
trainer=false
engine=""
base_image=""
inside=false
archive=""
fresh=false

parse_arguments() {
  while (($# > 0)); do
    case "$1" in
      --tag | --engine | --base_image | --archive)
        (($# > 1)) || die "$1 needs a value"
        ;;&
      --tag) tag="$2" && shift ;;
      --engine) engine="$2" && shift ;;
      --base_image) base_image="$2" && shift ;;
      --archive) archive="$2" && shift ;;
      --inside) inside=true ;;
      --trainer) trainer=true ;;
      --fresh) fresh=true ;;
      --help | -h) usage && exit 0 ;;
      *)
        usage >&2
        die "unknown argument: $1"
        ;;
    esac
    shift
  done
}

choose_engine() {
  if [[ -z "$engine" ]]; then
    if docker info >/dev/null 2>&1; then engine=docker; else engine=buildah; fi
  fi
  case "$engine" in
    docker) ;;
    buildah) install_packages buildah mmdebstrap ;;
    *) die "--engine $engine: expected docker or buildah" ;;
  esac
}

# chroot isolation and vfs storage ask nothing of the kernel but a root user. tests/deploy uses the same store.
buildah_command() {
  as_root buildah --root "$SIEVE_CACHE/containers/storage" --runroot "$SIEVE_CACHE/containers/run" \
    --storage-driver vfs "$@"
}

# The counterpart of Debian's slim images, named by what it is made of.
make_base() {
  local image=localhost/debian:bookworm-minimal made age
  made="$SIEVE_CACHE/containers/base.made"
  age=$(($(date +%s) - $(stat -c %Y "$made" 2>/dev/null || echo 0)))
  base_image="$image"
  if [[ "$fresh" == false ]] && ((age < 30 * 86400)) && buildah_command inspect "$image" >/dev/null 2>&1; then
    return
  fi
  say "Making a base image from Debian packages"
  local tar="$scratch/base.tar" container
  as_root mmdebstrap --quiet --variant=apt --aptopt='Acquire::Languages "none"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$tar" >&2 ||
    die "mmdebstrap (its own message is above)" "Is the network up, and does apt's mirror answer?"
  container="$(buildah_command from scratch)"
  buildah_command add --quiet "$container" "$tar" / >/dev/null
  buildah_command commit --quiet --rm "$container" "$image" >/dev/null
  rm -f "$tar"
  touch "$made"
}

# What the target runtime-prebuilt needs, and nothing else.
prebuilt_context() {
  cd "$SIEVE_ROOT"
  say "Building the programs"
  # Bazel's server stays; it must not keep the lock.
  "$SIEVE_BAZEL" build //server:sieve_server //client:sieve >&2 8>&- ||
    die "bazel build (its own message is above)"
  mkdir -p "$scratch/context/bin" "$scratch/context/deploy"
  strip -o "$scratch/context/bin/sieve_server" bazel-bin/server/sieve_server
  strip -o "$scratch/context/bin/sieve" bazel-bin/client/sieve
  cp deploy/Dockerfile deploy/image_root.sh deploy/libraries.sh "$scratch/context/deploy/"
}

# What the target trainer-prebuilt needs.
trainer_context() {
  cd "$SIEVE_ROOT"
  say "Building the trainer"
  "$SIEVE_BAZEL" build //trainer:sieve_trainer >&2 8>&- || die "bazel build (its own message is above)"
  local context="$scratch/context" site library
  mkdir -p "$context/bin" "$context/deploy"
  strip -o "$context/bin/sieve_trainer" bazel-bin/trainer/sieve_trainer
  cp deploy/Dockerfile deploy/image_root.sh deploy/libraries.sh "$context/deploy/"
  site="$(dirname -- "$SIEVE_LIBTORCH")"
  copy_from_site() {
    install -D -m 644 "$(realpath -- "$1")" "$context/site-packages/$(realpath -s --relative-to="$site" -- "$1")"
  }
  while read -r library; do
    [[ "$library" != */site-packages/* ]] || copy_from_site "$library"
  done < <(libraries_of bazel-bin/trainer/sieve_trainer)
  # Without a GPU on this machine only what a CPU needs is there (deploy/setup.sh).
  if [[ -d "$site/nvidia/cudnn" ]]; then
    while read -r library; do copy_from_site "$library"; done < <(
      find "$SIEVE_LIBTORCH/lib" "$site/nvidia" -name '*.so*' ! -name 'libtorch_python.so')
  fi
  # Which versions these are, and their licences.
  cp -r "$site"/torch-*.dist-info "$site"/nvidia_*.dist-info "$context/site-packages/"
}

build() {
  local arguments=(--build-arg "VERSION=$(version)" --build-arg "REVISION=$(revision)") context="$SIEVE_ROOT"
  if [[ "$trainer" == true ]]; then
    trainer_context
    context="$scratch/context"
    arguments+=(--target trainer-prebuilt)
  elif [[ "$inside" == true ]]; then
    arguments+=(--target runtime)
  else
    prebuilt_context
    context="$scratch/context"
    arguments+=(--target runtime-prebuilt)
  fi
  [[ -z "$base_image" ]] || arguments+=(--build-arg "BASE_IMAGE=$base_image")
  local no_cache=()
  [[ "$fresh" == false ]] || no_cache=(--no-cache)
  say "Building $tag with $engine"
  case "$engine" in
    docker) docker build "${arguments[@]}" ${no_cache[@]+"${no_cache[@]}"} --tag "$tag" --file "$context/deploy/Dockerfile" "$context" >&2 ;;
    buildah) build_with_buildah "$context" "${arguments[@]}" >&2 ;;
  esac || die "$engine could not build $tag (its own message is above)"
}

# vfs copies a whole root for each layer: of what is cached, only the base and the libraries are kept, by name.
build_with_buildah() {
  local context="$1" libraries=localhost/sieve-libraries:latest
  shift
  # The docker format has health checks, which OCI's has not.
  local common=(build --isolation chroot --format docker --layers --file "$context/deploy/Dockerfile" "$@")
  buildah_command "${common[@]}" ${no_cache[@]+"${no_cache[@]}"} --target libraries --tag "$libraries" "$context" &&
    buildah_command "${common[@]}" --tag "$tag" "$context" &&
    buildah_command rmi --prune >/dev/null
}

version() { sed -n 's/.*kVersion = "\(.*\)";/\1/p' "$SIEVE_ROOT/model/version.h"; }

revision() {
  local commit
  commit="$(git -C "$SIEVE_ROOT" rev-parse HEAD 2>/dev/null)" || commit=unknown
  [[ -z "$(git -C "$SIEVE_ROOT" status --porcelain 2>/dev/null)" ]] || commit+=-dirty
  printf '%s' "$commit"
}

write_archive() {
  say "Writing $archive"
  case "$engine" in
    docker) docker save --output "$archive" "$tag" ;;
    buildah) buildah_command push --quiet "$tag" "docker-archive:$archive:$tag" ;;
  esac || die "$engine could not write $archive"
}

main() {
  parse_arguments "$@"
  if [[ -z "$tag" ]]; then
    [[ "$trainer" == true ]] && tag=localhost/sieve-trainer:latest || tag=localhost/sieve:latest
  fi
  [[ -z "$archive" ]] || archive="$(realpath -m -- "$archive")"
  mkdir -p "$SIEVE_CACHE/containers"
  # Pruning would take away what another build is about to use.
  exec 8>"$SIEVE_CACHE/containers/lock"
  flock 8
  scratch="$(mktemp -d "$SIEVE_CACHE/containers/build.XXXXXX")"
  trap 'rm -rf "$scratch"' EXIT
  choose_engine
  [[ "$inside" == false || "$trainer" == false ]] || die "--trainer and --inside: the trainer is built outside"
  if [[ "$trainer" == true ]]; then
    [[ -z "${LIBTORCH:-}" ]] || die "--trainer takes deploy/setup.sh's LibTorch: unset LIBTORCH ($LIBTORCH)"
    sieve_setup --trainer
    find_torch false  # where it is: the set-up was a shell of its own
  elif [[ "$inside" == false ]]; then
    sieve_setup
  fi
  [[ -n "$base_image" || "$engine" == docker ]] || make_base
  build
  [[ -z "$archive" ]] || write_archive
  say "Built $tag"
}

main "$@"
