#!/usr/bin/env python3
"""Drives a server for a stated time with requests of every kind, and checks that it comes back to where it began.

The mix: prompts and answers of many lengths, several samples, priorities and tenants, calls that are cancelled, that
run out of time, whose reader is slow or whose connection goes away, requests that are wrong in every layer
(fields, protobuf, HTTP/2), and the small methods in between. After a warm-up, and again at the end, the idle server's
pages, memory, threads, file descriptors and gauges are read; at the end they must be what they were (memory:
within 2 %), and the server must have counted what the clients sent.

Needs the packages of tests/requirements.txt (deploy/setup.sh --tests makes such an environment):

  bazel build //server:sieve_server && python3 bench/soak.py --seconds 1800 --out bench/results/soak.jsonl
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import pathlib
import random
import socket
import sys
import threading
import time

import grpc

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from e2e import harness  # noqa: E402  the path must be known first
from e2e.harness import pb, pb_grpc  # noqa: E402

MEMORY_TOLERANCE = 0.02
# gRPC's own pools get a thread more, and keep it, the first time that all are busy at once: chance decides when. A
# thread a core is allowed for that; a leak would be one for every few requests.
GRPC_POOLS = ("default-executo", "event_engine", "grpc_global_tim", "nexting_thread", "resolver-execut",
              "timer_manager")
WORDS = ("the sea was calm and an old sailor told me of storms that nobody else had seen before "
         "while rain fell on seven quiet harbours").split()


class Client(threading.Thread):
    """One caller: random actions, one after the other, until `end`."""

    def __init__(self, server, seed, end, counts):
        super().__init__(daemon=True)
        self.server = server
        self.rng = random.Random(seed)
        self.end = end
        self.counts = counts  # shared; a Counter's += is only done under the lock
        self.lock = counts["lock"]
        self.error = None
        self.actions = ((self.generate, 10), (self.once, 2), (self.cancel, 6), (self.deadline, 3),
                        (self.disconnect, 2), (self.slow_reader, 1), (self.bad_fields, 3),
                        (self.bad_message, 1), (self.bad_bytes, 1), (self.small_methods, 2))

    def run(self):
        functions, weights = zip(*self.actions)
        try:
            self.connect()
            while time.monotonic() < self.end:
                self.rng.choices(functions, weights)[0]()
            self.channel.close()
        except Exception as error:  # the main thread reports it
            self.error = error

    def connect(self):
        self.channel = grpc.insecure_channel(self.server.address, options=[
            ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)])
        self.stub = pb_grpc.GenerationStub(self.channel)

    def count(self, kind, code):
        with self.lock:
            self.counts["sent"][kind] += 1
            self.counts["codes"][code.name] += 1
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            time.sleep(0.2)  # as a client does that is told to come again

    def message(self, longest=24):
        rng = self.rng
        words = int(2 ** rng.uniform(0, 9))
        return harness.request(
            " ".join(rng.choice(WORDS) for _ in range(words)), max_tokens=rng.randint(1, longest),
            temperature=rng.choice((0.0, 1.0)), n=rng.choice((1, 1, 1, 1, 2, 4)),
            priority=rng.choice((-1, 0, 0, 0, 5)), logprobs=rng.choice((None, None, None, 3)),
            stop=rng.choice(((), (), (" and",))), ignore_eos=rng.choice((True, None)))

    def metadata(self):
        return (("x-sieve-tenant", self.rng.choice(("a", "b", "c"))),)

    def stream(self, message, timeout=None):
        return self.stub.Generate(message, timeout=timeout, metadata=self.metadata())

    def read(self, kind, call, allowed, pause=0.0):
        """Reads a stream to its end; an end that is not OK must have one of the allowed codes."""
        code = grpc.StatusCode.OK
        try:
            for _ in call:
                if pause:
                    time.sleep(pause)
        except grpc.RpcError as error:
            code = error.code()
            if code not in allowed:
                raise AssertionError(f"{kind}: {code}: {error.details()}") from error
        self.count(kind, code)

    def generate(self):
        self.read("generate", self.stream(self.message(), timeout=120),
                  {grpc.StatusCode.RESOURCE_EXHAUSTED})

    def once(self):
        code = grpc.StatusCode.OK
        try:
            self.stub.GenerateOnce(self.message(), timeout=120, metadata=self.metadata())
        except grpc.RpcError as error:
            code = error.code()
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, error
        self.count("once", code)

    def cancel(self):
        call = self.stream(self.message(longest=400))
        with contextlib.suppress(grpc.RpcError, StopIteration):
            for _ in range(self.rng.randint(0, 6)):
                next(call)
        if self.rng.random() < 0.3:
            time.sleep(self.rng.uniform(0, 0.2))
        call.cancel()
        self.read("cancel", call, {grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED})

    def deadline(self):
        call = self.stream(self.message(longest=400), timeout=10 ** self.rng.uniform(-3, 0))
        self.read("deadline", call, {grpc.StatusCode.DEADLINE_EXCEEDED,
                                     grpc.StatusCode.RESOURCE_EXHAUSTED})

    def disconnect(self):
        """The connection goes away under its streams."""
        calls = [self.stream(self.message(longest=400)) for _ in range(self.rng.randint(1, 3))]
        with contextlib.suppress(grpc.RpcError, StopIteration):
            next(calls[0])
        self.channel.close()
        for _ in calls:
            self.count("disconnect", grpc.StatusCode.CANCELLED)
        self.connect()

    def slow_reader(self):
        self.read("slow_reader", self.stream(self.message(longest=60), timeout=120),
                  {grpc.StatusCode.RESOURCE_EXHAUSTED}, pause=0.1)

    def bad_fields(self):
        message = self.message()
        sampling, stop = message.sampling, message.stop
        self.rng.choice((
            lambda: setattr(message, "num_samples", 2 ** 31 - 1),
            lambda: setattr(message, "logprobs", -1),
            lambda: setattr(sampling, "temperature", float("nan")),
            lambda: setattr(sampling, "repetition_penalty", -5.0),
            lambda: setattr(stop, "max_tokens", 0),
            lambda: stop.stop_texts.extend(["x"] * 1000),
            lambda: setattr(message.text, "text", b"\xff\xfe"),
            lambda: message.token_ids.ids.extend([-1, 10 ** 9]),
            lambda: message.ClearField("prompt")))()
        self.read("bad_fields", self.stream(message), {grpc.StatusCode.INVALID_ARGUMENT,
                                                      grpc.StatusCode.RESOURCE_EXHAUSTED})

    def bad_message(self):
        """Bytes that are no GenerateRequest, and one that is larger than the server takes."""
        call = self.channel.unary_stream("/sieve.v1.Generation/Generate")
        size = self.rng.choice((1, 50, 5000, 5 << 20))
        self.read("bad_message", call(self.rng.randbytes(size), timeout=60),
                  {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED})

    def bad_bytes(self):
        """A peer that does not speak HTTP/2, or goes away half-way through it."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as peer:
            if self.rng.random() < 0.5:
                peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            with contextlib.suppress(OSError):
                peer.sendall(self.rng.randbytes(self.rng.randint(0, 300)))
        with self.lock:
            self.counts["other"] += 1

    def small_methods(self):
        self.stub.GetModel(pb.GetModelRequest(), timeout=60)
        message = self.message()
        self.stub.EstimateCost(message, timeout=60)
        tokens = self.stub.Tokenize(pb.TokenizeRequest(text=message.text), timeout=60)
        self.stub.Detokenize(pb.DetokenizeRequest(token_ids=tokens.token_ids), timeout=60)
        with self.lock:
            self.counts["other"] += 4


