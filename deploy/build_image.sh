#!/bin/bash
# Builds the image: with docker where its daemon answers, else with buildah, which needs none.
set -euo pipefail
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

usage() {
  cat <<USAGE
Usage: bash deploy/build_image.sh [options]

  --tag NAME             name of the image (default: localhost/sieve:latest)
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

tag=localhost/sieve:latest
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

build() {
  local arguments=(--build-arg "VERSION=$(version)" --build-arg "REVISION=$(revision)") context="$SIEVE_ROOT"
  if [[ "$inside" == true ]]; then
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
  [[ -z "$archive" ]] || archive="$(realpath -m -- "$archive")"
  mkdir -p "$SIEVE_CACHE/containers"
  # Pruning would take away what another build is about to use.
  exec 8>"$SIEVE_CACHE/containers/lock"
  flock 8
  scratch="$(mktemp -d "$SIEVE_CACHE/containers/build.XXXXXX")"
  trap 'rm -rf "$scratch"' EXIT
  choose_engine
  [[ "$inside" == true ]] || sieve_setup
  [[ -n "$base_image" || "$engine" == docker ]] || make_base
  build
  [[ -z "$archive" ]] || write_archive
  say "Built $tag"
}

main "$@"
