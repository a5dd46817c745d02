"""Runs the real server on the real model, and talks to it as an application would: stock grpcio, with stubs that
grpcio-tools generates from the public .proto file."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import grpc
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = os.environ.get("SIEVE_SERVER", str(ROOT / "bazel-bin/server/sieve_server"))
CLIENT = os.environ.get("SIEVE_CLIENT", str(ROOT / "bazel-bin/client/sieve"))


def model_path():
    """The default model, or None where there is none (see deploy/setup.sh)."""
    cache = os.environ.get("SIEVE_CACHE") or pathlib.Path.home() / ".cache/sieve"
    path = pathlib.Path(cache) / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
    return path if path.exists() else None


def _load_stubs():
    # The modules are loaded from memory's point of view: the folder may go once they are imported.
    with tempfile.TemporaryDirectory() as folder:
        status = protoc.main([
            "protoc", f"-I{ROOT}/proto", f"--python_out={folder}", f"--grpc_python_out={folder}",
            f"{ROOT}/proto/sieve/v1/generation.proto"])
        assert status == 0, "protoc failed on generation.proto"
        sys.path.insert(0, folder)
        try:
            return (importlib.import_module("sieve.v1.generation_pb2"),
                    importlib.import_module("sieve.v1.generation_pb2_grpc"))
        finally:
            sys.path.remove(folder)


pb, pb_grpc = _load_stubs()


@dataclasses.dataclass
class Result:
    """All that one Generate call said."""
    accepted: object = None
    text: dict = dataclasses.field(default_factory=dict)       # sample -> text
    tokens: dict = dataclasses.field(default_factory=dict)     # sample -> token ids
    logprobs: dict = dataclasses.field(default_factory=dict)   # sample -> PositionLogprobs
    finished: dict = dataclasses.field(default_factory=dict)   # sample -> Finished

    def add(self, event):
        kind = event.WhichOneof("event")
        if kind == "accepted":
            assert self.accepted is None and not self.tokens, "`accepted` comes first, once"
            self.accepted = event.accepted
        elif kind == "delta":
            delta = event.delta
            assert self.accepted is not None, "a delta before `accepted`"
            assert delta.sample not in self.finished, "a delta after `finished`"
            self.text[delta.sample] = self.text.get(delta.sample, "") + delta.text
            self.tokens.setdefault(delta.sample, []).extend(delta.token_ids)
            self.logprobs.setdefault(delta.sample, []).extend(delta.logprobs)
        elif kind == "finished":
            assert event.finished.sample not in self.finished, "`finished` twice"
            self.finished[event.finished.sample] = event.finished


def request(prompt="The capital of France is", *, max_tokens=None, temperature=0.0, stop=(),
            min_tokens=None, ignore_eos=None, stop_ids=(), chat=False, token_ids=None, logprobs=None,
            n=None, priority=None, **sampling):
    """A GenerateRequest; `sampling` holds further fields of SamplingParams."""
    message = pb.GenerateRequest(
        sampling=pb.SamplingParams(temperature=temperature, **sampling),
        stop=pb.StopParams(max_tokens=max_tokens, min_tokens=min_tokens, ignore_eos=ignore_eos,
                           stop_texts=stop, stop_token_ids=stop_ids),
        logprobs=logprobs, num_samples=n, priority=priority)
    if token_ids is not None:
        message.token_ids.ids.extend(token_ids)
    elif chat:
        message.chat.messages.add(role=pb.ChatMessage.ROLE_USER, content=prompt)
    else:
        message.text.text = prompt if isinstance(prompt, bytes) else prompt.encode()
    return message


class Server:
    """A server process on free ports of loopback."""

    def __init__(self, *flags, model=None, stderr=subprocess.STDOUT, credentials=None):
        self.credentials = credentials  # of our channels; None: plaintext
        self._folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self._folder.name)
        self.log_path = folder / "log"
        port_file = folder / "ports"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [SERVER, f"--model={model or model_path()}", "--listen=127.0.0.1:0",
                 "--metrics_listen=127.0.0.1:0", f"--port_file={port_file}", *flags],
                stdout=log, stderr=stderr)
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert self.process.poll() is None, f"the server ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"the server is not ready after 60 s:\n{self.log()}"
            time.sleep(0.01)
        ports = dict(re.findall(r"(\w+)=(\d+)", port_file.read_text()))
        self.port = int(ports["grpc"])
        self.address = f"127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{ports['metrics']}/metrics"
        self.channel = self.new_channel()
        self.stub = pb_grpc.GenerationStub(self.channel)

    def new_channel(self):
        options = [("grpc.enable_http_proxy", 0)]
        if self.credentials is not None:
            return grpc.secure_channel(self.address, self.credentials, options=options)
        return grpc.insecure_channel(self.address, options=options)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, text, seconds=10):
        """Lines are written by a thread of their own, a little later."""
        deadline = time.monotonic() + seconds
        while text not in self.log():
            assert time.monotonic() < deadline, f"no {text!r} after {seconds} s:\n{self.log()}"
            time.sleep(0.01)

    def collect(self, message, timeout=60):
        """Runs a request to its end."""
        result = Result()
        for event in self.stub.Generate(message, timeout=timeout):
            result.add(event)
        return result

    def tokens(self, message, timeout=60):
        return self.collect(message, timeout).tokens[0]

    def model(self):
        return self.stub.GetModel(pb.GetModelRequest(), timeout=10)

    def metrics(self):
        """{'name{label="value"}': value}"""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.metrics_url, timeout=10) as response:
            text = response.read().decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in lines}

    def wait_until(self, condition, seconds=10):
        """Until `condition(GetModelResponse)` holds; returns the response."""
        deadline = time.monotonic() + seconds
        while True:
            model = self.model()
            if condition(model):
                return model
            assert time.monotonic() < deadline, f"still not so after {seconds} s:\n{model}"
            time.sleep(0.01)

    def wait_until_idle(self, seconds=10):
        """Until nothing runs and no request holds a page; the metrics must say so too."""
        model = self.wait_until(
            lambda m: m.load.running_sequences == m.load.waiting_requests == m.cache.active_pages == 0,
            seconds)
        cache = model.cache
        assert cache.total_pages > 0
        assert cache.free_pages + cache.cached_pages == cache.total_pages
        metrics = self.metrics()
        assert metrics['sieve_kv_pages{state="active"}'] == 0
        assert metrics['sieve_kv_pages{state="free"}'] == cache.free_pages
        assert metrics['sieve_kv_pages{state="cached"}'] == cache.cached_pages
        return model

    def stop(self, seconds=30):
        """Asks it to stop; returns its exit status."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def running_server(*flags, model=None, stderr=subprocess.STDOUT, credentials=None):
    """A server that is stopped at the end, and that must not have crashed meanwhile."""
    server = Server(*flags, model=model, stderr=stderr, credentials=credentials)
    try:
        yield server
        assert server.process.poll() is None, f"the server ended:\n{server.log()}"
    finally:
        status = server.stop()
    assert status == 0, f"the server ended with status {status}:\n{server.log()}"


def start_that_fails(*flags, model):
    """Runs a server that must not start; returns (exit status, what it printed)."""
    done = subprocess.run(
        [SERVER, f"--model={model}", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def sieve(*arguments, address=None, stdin="", timeout=60):
    """Runs the command-line client to its end; bytes decoded as UTF-8."""
    environment = dict(os.environ, no_proxy="127.0.0.1")
    if address:
        environment["SIEVE_ADDRESS"] = address
    return subprocess.run([CLIENT, *arguments], input=stdin, capture_output=True, text=True,
                          encoding="utf-8", timeout=timeout, env=environment, check=False)
