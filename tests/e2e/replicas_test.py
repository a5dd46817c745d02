"""Two servers behind one channel of stock grpcio with deploy/client_service_config.json: the load is spread, and what
a server had not started when it went away is answered by the other."""

import concurrent.futures
import contextlib
import json
import pathlib
import signal
import threading
import time

import grpc
import pytest

from e2e import harness
from e2e.harness import Result, Server, request

SERVICE_CONFIG = (harness.ROOT / "deploy/client_service_config.json").read_text()
# Requests larger than gRPC keeps by default (256 KiB) are tried again too.
RETRY_BUFFER = 8 << 20
# Two requests at a time on each, so that it takes few to make others wait.
FLAGS = ("--kv_cache_mb=64", "--max_running=2")
# Runs for some seconds: until what the test does meanwhile is done.
LONG_TOKENS = 400
LONG = {"prompt": "Tell me a very long story about the sea.", "max_tokens": LONG_TOKENS, "ignore_eos": True}


def open_channel(*servers, service_config=SERVICE_CONFIG):
    addresses = ",".join(server.address for server in servers)
    return grpc.insecure_channel(f"ipv4:{addresses}", options=[
        ("grpc.service_config", service_config), ("grpc.per_rpc_retry_buffer_size", RETRY_BUFFER),
        ("grpc.enable_http_proxy", 0),
        # One test's connections are not another's.
        ("grpc.use_local_subchannel_pool", 1)])


class Call:
    """A Generate call that a thread reads to its end."""

    def __init__(self, pool, stub, message):
        self.started = threading.Event()
        self.result = Result()
        self._done = pool.submit(self._run, stub, message)

    def _run(self, stub, message):
        try:
            for event in stub.Generate(message, timeout=120):
                self.result.add(event)
                self.started.set()
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""

    def code(self):
        return self._done.result(150)[0]

    def __str__(self):
        return f"{self._done.result(0)}, {len(self.result.tokens.get(0, []))} tokens"


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(64) as threads:
        yield threads


@pytest.fixture
def pair(model_file):
    """Two servers; a test may end either."""
    with contextlib.ExitStack() as stack:
        servers = []
        for _ in range(2):
            server = Server(*FLAGS)
            stack.callback(server.stop)
            servers.append(server)
        yield servers


def answered(server):
    """Requests that it ended well since it was started."""
    return server.metrics().get('sieve_requests_total{code="OK"}', 0)


def wait_for_both(channel, servers, stub):
    """Until the channel uses both: one request is enough to connect to one only."""
    deadline = time.monotonic() + 30
    while not all(answered(server) > 0 for server in servers):
        assert time.monotonic() < deadline, "the channel never used both servers"
        for _ in stub.Generate(request(max_tokens=1), timeout=60):
            pass


def large_request():
    """A mebibyte: a field that this version of the server does not know yet."""
    message = request(max_tokens=4)
    field, size = 1000, 1 << 20
    message.MergeFromString(_varint(field << 3 | 2) + _varint(size) + b"x" * size)
    assert message.ByteSize() > size
    return message


def _varint(value):
    return bytes([value & 0x7F | 0x80]) + _varint(value >> 7) if value > 0x7F else bytes([value])


def busy_pair(pool, stub, servers):
    """Two long requests running and three or more waiting on each server: (long calls, waiting calls)."""
    running = [Call(pool, stub, request(**LONG)) for _ in range(4)]
    for call in running:
        assert call.started.wait(60)
    for server in servers:
        server.wait_until(lambda m: m.load.running_sequences == 2)
    waiting = [Call(pool, stub, large_request() if i % 4 < 2 else request(max_tokens=4))
               for i in range(8)]
    for server in servers:
        server.wait_until(lambda m: m.load.waiting_requests >= 3)
    assert not any(call.started.is_set() for call in waiting)
    return running, waiting


def test_load_is_spread(pair, pool):
    with open_channel(*pair) as channel:
        stub = harness.pb_grpc.GenerationStub(channel)
        wait_for_both(channel, pair, stub)
        before = [answered(server) for server in pair]
        calls = [Call(pool, stub, request(max_tokens=2)) for _ in range(20)]
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}
        taken = [answered(server) - count for server, count in zip(pair, before)]
    assert sum(taken) == 20
    assert min(taken) >= 8, f"not spread: {taken}"


