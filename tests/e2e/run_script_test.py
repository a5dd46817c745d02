"""deploy/run.sh as a user runs it, on a machine that is set up already."""

import contextlib
import os
import re
import signal
import socket
import subprocess

import grpc
import pytest

from e2e.harness import ROOT, pb, pb_grpc

pytestmark = pytest.mark.usefixtures("model_file")
ASK = ("--prompt", "What is the capital of France?", "--max-tokens", "20")


@contextlib.contextmanager
def started(*arguments):
    # A session of its own, as a terminal would give it: Ctrl-C reaches every process in it.
    process = subprocess.Popen(["bash", ROOT / "deploy/run.sh", *arguments], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=30)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


def run(*arguments):
    with started(*arguments) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_once():
    status, out, err = run("--once", *ASK)
    assert status == 0, err
    assert "Paris" in out
    assert "==>" not in out, "messages belong on stderr"
    assert re.search(r"time to first token \d+ ms, [\d.]+ tokens/s", err)
    address = re.search(r"listens on (127\.0\.0\.1:\d+)", err).group(1)
    assert re.search(r"Metrics: http://127\.0\.0\.1:\d+/metrics", err)
    assert is_closed(address)


def is_closed(address):
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def test_serves_until_ctrl_c():
    port = free_port()
    with started(*ASK, "--port", port, "--metrics-port", free_port(), "--",
                 "--kv_cache_mb=64") as process:
        errors = ""
        for line in process.stderr:
            errors += line
            if "Serving until" in line:
                break
        assert process.poll() is None, errors
        address = f"127.0.0.1:{port}"
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            model = pb_grpc.GenerationStub(channel).GetModel(pb.GetModelRequest(), timeout=10)
        assert model.cache.total_pages * model.cache.bytes_per_page <= 64 << 20
        os.killpg(process.pid, signal.SIGINT)
        out, rest = process.communicate(timeout=30)
    assert process.returncode == 0, errors + rest
    assert "Stopping" in rest
    assert "Paris" in out
    assert is_closed(address)


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, out, err = run("--once", "--port", port)
    assert status == 1 and out == ""
    assert f"port {port} is taken" in err


@pytest.fixture(scope="module")
def adapter_dir(model_file, tmp_path_factory):
    """An adapter without parameters, that reads little."""
    folder = tmp_path_factory.mktemp("adapters") / "mean"
    tool = [ROOT / "bazel-bin/model/adapter/adapter_tool", "init", f"--model={model_file}", f"--out={folder}",
            "--selector=mean", "--window_blocks=2", "--selected_blocks=2"]
    done = subprocess.run(tool, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_an_adapter_answers_beside_the_bare_model(adapter_dir):
    status, out, err = run("--once", "--adapter", adapter_dir, "--max-tokens", "8", "--", "--device=cpu")
    assert status == 0, err
    assert "--- bare model ---\n" in out and "--- mean ---\n" in out
    read = re.search(r"keys read +100 % +([\d.]+) %", err)
    assert read and float(read.group(1)) < 30, err


def test_the_published_adapter_fits_the_default_model():
    status, out, err = run("--once", "--adapter", "model/zoo/smollm2-135m-nsa", "--max-tokens", "8", "--", "--device=cpu")
    assert status == 0, err
    assert "--- smollm2-135m-nsa ---\n" in out
    assert re.search(r"keys read +100 % +([\d.]+) %", err), err


def test_an_adapter_by_another_name_and_a_prompt(adapter_dir):
    status, out, err = run("--once", "--adapter", f"sparse={adapter_dir}", *ASK, "--", "--device=cpu")
    assert status == 0, err
    answers = out.split("--- sparse ---\n")
    assert len(answers) == 2 and answers[0].endswith(answers[1]), "a short context is read whole"


@pytest.mark.parametrize("arguments, part", [
    (("--once", "--adapter", "/no/such/adapter"), "/no/such/adapter/adapter_config.json"),
    (("--once", "--adapter", ".x=/tmp"), 'the name ".x" is none'),
    (("--once", "--model", "/no/such/model"), "/no/such/model"),
    (("--once", "--port", "70000"), "expected a number from 1 to 65535"),
    (("--bogus",), "unknown argument: --bogus"),
    (("--prompt",), "--prompt needs a value"),
])
def test_what_cannot_work_is_said(arguments, part):
    status, out, err = run(*arguments)
    assert status == 1 and out == ""
    assert "FAILED" in err and part in err


def test_help():
    status, out, _ = run("--help")
    assert status == 0
    assert "--once" in out
