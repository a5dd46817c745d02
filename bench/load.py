#!/usr/bin/env python3
"""Starts the server and loads it with `sieve bench`: replays of production traces, and a sweep of rates with its curve.

  bazel build //server:sieve_server //client:sieve
  python3 bench/load.py traces --data ../shared/data/serving
  python3 bench/load.py sweep

Each run is a line of bench/results/load.jsonl. docs/load.md says what the traces are and how to read the lines.
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys

import service

ROOT = service.ROOT
# A good request, for a person who reads along: the first token within a second, then ten a second.
OBJECTIVE = ["--slo_ttft=1s", "--slo_itl=100ms"]
# Lengths are scaled to what this model on two cores answers in seconds, and the mean rate of each is near
# what the server can do; the bursts are the trace's own.
TRACES = {
    "azure_conversation": ["AzureLLMInferenceTrace_conv.csv.gz", "--length_scale=0.125", "--rate=0.8",
                           "--trace_start=20m"],
    "azure_code": ["AzureLLMInferenceTrace_code.csv.gz", "--length_scale=0.0625", "--rate=1",
                   "--trace_start=20m"],
    # Blocks of 512 tokens become 64, a page of the cache: shared prefixes are found there.
    "mooncake": ["mooncake_conversation_trace.jsonl.gz", "--length_scale=0.125", "--rate=0.4",
                 "--trace_start=30m", "--max_prompt_tokens=512"],
}
SWEEP_RATES = "0.25,0.5,1,1.5,2,2.5,3,4"


def trace_runs(args):
    for name, (file, *flags) in TRACES.items():
        path = args.data / file
        if not path.exists():
            sys.exit(f"{path} is not there; --data names the folder with the traces")
        yield name, [f"--trace={path}", *flags, f"--duration={args.seconds}s", *OBJECTIVE]


def sweep_runs(args):
    yield "sweep", [f"--sweep={args.rates}", f"--duration={args.seconds}s", f"--warmup={args.seconds // 6}s",
                    "--prompt_tokens=16..128", "--max_tokens=16..64", f"--svg={args.svg}",
                    "--title=Sieve: latency against throughput, 2 cores", *OBJECTIVE]


def bench(args, port, name, flags):
    """Runs the client, its table on this program's stderr, and returns its lines."""
    realtime = ["chrt", "--rr", "1"] if args.realtime else []
    command = [*realtime, args.client, "bench", f"--address=127.0.0.1:{port}", "--json", *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        yield {"run": name, **json.loads(line), "cores": os.cpu_count(),
               "load_average": round(os.getloadavg()[0], 1), "date": datetime.date.today().isoformat(),
               "command": " ".join(["python3 bench/load.py", *sys.argv[1:]])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=["traces", "sweep"])
    parser.add_argument("--seconds", type=int, default=60, help="of each run")
    parser.add_argument("--rates", default=SWEEP_RATES, help="of the sweep, requests a second")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data/serving",
                        help="folder with the traces")
    parser.add_argument("--svg", type=pathlib.Path, default=ROOT / "docs/images/load.svg")
    parser.add_argument("--model", type=pathlib.Path,
                        default=service.CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--server", default=ROOT / "bazel-bin/server/sieve_server")
    parser.add_argument("--client", default=ROOT / "bazel-bin/client/sieve")
    parser.add_argument("--kv_cache_mb", type=int, default=512)
    parser.add_argument("--realtime", action="store_true",
                        help="the client goes before other programs (needs the right to), so that it is on time")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results/load.jsonl")
    parser.add_argument("server_flags", nargs="*", help="after --, for the server")
    args = parser.parse_args()

    args.svg.parent.mkdir(parents=True, exist_ok=True)
    runs = {"traces": trace_runs, "sweep": sweep_runs}[args.what](args)
    for name, flags in runs:
        # A server for each, so that none finds what another left in the cache.
        process, port, _ = service.start(args.server, args.model, args.kv_cache_mb, args.server_flags)
        try:
            rows = list(bench(args, port, name, flags))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
        with args.out.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
