"""Starting and stopping: what keeps a server from starting, and how one ends with streams in flight."""

import concurrent.futures
import os
import pathlib
import signal
import socket
import time

import gguf
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from e2e.harness import Server, request, start_that_fails

STORY = "Tell me a very long story about the sea."


def test_starts_soon(model_file):
    """A generous limit for loaded machines; bench/ measures the time."""
    start = time.monotonic()
    server = Server()
    try:
        assert time.monotonic() - start < 10
    finally:
        assert server.stop() == 0


def test_a_second_server_on_the_same_port(server, model_file):
    status, output = start_that_fails(f"--listen={server.address}", model=model_file)
    assert status == 1
    assert server.address in output
    assert len(server.tokens(request(max_tokens=2))) == 2


def test_a_metrics_port_that_is_taken(model_file):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, output = start_that_fails(f"--metrics_listen={address}", model=model_file)
    assert status == 1
    assert address in output


def test_a_missing_model(model_file, tmp_path):
    status, output = start_that_fails(model=tmp_path / "nowhere.gguf")
    assert status == 1
    assert "nowhere.gguf" in output


@pytest.mark.parametrize("content", [None, "notes.txt"], ids=["empty", "other files"])
def test_a_directory_that_is_not_a_model(model_file, tmp_path, content):
    if content:
        (tmp_path / content).write_text("not a model")
    status, output = start_that_fails(model=tmp_path)
    assert status == 1
    assert str(tmp_path) in output


@pytest.mark.parametrize("data", [b"", b"G", b"GGUF", b"not a model at all" * 100, b"\0" * 4096],
                         ids=["empty", "one byte", "magic only", "text", "zeros"])
def test_a_file_that_is_not_a_model(model_file, tmp_path, data):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    status, output = start_that_fails(model=path)
    assert status == 1
    assert str(path) in output


def test_a_cut_gguf(model_file, tmp_path):
    """Cut at every 1/32 of its header, at its end, and within the weights."""
    header = gguf.GGUFReader(model_file).data_offset
    size = model_file.stat().st_size
    cuts = [header * i // 32 for i in range(32)] + [header, (header + size) // 2, size - 1]

    def run(cut):
        path = tmp_path / f"cut-{cut}.gguf"
        with open(model_file, "rb") as source:
            path.write_bytes(source.read(cut))
        try:
            return cut, *start_that_fails(model=path)
        finally:
            path.unlink()

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for cut, status, output in pool.map(run, cuts):
            assert status == 1, f"cut at {cut}: {output}"
            assert f"cut-{cut}.gguf" in output, f"cut at {cut}"


@pytest.mark.parametrize("flag", ["--device=tpu", "--kv_cache_mb=-5", "--max_step_tokens=0",
                                  "--kv_type=f64", "--listen=nonsense", "--threads=-1",
                                  "--no_such_flag", "--max_connection_age=0", "--kv_cache_mb=many",
                                  "--listen=0.0.0.0:0"])
def test_wrong_flags(model_file, flag):
    status, output = start_that_fails(flag, model=model_file)
    assert status == 2
    assert flag.split("=")[0].lstrip("-") in output


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_stopping_with_streams_in_flight(model_file, how):
    server = Server("--kv_cache_mb=256", "--drain_grace=100ms")
    try:
        calls = [server.stub.Generate(request(STORY, max_tokens=2000, ignore_eos=True), timeout=60)
                 for _ in range(4)]
        for call in calls:
            next(call)
        server.process.send_signal(how)
        for call in calls:
            with pytest.raises(grpc.RpcError) as error:
                for _ in call:
                    pass
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert server.process.wait(15) == 0
    finally:
        server.stop()


def test_draining_lets_streams_finish(model_file):
    server = Server("--kv_cache_mb=256", "--drain_grace=120s")
    try:
        health = health_pb2_grpc.HealthStub(server.channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=120)
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        calls = [server.stub.Generate(request(STORY, max_tokens=100, ignore_eos=True), timeout=120)
                 for _ in range(4)]
        for call in calls:
            next(call)
        server.process.send_signal(signal.SIGTERM)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as error:
            server.collect(request("late", max_tokens=1))
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "grpc-retry-pushback-ms" in dict(error.value.trailing_metadata())
        health.cancel()
        for call in calls:
            tokens = sum(len(event.delta.token_ids) for event in call)
            assert tokens == 100
        assert server.process.wait(15) == 0
    finally:
        server.stop()


def test_a_second_signal_stops_at_once(model_file):
    server = Server("--kv_cache_mb=256", "--drain_grace=600s")
    try:
        call = server.stub.Generate(request(STORY, max_tokens=4000, ignore_eos=True), timeout=120)
        next(call)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as error:
            for _ in call:
                pass
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert server.process.wait(15) == 0
    finally:
        server.stop()


def test_nothing_is_left_in_memory_files(model_file):
    """The model is mapped, not copied: resident memory that is the process's own stays small."""
    server = Server("--kv_cache_mb=64")
    try:
        server.collect(request(max_tokens=4))
        rollup = pathlib.Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
        anonymous = next(int(line.split()[1]) for line in rollup.splitlines()
                         if line.startswith("Anonymous:")) << 10
        assert anonymous < (64 << 20) + 2 * model_file.stat().st_size
    finally:
        assert server.stop() == 0
