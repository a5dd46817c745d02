#!/usr/bin/env python3
"""Runs the GPU benchmarks of a bundle and appends their rows to files: `bash bench/gpu.sh run` starts it.

Parts: kernels (products, attention, sampling), peers (attention beside cuDNN's, where torch is), model (contexts of 1K,
prompts), long (contexts of 32K and 128K), service (the server on loopback). Without names all of them, in about four
minutes on an H200. What fails or takes too long is said, the rest goes on, and the exit status is 1.
"""

import argparse
import contextlib
import dataclasses
import datetime
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import gpu_peers
import gpu_rows

ROOT = pathlib.Path(__file__).resolve().parent.parent  # of the clone, or of the bundle
CONFIG = "bench/models/llama_3.2_1b.json"


class Failure(Exception):
    """A measurement did not come about; the text says why."""


class LeftOut(Exception):
    """A measurement that this machine is not for; the text says why."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A program of the bundle that prints rows."""
    program: str
    flags: tuple
    timeout: int  # seconds

    def __str__(self):
        return " ".join([self.program, *self.flags])


@dataclasses.dataclass(frozen=True)
class Load:
    """What `sieve bench` asks of the server."""
    concurrency: int
    requests: int
    prompt_tokens: int = 1000
    max_tokens: int = 256

    def flags(self, seed):
        """A seed has prompts of its own, none of which is found in the cache."""
        return (f"--concurrency={self.concurrency}", f"--requests={self.requests}",
                f"--prompt_tokens={self.prompt_tokens}", f"--max_tokens={self.max_tokens}", "--temperature=0.8",
                f"--seed={seed}", "--json")


def model(streams, context, prompt, *, temperature=0, timeout=60):
    """Decoding of streams, with drawn tokens, and one prompt; 0 leaves a prompt out, "" the streams."""
    flags = ("--device=cuda", "--cache_type=bf16", f"--random_weights={CONFIG}", "--threads=16",
             f"--prompt_tokens={prompt}", "--repetitions=3")
    if not streams:
        return Command("model_bench", (*flags, "--generated_tokens=0"), timeout)
    return Command("model_bench", (*flags, f"--streams={streams}", f"--context_tokens={context}", "--generated_tokens=64",
                                   "--sample", f"--temperature={temperature}"), timeout)


COMMANDS = {
    "kernels": (Command("cuda_kernels_bench", (), 90), Command("cuda_sampling_bench", (), 60)),
    "model": (model("1,2,4,8,32,128,256", 1024, 128),
              model("128", 1024, 8192, temperature=1),
              model("", 0, 32768)),
    # Room for what is generated: the model ends at 131,072.
    "long": (model("1,32", 32000, 0, timeout=90), model("1,8", 130000, 0, timeout=120)),
}
LOADS = (Load(1, 20, 128, 16), Load(1, 8), Load(8, 16), Load(32, 64), Load(128, 256))
LOAD_TIMEOUT, START_TIMEOUT = 40, 60  # seconds
SERVER_FLAGS = (f"--random_weights={CONFIG}", "--device=cuda", "--max_running=128", "--max_step_tokens=2048",
                "--max_context=4096", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0", "--log_requests=false",
                "--log_level=warn")
PARTS = ("kernels", "peers", "model", "long", "service")
PEERS_TIMEOUT = 120  # seconds
FILES = {"kernels": "cuda_kernels.jsonl", "peers": "cuda_kernels.jsonl", "model": "cuda_model.jsonl", "long": "cuda_model.jsonl",
         "service": "cuda_server.jsonl"}


def origin():
    """What each row says of the machine and the day."""
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                              capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"FAILED: no GPU is seen: {error}")
    name, driver = done.stdout.splitlines()[0].split(", ")
    return {"gpu": name, "driver": driver, "date": datetime.date.today().isoformat()}


def text(output):
    return output.decode(errors="replace")


def tail(log):
    return "\n".join(log.splitlines()[-5:])[-1000:]


