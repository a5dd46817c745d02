#!/bin/bash
# From a fresh Debian 12 machine to a streamed answer: installs what is missing, builds, fetches the default
# model, starts the server on loopback, streams one answer and goes on serving until Ctrl-C.
set -euo pipefail
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

usage() {
  cat <<USAGE
Usage: bash deploy/run.sh [options] [-- server flags]

  --once                 stop after the answer
  --prompt TEXT          what to ask (default: a short question)
  --model PATH           a .gguf file or a Hugging Face folder (default: SmolLM2-135M-Instruct)
  --adapter [NAME=]DIR   serve this sparse-attention adapter too, and answer with it beside the bare model; the prompt
                         is then, by default, a question about the README. NAME: default is the folder's name
  --max-tokens N         longest answer (default 200)
  --port PORT            gRPC; default 50051, or a free one where that is taken
  --metrics-port PORT    Prometheus metrics; default 9464, or a free one where that is taken
  --plain                send the prompt as plain text, not as a chat message
  --help                 this text

Everything that is not in the clone is under \$SIEVE_CACHE (now $SIEVE_CACHE).
USAGE
}

once=false
prompt=""
short_prompt="Give me three tips for a good night's sleep."
model=""
adapter=""
adapter_dir=""
max_tokens=200
port=""
metrics_port=""
chat=--chat
server_flags=()

parse_arguments() {
  while (($# > 0)); do
    case "$1" in
      --prompt | --model | --adapter | --max-tokens | --port | --metrics-port)
        (($# > 1)) || die "$1 needs a value"
        ;;&
      --once) once=true ;;
      --plain) chat="" ;;
      --prompt) prompt="$2" && shift ;;
      --model) model="$2" && shift ;;
      --adapter) choose_adapter "$2" && shift ;;
      --max-tokens) max_tokens="$2" && shift ;;
      --port) port="$2" && shift ;;
      --metrics-port) metrics_port="$2" && shift ;;
      --help | -h) usage && exit 0 ;;
      --)
        shift
        server_flags=("$@")
        return
        ;;
      *)
        usage >&2
        die "unknown argument: $1"
        ;;
    esac
    shift
  done
}

# choose_adapter [NAME=]DIR: sets adapter and adapter_dir.
choose_adapter() {
  adapter_dir="$(realpath -m -- "${1#*=}")"
  if [[ "$1" == *=* ]]; then adapter="${1%%=*}"; else adapter="$(basename -- "$adapter_dir")"; fi
  [[ "$adapter" =~ ^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$ ]] ||
    die "--adapter $1: the name \"$adapter\" is none" \
      "1 to 64 of A-Z a-z 0-9 . _ -, the first no \".\": --adapter NAME=$adapter_dir gives another."
  [[ -f "$adapter_dir/adapter_config.json" ]] ||
    die "--adapter $1: there is no $adapter_dir/adapter_config.json" \
      "An adapter is a folder with adapter_config.json and adapter_model.safetensors (docs/adapters.md)."
  [[ "$adapter_dir" != *,* ]] || die "--adapter $1: the folder's path must have no comma"
}

# Long enough that an adapter leaves blocks out: of a short context it reads all.
long_prompt() {
  head -c 12000 "$SIEVE_ROOT/README.md"
  printf '\n\nWhat is Sieve, in two sentences?'
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# choose_port NAME WANTED DEFAULT: prints the port to use.
choose_port() {
  local name="$1" wanted="$2" default="$3"
  if [[ -n "$wanted" ]]; then
    if ! [[ "$wanted" =~ ^[0-9]{1,5}$ ]] || ((10#$wanted < 1 || 10#$wanted > 65535)); then
      die "$name port $wanted: expected a number from 1 to 65535"
    fi
    port_taken "$wanted" && die "$name port $wanted is taken" \
      "Stop what listens there, choose another port, or name none to have a free one chosen."
    printf '%s' "$wanted"
  elif port_taken "$default"; then
    local free
    free="$("$SIEVE_PYTHON" -c \
      'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
    say "The usual $name port $default is taken; using $free"
    printf '%s' "$free"
  else
    printf '%s' "$default"
  fi
}

server_pid=""

stop_server() {
  [[ -n "$server_pid" ]] || return 0
  kill -TERM "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=""
}

server_died() {
  local status=0
  wait "$server_pid" || status=$?
  server_pid=""
  tail -n 20 "$log" >&2
  die "the server ended with status $status (the end of its log is above)" "Whole log: $log"
}

build() {
  cd "$SIEVE_ROOT"
  say "Building (the first time takes some minutes)"
  "$SIEVE_BAZEL" build //server:sieve_server //client:sieve ||
    die "bazel build (its own message is above)"
}

start_server() {
  log="$SIEVE_CACHE/logs/server-$port.log"
  mkdir -p "$(dirname "$log")"
  bazel-bin/server/sieve_server --model="$model" ${adapter:+"--adapter=$adapter=$adapter_dir"} \
    --listen="127.0.0.1:$port" --metrics_listen="127.0.0.1:$metrics_port" \
    ${server_flags[@]+"${server_flags[@]}"} \
    >"$log" 2>&1 &
  server_pid=$!
  local deadline=$((SECONDS + 120))
  until bazel-bin/client/sieve info --health --address="127.0.0.1:$port" --timeout=1s \
    >/dev/null 2>&1; do
    kill -0 "$server_pid" 2>/dev/null || server_died
    ((SECONDS < deadline)) || die "the server is not healthy after 120 s" "Its log: $log"
    sleep 0.1
  done
}

# One answer; with an adapter the bare model's, then the adapter's.
ask() {
  local command=(generate --stats)
  if [[ -n "$adapter" ]]; then
    command=(compare --adapter="$adapter")
    say "Ready. Asking the bare model and adapter $adapter: ${prompt:-What is Sieve? (after its README)}"
    prompt="${prompt:-$(long_prompt)}"
  else
    prompt="${prompt:-$short_prompt}"
    say "Ready. Asking: $prompt"
  fi
  bazel-bin/client/sieve "${command[@]}" --address="127.0.0.1:$port" ${chat:+"$chat"} \
    --temperature=0 --max_tokens="$max_tokens" --prompt="$prompt" ||
    die "the request (the client's message is above)" "The server's log: $log"
}

main() {
  parse_arguments "$@"
  sieve_setup
  # The client must find the server where it is whatever a proxy's settings say.
  export no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"
  [[ -n "$model" ]] && model="$(realpath -m -- "$model")" || model="$SIEVE_MODEL"
  build
  port="$(choose_port gRPC "$port" 50051)"
  metrics_port="$(choose_port metrics "$metrics_port" 9464)"

  trap stop_server EXIT
  trap 'say "Stopping"; exit 130' INT TERM
  say "Starting the server on $(basename "$model")"
  start_server
  ask

  say "gRPC (sieve.v1.Generation, health, reflection) listens on 127.0.0.1:$port"
  say "Metrics: http://127.0.0.1:$metrics_port/metrics   log: $log"
  if [[ "$once" == true ]]; then return; fi
  say "Chat with it: bazel-bin/client/sieve chat --address=127.0.0.1:$port"
  trap 'say "Stopping"; exit 0' INT TERM  # before saying so: whoever reads it may interrupt at once
  say "Serving until Ctrl-C"
  wait "$server_pid" || server_died
}

main "$@"
