"""The server's log as an operator sees it."""

import json
import subprocess

import grpc
import pytest

from e2e import harness
from e2e.conftest import SMALL_CACHE


def lines_of(server):
    """The log's lines as objects: every one must be one."""
    return [json.loads(line) for line in server.log().splitlines()]


def request_lines(server):
    return [line for line in lines_of(server) if line["msg"] == "request"]


def test_json_log_has_one_line_a_request(model_file):
    secret = "zanzibar"
    with harness.running_server(SMALL_CACHE, "--log_format=json") as server:
        message = harness.request(f"The word is {secret}", max_tokens=4, ignore_eos=True)
        message.request_id = "mine"
        result = server.collect(message)
        bad = harness.request("x", max_tokens=1)
        bad.sampling.top_p = 7
        bad.request_id = "not mine"
        with pytest.raises(grpc.RpcError):
            server.stub.GenerateOnce(bad, timeout=10, metadata=(
                ("x-sieve-tenant", "blue"),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")))
    ended, refused = request_lines(server)  # the server flushed its log when it ended
    assert ended["request_id"] == "mine"
    assert (ended["code"], ended["phase"], ended["level"]) == ("OK", "decode", "info")
    assert ended["prompt_tokens"] == result.accepted.prompt_tokens
    assert ended["generated_tokens"] == 4
    finished = result.finished[0]
    assert ended["ttft_s"] == pytest.approx(
        finished.timings.time_to_first_token.ToNanoseconds() / 1e9, rel=1e-4)
    assert ended["total_s"] >= (ended["ttft_s"] + ended["decode_s"]) * 0.999
    assert (refused["code"], refused["phase"], refused["reason"]) == (
        "INVALID_ARGUMENT", "admission", "invalid")
    assert "top_p" in refused["error"]
    assert (refused["request_id"], refused["tenant"]) == ("not mine", "blue")
    assert refused["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert refused["span_id"] == "b7ad6b7169203331"
    assert secret not in server.log()
    assert result.text[0].strip() not in server.log()
    assert lines_of(server)[-1]["msg"] != "request"


def test_what_is_said_is_logged_only_when_asked(model_file):
    with harness.running_server(SMALL_CACHE, "--log_format=json", "--log_prompts") as server:
        message = harness.request("Once upon a time", max_tokens=8, ignore_eos=True, n=2)
        message.request_id = "a"
        streamed = server.collect(message)
        message.request_id = "b"
        once = server.stub.GenerateOnce(message, timeout=60)
    said = [(line["msg"], line["request_id"], line.get("sample"), line["text"])
            for line in lines_of(server) if line["msg"] in ("prompt", "completion")]
    assert {line[3] for line in said if line[0] == "prompt"} == {"Once upon a time"}
    assert sorted(line[1:] for line in said if line[0] == "completion") == sorted(
        [("a", sample, streamed.text[sample]) for sample in range(2)]
        + [("b", sample, once.samples[sample].text) for sample in range(2)])


def test_request_lines_can_be_turned_off(model_file):
    with harness.running_server(SMALL_CACHE, "--log_format=json", "--log_requests=false") as server:
        server.collect(harness.request(max_tokens=1))
    assert lines_of(server) and not request_lines(server)


def test_a_server_that_cannot_start_says_so_in_json(model_file, tmp_path):
    status, log = harness.start_that_fails("--log_format=json", model=tmp_path / "nothing.gguf")
    assert status == 1
    line = json.loads(log.splitlines()[-1])
    assert line["level"] == "error" and "nothing.gguf" in line["msg"]


def test_an_unknown_format_is_a_bad_flag(model_file):
    status, log = harness.start_that_fails("--log_format=xml", model=model_file)
    assert status == 2 and "--log_format" in log and "xml" in log


# 4096 lines wait at most, and the pipe holds some hundreds. The server must also end with status 0 although
# nobody reads its last words.
def test_a_log_that_nobody_reads_costs_lines_and_nothing_else(model_file):
    with harness.running_server(SMALL_CACHE, "--log_format=json", stderr=subprocess.PIPE) as server:
        bad = harness.request("x", max_tokens=1)
        bad.sampling.top_p = 7
        calls = [server.stub.GenerateOnce.future(bad, timeout=60) for _ in range(6000)]
        assert {call.code() for call in calls} == {grpc.StatusCode.INVALID_ARGUMENT}
        result = server.collect(harness.request(max_tokens=8, ignore_eos=True))
        assert len(result.tokens[0]) == 8
        assert server.metrics()["sieve_log_lines_dropped_total"] > 500