def drive(server, seconds, clients, seed):
    """Runs the mix; returns what was sent."""
    counts = {"lock": threading.Lock(), "sent": collections.Counter(),
              "codes": collections.Counter(), "other": 0}
    end = time.monotonic() + seconds
    threads = [Client(server, f"{seed}/{i}", end, counts) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in threads:
        if thread.error is not None:
            raise thread.error
    del counts["lock"]
    return counts


def threads_by_name(proc):
    names = collections.Counter()
    for task in (proc / "task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            names[(task / "comm").read_text().strip()] += 1
    return dict(names)


def at_rest(server):
    """What the idle server holds, a little later: it gives free memory back every ten seconds."""
    server.wait_until_idle(60)
    time.sleep(11)
    proc = pathlib.Path("/proc") / str(server.process.pid)
    threads = threads_by_name(proc)
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    metrics = server.metrics()
    return {
        "resident_bytes": int(status["VmRSS"].split()[0]) * 1024,
        "threads": sum(n for name, n in threads.items() if name not in GRPC_POOLS),
        "grpc_threads": sum(n for name, n in threads.items() if name in GRPC_POOLS),
        "file_descriptors": len(os.listdir(proc / "fd")),
        "gauges": {name: value for name, value in metrics.items()
                   if name.startswith(("sieve_requests_running", "sieve_requests_waiting",
                                       "sieve_queued_prompt_tokens", "sieve_kv_attributed_bytes"))
                   or name == 'sieve_kv_pages{state="active"}'}}


def largest_steps(server):
    """Steps of as many prompt tokens and of as many samples as the server ever takes at once: it keeps the room for
    them, and chance may bring them late."""
    limits = server.stub.GetModel(pb.GetModelRequest(), timeout=60).limits
    samples = 4
    calls = [server.stub.Generate(harness.request(f"{i} " + " ".join(WORDS), n=samples, max_tokens=30,
                                                  ignore_eos=True, temperature=1.0, logprobs=3), timeout=120)
             for i in range(limits.max_running_sequences // samples)]
    for call in calls:
        for _ in call:
            pass
    server.collect(harness.request(" ".join(WORDS * 40), max_tokens=1), timeout=120)


def warm_up(server, round_seconds, clients, seed):
    """Runs the largest steps, then the mix until memory is what it will be: until two rounds in turn add less than half a percent together,
    twelve at most. Allocators, gRPC and the largest step so far settle only after a while; a leak never does, and
    shows later."""
    largest_steps(server)
    rests = [at_rest(server)]
    for index in range(12):
        drive(server, round_seconds, clients, f"{seed}/warm-up {index}")
        rests.append(at_rest(server))
        resident = [rest["resident_bytes"] for rest in rests[-3:]]
        if index > 1 and resident[-1] < 1.005 * resident[0]:
            break
    return rests[-1], len(rests) - 1


def settled(server, before, seconds=30):
    """at_rest once threads and descriptors are no more than before, or when the time is over: connections
    that clients left take a moment to be noticed."""
    deadline = time.monotonic() + seconds
    while True:
        now = at_rest(server)
        if time.monotonic() > deadline or (
                now["threads"] <= before["threads"]
                and now["file_descriptors"] <= before["file_descriptors"]):
            return now
        time.sleep(0.5)


def requests_by_code(server):
    return {name.split('"')[1]: value for name, value in server.metrics().items()
            if name.startswith("sieve_requests_total")}


def troubles(before, after, counted, counts):
    """What did not come back to where it began, one line each."""
    found = []
    growth = after["resident_bytes"] / before["resident_bytes"] - 1
    if growth > MEMORY_TOLERANCE:
        found.append(f"resident memory grew by {growth:.1%}")
    for key, more in (("threads", 0), ("grpc_threads", os.cpu_count()), ("file_descriptors", 0)):
        if after[key] > before[key] + more:
            found.append(f"{after[key]} {key}, {before[key]} before")
    found += [f"{name} is {value}, not 0" for name, value in after["gauges"].items() if value]
    sent = sum(counts["sent"].values())
    if sum(counted.values()) > sent:
        found.append(f"the server counted {sum(counted.values())} requests, {sent} were sent")
    # One that its client gave up may have ended well on the server.
    given_up = sum(counts["sent"][kind] for kind in ("cancel", "deadline", "disconnect"))
    ok = counts["codes"]["OK"]
    if not ok <= counted.get("OK", 0) <= ok + given_up:
        found.append(f"the server counted {counted.get('OK')} OK, clients saw {ok}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--warm_up", type=float, default=20, help="seconds of each round")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--out", type=pathlib.Path, help="append the result, one JSON line")
    parser.add_argument("server_flags", nargs="*")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)

    # A cache that fills at once, so that eviction and preemption happen and its memory is all touched.
    flags = ["--kv_cache_mb=48", "--max_running=16", "--max_queued_requests=8",
             "--stalled_reader_timeout=5s", *args.server_flags]
    with harness.running_server(*flags) as server:
        before, rounds = warm_up(server, args.warm_up, args.clients, args.seed)
        counted_before = requests_by_code(server)
        counts = drive(server, args.seconds, args.clients, args.seed)
        after = settled(server, before)
        counted = {code: value - counted_before[code]
                   for code, value in requests_by_code(server).items()
                   if value > counted_before[code]}
        tokens = server.metrics()["sieve_generated_tokens_total"]
    found = troubles(before, after, counted, counts)
    result = {
        "measurement": "soak", "seconds": args.seconds, "warm_up_rounds": rounds,
        "clients": args.clients, "seed": args.seed, "sent": dict(counts["sent"]),
        "client_codes": dict(counts["codes"]), "server_codes": counted,
        "other_calls": counts["other"], "generated_tokens": tokens, "before": before, "after": after,
        "troubles": found, "cores": os.cpu_count(), "date": datetime.date.today().isoformat(),
        "command": " ".join(["python3 bench/soak.py", *sys.argv[1:]])}
    print(json.dumps(result))
    if args.out:
        with args.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