class Runner:
    """Runs parts, with the programs of a folder; keeps rows as they come."""

    def __init__(self, programs, out, of_row):
        self.programs, self.out, self.of_row = programs, out, of_row
        self.failures = 0

    def keep(self, part, command, rows):
        gpu_rows.append(self.out / FILES[part], [{**row, **self.of_row, "command": command} for row in rows])

    @contextlib.contextmanager
    def reporting(self, part, what):
        """Says how long something took, or why it failed, which ends only what stands inside."""
        start, verdict = time.monotonic(), "done"
        try:
            yield
        except (Failure, OSError, LookupError, ValueError) as error:
            self.failures += 1
            verdict = f"FAILED: {error!r}" if isinstance(error, LookupError) else f"FAILED: {error}"
        except LeftOut as reason:
            verdict = f"left out: {reason}"
        print(f"{part}: {what}: {verdict}, {time.monotonic() - start:.0f} s", flush=True)

    def execute(self, program, flags, timeout):
        """What the program printed; and why it failed, or None."""
        try:
            done = subprocess.run([self.programs / program, *flags], cwd=ROOT, capture_output=True, timeout=timeout,
                                  check=False)
        except subprocess.TimeoutExpired as late:
            return text(late.stdout or b""), f"not done after {timeout} s"
        reason = f"status {done.returncode}: {tail(text(done.stderr))}" if done.returncode else None
        return text(done.stdout), reason

    def command(self, part, command):
        with self.reporting(part, command):
            self.keep_output(part, str(command), *self.execute(command.program, command.flags, command.timeout))

    def keep_output(self, part, command, output, reason):
        """Rows that a program printed before it failed are kept."""
        rows = gpu_rows.from_output(output)
        self.keep(part, command, rows)
        if reason or not rows:
            raise Failure(reason or "it printed no row")

    def peers(self):
        with self.reporting("peers", "attention and a copy beside torch's"):
            if reason := gpu_peers.missing():
                raise LeftOut(reason)
            flags = (gpu_peers.__file__, self.programs)
            self.keep_output("peers", "gpu_peers.py", *self.execute(sys.executable, flags, PEERS_TIMEOUT))

    @contextlib.contextmanager
    def server(self):
        """Ports of a started server, {"grpc": ..., "metrics": ...}, and the seconds from exec until it accepted calls."""
        with tempfile.TemporaryDirectory() as folder:
            port_file, log = pathlib.Path(folder, "ports"), pathlib.Path(folder, "log")
            start = time.monotonic()
            with log.open("w") as sink:
                process = subprocess.Popen([self.programs / "sieve_server", *SERVER_FLAGS, f"--port_file={port_file}"],
                                           cwd=ROOT, stdout=sink, stderr=sink)
            try:
                while not port_file.exists():
                    if process.poll() is not None or time.monotonic() - start > START_TIMEOUT:
                        raise Failure(f"the server did not start (status {process.poll()}): {tail(log.read_text())}")
                    time.sleep(0.002)
                ports = {name: int(port) for name, port in (f.split("=") for f in port_file.read_text().split())}
                socket.create_connection(("127.0.0.1", ports["grpc"])).close()
                yield ports, time.monotonic() - start
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def load(self, address, load, seed):
        output, reason = self.execute("sieve", ("bench", f"--address={address}", *load.flags(seed)), LOAD_TIMEOUT)
        reports = gpu_rows.from_output(output)
        if reason or not reports:
            raise Failure(reason or "sieve bench printed no report")
        return gpu_rows.of_bench(reports[-1])

    def service(self):
        """Each load twice: the first round warms up, so that no graph is captured and no page first touched in the second."""
        with self.reporting("service", "sieve_server"), self.server() as (ports, seconds):
            command = " ".join(["sieve_server", *SERVER_FLAGS])
            self.keep("service", command, [startup_row(ports["metrics"], seconds)])
            for i, load in enumerate(LOADS):
                flags = load.flags(2 * i + 2)
                with self.reporting("service", "sieve bench " + " ".join(flags)):
                    address = f"127.0.0.1:{ports['grpc']}"
                    self.load(address, load, 2 * i + 1)
                    row = self.load(address, load, 2 * i + 2)
                    self.keep("service", f"sieve bench {' '.join(flags)}, of {command}", [row])


def startup_row(metrics_port, seconds):
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
        scrape = answer.read().decode()
    phases = re.findall(r'^sieve_startup_seconds\{phase="(\w+)"\} (\S+)', scrape, re.MULTILINE)
    return {"measurement": "startup", "unit": "s", "values": [round(seconds, 3)], "weights": "random, made at the start",
            "phases": {name: round(float(value), 3) for name, value in phases}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results", help="folder of the files")
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="folder of the programs")
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    runner = Runner(args.programs.resolve(), args.out.resolve(), origin())
    start = time.monotonic()
    for part in args.parts or PARTS:
        for command in COMMANDS.get(part, ()):
            runner.command(part, command)
        if part == "peers":
            runner.peers()
        if part == "service":
            runner.service()
    print(f"{runner.failures} failed, {time.monotonic() - start:.0f} s, on {runner.of_row['gpu']}; rows are in {args.out}")
    sys.exit(1 if runner.failures else 0)


if __name__ == "__main__":
    # The time limit of whoever runs this ends it by SIGTERM: the server goes with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
