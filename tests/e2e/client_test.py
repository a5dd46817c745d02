"""The command-line client against the real server, as scripts and people use it; and the Python example."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from grpc_tools import protoc

from e2e import harness
from e2e.harness import pb, request, sieve

pytestmark = pytest.mark.usefixtures("server")
LONG = ("generate", "--ignore_eos", "--max_tokens=4000", "--temperature=0", "a long story: ")


def test_text_goes_to_stdout_and_the_rest_to_stderr(server):
    done = sieve("generate", "--chat", "--temperature=0", "--max_tokens=30", "--stats",
                 "What is the capital of France?", address=server.address)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert "tokens/s" not in done.stdout
    assert "time to first token" in done.stderr and "tokens/s" in done.stderr
    quiet = sieve("generate", "--temperature=0", "--max_tokens=3", "Hello", address=server.address)
    assert quiet.stderr == ""


def test_the_prompt_from_stdin(server):
    one = sieve("generate", "--temperature=0", "--max_tokens=8", stdin="The sea", address=server.address)
    two = sieve("generate", "--temperature=0", "--max_tokens=8", "The sea", address=server.address)
    assert one.stdout == two.stdout != ""


def test_json_lines(server):
    done = sieve("generate", "--json", "--max_tokens=5", "--ignore_eos", "--logprobs=1",
                 "--stats", "🙂 Hello", address=server.address)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert "accepted" in events[0] and "finished" in events[-1]
    tokens = [id for event in events[1:-1] for id in event["delta"]["token_ids"]]
    assert len(tokens) == 5


def test_several_samples(server):
    done = sieve("generate", "--n=2", "--seed=1", "--max_tokens=5", "Hello", address=server.address)
    assert done.stdout.startswith("--- sample 0 ---\n")
    assert "--- sample 1 ---\n" in done.stdout


@pytest.mark.parametrize("arguments, status, part", [
    (("generate", "--prompt="), 1, "INVALID_ARGUMENT"),
    (("generate", "--temperature=nan", "x"), 1, "temperature"),
    (("generate", "--model=other", "x"), 1, "NOT_FOUND"),
    (("detokenize", "-1",), 1, "INVALID_ARGUMENT"),
    (("generate", "--temperature=hot", "x"), 2, "--temperature"),
    (("frobnicate",), 2, "unknown command"),
    ((), 2, "Usage"),
    (("--help",), 0, ""),
    ((*LONG[:4], "--timeout=200ms", LONG[4]), 4, "DEADLINE_EXCEEDED"),
    (("generate", "--max_tokens=2147483647", "x"), 5, "RESOURCE_EXHAUSTED"),
])
def test_exit_codes(server, arguments, status, part):
    done = sieve(*arguments, address=server.address)
    assert done.returncode == status, done.stderr
    assert part in done.stderr


def test_no_server():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for command in (("generate", "x"), ("info",), ("info", "--health"), ("tokenize", "x")):
        done = sieve(*command, address=address)
        assert done.returncode == 3, command
        assert "UNAVAILABLE" in done.stderr
    done = sieve("generate", "--json", "x", address=address)
    assert json.loads(done.stdout)["error"]["code"] == "UNAVAILABLE"


def test_ctrl_c_cancels_the_answer(server):
    process = subprocess.Popen([harness.CLIENT, *LONG[:4], f"--address={server.address}", LONG[4]],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"CANCELLED" in errors
    server.wait_until_idle(5)


def test_ctrl_c_in_a_chat_cancels_the_answer_only(server):
    process = subprocess.Popen(
        [harness.CLIENT, "chat", f"--address={server.address}", "--ignore_eos", "--temperature=0",
         "--max_tokens=3000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"Tell me a story.\n")
    process.stdin.flush()
    assert process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    server.wait_until_idle(5)
    time.sleep(0.1)
    assert process.poll() is None
    _, errors = process.communicate(b"/quit\n", timeout=10)
    assert process.returncode == 130  # that of the last answer
    assert b"CANCELLED" in errors


def test_chat_remembers(server):
    """The second answer is the one to the whole conversation."""
    first, second = "My name is Anna.", "What is my name?"
    done = sieve("chat", "--temperature=0", "--max_tokens=20", stdin=f"{first}\n{second}\n/quit\n",
                 address=server.address)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    message = request(first, chat=True, max_tokens=20)
    answer = server.collect(message).text[0]
    message.chat.messages.add(role=pb.ChatMessage.ROLE_ASSISTANT, content=answer)
    message.chat.messages.add(role=pb.ChatMessage.ROLE_USER, content=second)
    assert done.stdout == f"{answer}\n{server.collect(message).text[0]}\n"


def test_tokenize_and_back(server):
    done = sieve("tokenize", "--json", "Hello, wörld", address=server.address)
    ids = json.loads(done.stdout)["token_ids"]
    back = sieve("detokenize", ",".join(map(str, ids)), address=server.address)
    assert back.stdout == "Hello, wörld\n"
    lines = sieve("tokenize", "Hello, wörld", address=server.address).stdout.splitlines()
    assert [int(line.split("\t")[0]) for line in lines] == ids


def test_info(server):
    done = sieve("info", address=server.address)
    assert done.returncode == 0
    assert "30 layers" in done.stdout
    assert json.loads(sieve("info", "--json", address=server.address).stdout)["shape"]["num_layers"] == 30
    health = sieve("info", "--health", address=server.address)
    assert (health.returncode, health.stdout) == (0, "SERVING\n")


def test_the_python_example(server, tmp_path):
    status = protoc.main(["protoc", f"-I{harness.ROOT}/proto", f"--python_out={tmp_path}",
                          f"--grpc_python_out={tmp_path}",
                          f"{harness.ROOT}/proto/sieve/v1/generation.proto"])
    assert status == 0
    done = subprocess.run(
        [sys.executable, harness.ROOT / "client/examples/stream.py", "What is the capital of France?"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env=dict(os.environ, SIEVE_ADDRESS=server.address, no_proxy="127.0.0.1"))
    assert done.returncode == 0, done.stderr
    # What a small model draws need not be right.
    assert re.fullmatch(r"\S.*\n\[\d+ prompt tokens, [1-9]\d* generated\]\n", done.stdout, re.DOTALL)