def test_killing_one_loses_nothing_that_had_not_started(pair, pool):
    with open_channel(*pair) as channel:
        stub = harness.pb_grpc.GenerationStub(channel)
        wait_for_both(channel, pair, stub)
        running, waiting = busy_pair(pool, stub, pair)
        victim, other = pair
        victim.process.send_signal(signal.SIGKILL)

        # The streams that it had started say so; a client must decide what a half answer is worth.
        codes = [call.code() for call in running]
        assert sorted(codes, key=str) == sorted(
            [grpc.StatusCode.OK] * 2 + [grpc.StatusCode.UNAVAILABLE] * 2, key=str)
        for call in running:
            tokens = len(call.result.tokens.get(0, []))
            assert tokens == LONG_TOKENS if call.code() == grpc.StatusCode.OK else tokens < LONG_TOKENS
        # What it had not is answered, and the same as always.
        assert [str(call) for call in waiting if call.code() != grpc.StatusCode.OK] == []
        assert len({call.result.text[0] for call in waiting}) == 1
        assert all(len(call.result.finished) == 1 for call in waiting)

        # Started again on its port, it is taken back.
        victim.process.wait(10)
        again = Server(*FLAGS, f"--listen={victim.address}")
        try:
            wait_for_both(channel, [again, other], stub)
        finally:
            assert again.stop() == 0


def test_stopping_one_loses_nothing_that_had_not_started(pair, pool):
    with open_channel(*pair) as channel:
        stub = harness.pb_grpc.GenerationStub(channel)
        wait_for_both(channel, pair, stub)
        running, waiting = busy_pair(pool, stub, pair)
        victim, _ = pair
        victim.process.send_signal(signal.SIGTERM)
        # More come while it drains.
        waiting += [Call(pool, stub, request(max_tokens=4)) for _ in range(8)]
        assert [str(call) for call in waiting if call.code() != grpc.StatusCode.OK] == []
        # And what had started is finished.
        assert [str(call) for call in running if call.code() != grpc.StatusCode.OK] == []
        assert victim.process.wait(60) == 0


def test_without_retries_what_waits_is_lost(pair, pool):
    """The control: it is the configuration that saves them."""
    config = json.loads(SERVICE_CONFIG)
    for method in config["methodConfig"]:
        del method["retryPolicy"]
    with open_channel(*pair, service_config=json.dumps(config)) as channel:
        stub = harness.pb_grpc.GenerationStub(channel)
        wait_for_both(channel, pair, stub)
        _, waiting = busy_pair(pool, stub, pair)
        pair[0].process.send_signal(signal.SIGKILL)
        assert grpc.StatusCode.UNAVAILABLE in {call.code() for call in waiting}


def test_a_full_queue_is_tried_again(model_file, pool):
    """As late as the server asks for: grpc-retry-pushback-ms, not the policy's tenths of a second."""
    with harness.running_server("--kv_cache_mb=64", "--max_running=1",
                                "--max_queued_requests=1") as server:
        refused = 'sieve_admission_rejections_total{reason="queue_full"}'
        long = server.stub.Generate(request(**LONG), timeout=120)
        next(long)
        queued = Call(pool, server.stub, request(max_tokens=2))
        server.wait_until(lambda m: m.load.waiting_requests == 1)
        # Without the configuration: refused.
        with pytest.raises(grpc.RpcError) as error:
            server.collect(request(max_tokens=2))
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        before = server.metrics()[refused]
        with open_channel(server) as channel:
            call = Call(pool, harness.pb_grpc.GenerationStub(channel), request(max_tokens=2))
            deadline = time.monotonic() + 30
            while server.metrics()[refused] == before:
                assert time.monotonic() < deadline, "its first attempt was not refused"
                time.sleep(0.01)
            long.cancel()  # room, before the attempts are used up
            assert call.code() == grpc.StatusCode.OK, str(call)
        assert 1 <= server.metrics()[refused] - before <= 4
        assert queued.code() == grpc.StatusCode.OK


def test_connections_are_renewed_without_a_call_noticing(model_file):
    """So that clients look the name up again, and find servers that were added."""
    with harness.running_server("--kv_cache_mb=64", "--max_connection_age=1s") as server:
        with open_channel(server) as channel:
            stub = harness.pb_grpc.GenerationStub(channel)
            long = stub.Generate(request(**{**LONG, "max_tokens": 200}), timeout=120)
            next(long)
            seen = set()
            deadline = time.monotonic() + 30
            while len(seen) < 3:
                assert time.monotonic() < deadline, f"connections: {seen}"
                stub.GetModel(harness.pb.GetModelRequest(), timeout=10)
                seen |= clients_of(server)
                time.sleep(0.05)
            result = Result(accepted=True)
            for event in long:
                result.add(event)
            assert result.finished[0].usage.generated_tokens == 200


def clients_of(server):
    """Ports of the clients that are connected to the server's own."""
    connections = [line.split()[1:4] for family in ("tcp", "tcp6")
                   for line in pathlib.Path(f"/proc/net/{family}").read_text().splitlines()[1:]]
    return {int(remote.partition(":")[2], 16) for local, remote, state in connections
            if state == "01" and int(local.partition(":")[2], 16) == server.port}
