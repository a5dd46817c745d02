#!/usr/bin/env python3
"""What the server does when much more is asked of it than it can do: ten times its peak rate, a thousand streams at
once, two hundred cancellations a second.

Needs the packages of tests/requirements.txt (deploy/setup.sh --tests makes such an environment):

  bazel build //server:sieve_server //client:sieve && python3 bench/overload.py --out bench/results/overload.jsonl

The load generator runs under `chrt -r 1`, which needs root: a generator that waits for a core measures itself.

Each scenario is one JSON line: what `sieve bench` measured, what the server held meanwhile (sampled every half
second: resident memory, queue) and afterwards (pages).
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from e2e import harness  # noqa: E402  the path must be known first

# Requests of 64 prompt tokens and 32 generated ones; a good one ends within the objective.
LENGTHS = ("--prompt_tokens=64", "--max_tokens=32")
OBJECTIVE = "--slo_e2e=20s"
OVERLOAD = 10


def bench(server, *flags):
    """Runs the load generator, ahead of the server whose processors it shares; returns its JSON object."""
    done = subprocess.run(["chrt", "-r", "1", harness.CLIENT, "bench", f"--address={server.address}",
                           "--json", *flags], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"sieve bench {' '.join(flags)}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


class Watcher:
    """Samples a server's memory and queue while something runs."""

    def __init__(self, server):
        self.server = server
        self.resident, self.queued, self.running = [], [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def run(self):
        while not self.over.wait(0.5):
            metrics = self.server.metrics()
            self.resident.append(metrics["process_resident_memory_bytes"])
            self.queued.append(metrics["sieve_requests_queued"])
            self.running.append(metrics["sieve_requests_running"])

    def summary(self):
        fifth = max(1, len(self.resident) // 5)
        return {"resident_mib_first_fifth": round(max(self.resident[:fifth]) / 2 ** 20, 1),
                "resident_mib_last_fifth": round(max(self.resident[-fifth:]) / 2 ** 20, 1),
                "queued_max_first_fifth": max(self.queued[:fifth]),
                "queued_max_last_fifth": max(self.queued[-fifth:]),
                "running_max": max(self.running)}


def at_rest(server):
    """What the idle server holds: no page may be active."""
    cache = server.wait_until_idle(120).cache
    return {"active_pages": cache.active_pages,
            "free_and_cached_pages": cache.free_pages + cache.cached_pages,
            "total_pages": cache.total_pages}


def ten_times(seconds, rounds):
    """Peak and ten times the peak in turn, on one server."""
    with harness.running_server("--kv_cache_mb=256", "--max_running=16",
                                "--max_queued_requests=16") as server:
        bench(server, "--concurrency=16", "--duration=10s", *LENGTHS, OBJECTIVE)  # warm-up
        for index in range(rounds):
            peak = bench(server, "--concurrency=16", f"--duration={seconds}s", "--warmup=5s",
                         *LENGTHS, OBJECTIVE, f"--seed={2 * index}")
            rate = OVERLOAD * peak["completed_requests_per_second"]
            with Watcher(server) as watcher:
                overload = bench(server, f"--rate={rate:.2f}", f"--duration={seconds + 5}s",
                                 "--warmup=5s", *LENGTHS, OBJECTIVE, f"--seed={2 * index + 1}")
            yield {"measurement": "overload", "round": index, "times_peak": OVERLOAD,
                   "goodput_over_peak": round(overload["goodput_requests_per_second"]
                                              / peak["goodput_requests_per_second"], 4),
                   "rejection_p99_ms": overload["rejection_ms"].get("p99"),
                   "server": watcher.summary(), "at_rest": at_rest(server), "peak": peak,
                   "overload": overload}


def thousand_streams():
    """A thousand streams that all run at once."""
    with harness.running_server("--kv_cache_mb=1600", "--max_running=1000",
                                "--max_step_tokens=2048") as server:
        with Watcher(server) as watcher:
            run = bench(server, "--concurrency=1000", "--requests=1000", "--prompt_tokens=16",
                        "--max_tokens=32", "--drain_timeout=300s")
        yield {"measurement": "thousand_streams", "server": watcher.summary(),
               "at_rest": at_rest(server), "bench": run}


def cancellations(seconds):
    """Two hundred requests a second, each cancelled soon after."""
    # A cache that is full at once: until all of it has been touched, resident memory grows.
    with harness.running_server("--kv_cache_mb=48", "--max_queued_requests=4096") as server:
        bench(server, "--concurrency=4", "--requests=16", "--prompt_tokens=256", "--max_tokens=8")
        with Watcher(server) as watcher:
            run = bench(server, "--rate=200", f"--duration={seconds}s", "--prompt_tokens=64",
                        "--max_tokens=256", "--cancel_fraction=1", "--cancel_after=5ms..300ms")
        yield {"measurement": "cancellations", "server": watcher.summary(),
               "at_rest": at_rest(server), "bench": run}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="of each overload and of cancelling")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, help="append the results")
    args = parser.parse_args()
    for scenario in (ten_times(args.seconds, args.rounds), thousand_streams(),
                     cancellations(args.seconds)):
        for result in scenario:
            result |= {"cores": os.cpu_count(), "date": datetime.date.today().isoformat(),
                       "command": " ".join(["python3 bench/overload.py", *sys.argv[1:]])}
            print(json.dumps(result), flush=True)
            if args.out:
                with args.out.open("a") as file:
                    file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
