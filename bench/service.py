#!/usr/bin/env python3
"""Starts the server, and measures start-up, memory and streams through gRPC on loopback.

  bazel build //server:sieve_server //client:sieve
  python3 bench/service.py --out bench/results/service.jsonl
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(
    os.environ.get("SIEVE_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "sieve"
)
MIB = 1 << 20
PROMPT_TOKENS, GENERATED_TOKENS = 32, 128


def start(server, model, kv_mb, extra):
    """(process, port, seconds from exec until gRPC accepts connections)."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = pathlib.Path(folder) / "ports"
        began = time.monotonic()
        process = subprocess.Popen(
            [server, f"--model={model}", "--listen=127.0.0.1:0", "--metrics_listen=",
             f"--kv_cache_mb={kv_mb}", f"--port_file={port_file}", "--log_level=warn", *extra])
        while not port_file.exists():
            if process.poll() is not None:
                sys.exit(f"the server ended with {process.returncode}")
            time.sleep(0.002)
        port = int(dict(f.split("=") for f in port_file.read_text().split())["grpc"])
        socket.create_connection(("127.0.0.1", port)).close()
        return process, port, time.monotonic() - began


def resident(pid):
    """Resident bytes: {"anonymous": ..., "file": ...}; the page cache's copy of the model is "file"."""
    fields = dict(
        line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    kib = {name: int(fields[key].split()[0])
           for name, key in (("anonymous", "RssAnon"), ("file", "RssFile"))}
    return {name: value * 1024 for name, value in kib.items()}


def cache_bytes_in_use(client, port):
    """Bytes of the key/value cache that have been written: the rest of its budget is not resident."""
    info = json.loads(subprocess.run([client, "info", "--json", f"--address=127.0.0.1:{port}"],
                                     check=True, capture_output=True, text=True).stdout)
    cache = info["cache"]
    pages = int(cache["cached_pages"]) + int(cache["active_pages"])
    return pages * int(cache["bytes_per_page"])


def bench(client, port, streams, seed):
    """One round of as many requests at once; what `sieve bench` says of it. Seeds make prompts distinct, so that none
    is found in the cache."""
    done = subprocess.run(
        [client, "bench", f"--address=127.0.0.1:{port}", "--json", f"--concurrency={streams}", f"--requests={streams}",
         f"--prompt_tokens={PROMPT_TOKENS}", f"--max_tokens={GENERATED_TOKENS}", f"--seed={seed}"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout)


def decode_rows(client, port, stream_counts, rounds):
    """A row for each number of streams, measured turn about."""
    results = {streams: [] for streams in stream_counts}
    for seed in range(rounds + 1):
        for index, streams in enumerate(stream_counts):
            result = bench(client, port, streams, seed * len(stream_counts) + index)
            if seed > 0:  # the first warms up
                results[streams].append(result)
    for streams, of_rounds in results.items():
        yield {
            "measurement": "service_decode", "streams": streams, "prompt_tokens": PROMPT_TOKENS,
            "generated_tokens": GENERATED_TOKENS,
            # All streams decode together: each gets a token a gap.
            "tokens_per_second": [round(streams * 1e3 / r["inter_token_ms"]["mean"], 1) for r in of_rounds],
            "time_to_first_token_ms_p50": [r["time_to_first_token_ms"]["p50"] for r in of_rounds],
            "inter_token_ms_p50": [r["inter_token_ms"]["p50"] for r in of_rounds],
            "inter_token_ms_p99": [r["inter_token_ms"]["p99"] for r in of_rounds]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path,
                        default=CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--server", default=ROOT / "bazel-bin/server/sieve_server")
    parser.add_argument("--client", default=ROOT / "bazel-bin/client/sieve")
    parser.add_argument("--kv_cache_mb", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", default="1,8")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results/service.jsonl")
    parser.add_argument("server_flags", nargs="*")
    args = parser.parse_args()

    startups = []
    for _ in range(5):
        process, port, seconds = start(args.server, args.model, args.kv_cache_mb, args.server_flags)
        startups.append(round(seconds, 3))
        process.send_signal(signal.SIGTERM)
        process.wait()
    process, port, _ = start(args.server, args.model, args.kv_cache_mb, args.server_flags)
    rows = list(decode_rows(args.client, port, [int(n) for n in args.streams.split(",")], args.rounds))
    memory = resident(process.pid)
    cache_bytes = cache_bytes_in_use(args.client, port)
    process.send_signal(signal.SIGTERM)
    process.wait()

    rows.append({"measurement": "startup", "unit": "s", "values": startups})
    file_bytes = args.model.stat().st_size if args.model.is_file() else sum(
        f.stat().st_size for f in args.model.glob("*.safetensors"))
    rows.append({
        "measurement": "resident_memory", "unit": "MiB", "model_file": round(file_bytes / MIB, 1),
        "kv_cache_budget": args.kv_cache_mb,
        "kv_cache_in_use": round(cache_bytes / MIB, 1),
        "anonymous": round(memory["anonymous"] / MIB, 1), "file": round(memory["file"] / MIB, 1),
        "beyond_kv_cache_over_model_file":
            round((sum(memory.values()) - cache_bytes) / file_bytes, 3)})
    with args.out.open("a") as file:
        for row in rows:
            row |= {"model": args.model.name, "cores": os.cpu_count(),
                    "date": datetime.date.today().isoformat(),
                    "command": " ".join(["python3 bench/service.py", *sys.argv[1:]])}
            file.write(json.dumps(row) + "\n")
            print(json.dumps(row))


if __name__ == "__main__":
    main()
