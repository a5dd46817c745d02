#!/usr/bin/env python3
"""What watching costs: throughput of a server that is watched (a scrape every second, a JSON line for each request)
against one whose metrics port and log are off.

  bazel build //server:sieve_server //client:sieve
  python3 bench/observability.py --rounds 20          # on a quiet machine; appends to bench/results/observability.jsonl

Two servers stay up the whole time, one of each kind, and are driven turn about, so that whatever else the machine does falls on both; which of
the two comes first changes from round to round. A round's ratio is watched / unwatched throughput. The answer is the mean of the log ratios with
Student's 95 % confidence interval. The same for the servers' processor seconds a token, which other load disturbs less, and for their difference.

A machine shared with others moves by more than a per cent from turn to turn, so that the ratio on a real model may stay undecided. What watching
adds to a token does not depend on the model, though. With `--random_weights bench/models/tiny.json`, whose tokens cost next to nothing, the difference
is measured finely, and its share of the default model's token follows:

  python3 bench/observability.py --random_weights bench/models/tiny.json --rounds 30 --generated_tokens 3000

`--null` makes the second server an unwatched one too: what the method says when there is nothing to find.
"""

import argparse
import contextlib
import datetime
import itertools
import json
import math
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(
    os.environ.get("SIEVE_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "sieve"
)
SEEDS = itertools.count(1)
WATCHED = ["--metrics_listen=127.0.0.1:0", "--log_format=json", "--log_requests=true", "--log_level=info"]
UNWATCHED = ["--metrics_listen=", "--log_requests=false", "--log_level=off"]
# Student's t, two-sided 95 %, by degrees of freedom.
T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
       2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042]


@contextlib.contextmanager
def server(args, flags):
    """A running server: its process id, gRPC and metrics ports, and the file of its log."""
    with tempfile.TemporaryDirectory() as folder:
        port_file, log = pathlib.Path(folder) / "ports", pathlib.Path(folder) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [args.server, args.served, "--listen=127.0.0.1:0", f"--port_file={port_file}",
                 f"--kv_cache_mb={args.kv_cache_mb}", *flags], stderr=out)
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    raise SystemExit(f"the server ended with {process.returncode}:\n{log.read_text()}")
                time.sleep(0.01)
            ports = dict(re.findall(r"(\w+)=(\d+)", port_file.read_text()))
            wait_until_loaded(args, ports["grpc"])
            yield process.pid, int(ports["grpc"]), int(ports["metrics"]), log
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def wait_until_loaded(args, port):
    while subprocess.run(bench_command(args, port, streams=1, tokens=1), capture_output=True, check=False).returncode:
        time.sleep(0.1)


def bench_command(args, port, streams, tokens):
    # Another seed each time: no prompt is found in the cache.
    return [args.client, "bench", f"--address=127.0.0.1:{port}", "--json", f"--concurrency={streams}",
            f"--requests={streams}", f"--prompt_tokens={args.prompt_tokens}", f"--max_tokens={tokens}",
            f"--seed={next(SEEDS)}"]


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def turn(args, pid, port):
    """(generated tokens a second, processor seconds of the server) of one turn."""
    before = processor_seconds(pid)
    out = subprocess.run(bench_command(args, port, args.streams, args.generated_tokens), check=True,
                         capture_output=True, text=True)
    # All streams decode together: each gets a token a gap.
    rate = args.streams * 1e3 / json.loads(out.stdout)["inter_token_ms"]["mean"]
    return rate, processor_seconds(pid) - before


class Scraper:
    """Scrapes every second, as Prometheus would, but more often."""

    def __init__(self, port):
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.count, self.bytes = 0, 0

    def _run(self):
        while not self._stop.wait(1):
            with self._opener.open(self._url, timeout=10) as response:
                self.bytes = len(response.read())
            self.count += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()


def t95(count):
    return T95[count - 2] if count - 2 < len(T95) else 1.96 + 2.5 / (count - 1)


def interval(ratios):
    """(geometric mean, low, high): 95 % confidence for the mean of the logarithms."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    half = t95(len(logs)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def mean_interval(values):
    """(mean, low, high), 95 % confidence."""
    half = t95(len(values)) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean, mean - half, mean + half


def measure(args):
    watched, unwatched = [], []
    with contextlib.ExitStack() as stack:
        plain_pid, plain_port, _, _ = stack.enter_context(server(args, UNWATCHED))
        pid, port, metrics_port, log = stack.enter_context(server(args, UNWATCHED if args.null else WATCHED))
        scraper = None if args.null else stack.enter_context(Scraper(metrics_port))
        turns = [(watched, pid, port), (unwatched, plain_pid, plain_port)]
        for _, *which in turns:  # warms up
            turn(args, *which)
        for round_number in range(args.rounds):
            for results, *which in turns if round_number % 2 == 0 else reversed(turns):
                results.append(turn(args, *which))
        lines = sum(1 for line in log.read_text().splitlines() if '"msg":"request"' in line)
    return watched, unwatched, scraper, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path,
                        default=CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--server", default=ROOT / "bazel-bin/server/sieve_server")
    parser.add_argument("--client", default=ROOT / "bazel-bin/client/sieve")
    parser.add_argument("--kv_cache_mb", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--prompt_tokens", type=int, default=32)
    parser.add_argument("--generated_tokens", type=int, default=96)
    parser.add_argument("--null", action="store_true", help="compare unwatched with unwatched")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results/observability.jsonl")
    parser.add_argument("--random_weights", type=pathlib.Path, help="a config.json to serve instead of --model")
    args = parser.parse_args()
    args.served = f"--random_weights={args.random_weights}" if args.random_weights else f"--model={args.model}"

    watched, unwatched, scraper, lines = measure(args)
    ratios = [a / b for (a, _), (b, _) in zip(watched, unwatched)]
    mean, low, high = interval(ratios)
    processor = interval([a / b for (_, a), (_, b) in zip(watched, unwatched)])
    tokens = args.streams * args.generated_tokens
    added = mean_interval([1e6 * (a - b) / tokens for (_, a), (_, b) in zip(watched, unwatched)])
    row = {
        "measurement": "observability_null" if args.null else "observability",
        "unit": "tokens/s",
        "streams": args.streams, "generated_tokens": args.generated_tokens,
        "watched": [round(rate, 2) for rate, _ in watched],
        "unwatched": [round(rate, 2) for rate, _ in unwatched],
        "ratios": [round(ratio, 4) for ratio in ratios],
        "ratio": round(mean, 4), "confidence_95": [round(low, 4), round(high, 4)],
        "within_1_percent": low >= 0.99,
        "processor_seconds_ratio": round(processor[0], 4),
        "processor_seconds_confidence_95": [round(bound, 4) for bound in processor[1:]],
        "processor_us_a_token": round(1e6 * statistics.fmean(b for _, b in unwatched) / tokens, 3),
        "added_us_a_token": round(added[0], 3), "added_us_confidence_95": [round(bound, 3) for bound in added[1:]],
        "scrapes": scraper.count if scraper else 0, "scrape_bytes": scraper.bytes if scraper else 0,
        "request_lines": lines,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "cores": os.cpu_count(), "model": (args.random_weights or args.model).name,
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python3 bench/observability.py", *sys.argv[1:]]),
    }
    with args.out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))
    verdict = ("at most 1 % is lost" if low >= 0.99 else
               "more than 1 % is lost" if high < 0.99 else "not decided: more rounds, or a quieter machine")
    print(f"watched / unwatched: {mean:.4f}, 95 % confidence {low:.4f} to {high:.4f}: {verdict}")


if __name__ == "__main__":
    main()
