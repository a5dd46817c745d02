"""Streams, cancellation, many requests at once, deadlines, prefix reuse."""

import concurrent.futures
import threading
import time

import grpc
import pytest

from e2e.harness import Result, pb, request

LONG = "Tell me a very long story about the sea."


def test_streams_an_answer(server):
    arrivals = []
    result = Result()
    for event in server.stub.Generate(request("What is the capital of France?", chat=True,
                                              max_tokens=40)):
        result.add(event)
        arrivals.append((event.WhichOneof("event"), time.monotonic()))
    kinds = [kind for kind, _ in arrivals]
    assert kinds[0] == "accepted" and kinds[-1] == "finished"
    assert kinds.count("delta") >= 3
    deltas = [at for kind, at in arrivals if kind == "delta"]
    assert deltas[-1] > deltas[0], "the answer came in one piece"
    assert "Paris" in result.text[0]
    finished = result.finished[0]
    assert finished.reason in (pb.FINISH_REASON_END_OF_SEQUENCE, pb.FINISH_REASON_MAX_TOKENS)
    assert finished.usage.generated_tokens == len(result.tokens[0])
    assert finished.usage.prompt_tokens == result.accepted.prompt_tokens > 0
    timings = finished.timings
    first = timings.time_to_first_token.ToNanoseconds()
    assert 0 < first == timings.queue.ToNanoseconds() + timings.prefill.ToNanoseconds()
    assert timings.decode.ToNanoseconds() > 0


def test_the_same_request_gives_the_same_tokens(server):
    message = request(max_tokens=24)
    assert server.tokens(message) == server.tokens(message)


def test_once_is_the_stream_in_one_answer(server):
    message = request(LONG, max_tokens=20, n=2, temperature=1.0, seed=5, logprobs=1)
    stream = server.collect(message)
    response = server.stub.GenerateOnce(message, timeout=60)
    assert response.accepted.prompt_tokens == stream.accepted.prompt_tokens
    assert response.accepted.seed == 5
    assert len(response.samples) == 2
    for i, sample in enumerate(response.samples):
        assert list(sample.token_ids) == stream.tokens[i]
        assert sample.text == stream.text[i]
        assert len(sample.logprobs) == len(sample.token_ids)
        assert sample.finished.sample == i
        assert sample.finished.reason == stream.finished[i].reason


def test_cancelling_half_way_frees_everything(server):
    call = server.stub.Generate(request(LONG, max_tokens=2000, ignore_eos=True))
    deltas = 0
    with pytest.raises(grpc.RpcError) as error:
        for event in call:
            deltas += event.HasField("delta")
            if deltas == 5:
                assert server.model().cache.active_pages > 0
                call.cancel()
    assert error.value.code() == grpc.StatusCode.CANCELLED
    server.wait_until_idle(5)


def test_a_client_that_vanishes_frees_everything(server):
    channel = server.new_channel()
    call = type(server.stub)(channel).Generate(request(LONG, max_tokens=2000, ignore_eos=True))
    next(call)
    server.wait_until(lambda model: model.load.running_sequences == 1)
    channel.close()
    server.wait_until_idle(5)


def test_a_reader_that_stands_still_holds_nobody_up(server):
    slow = server.stub.Generate(request(LONG, max_tokens=2000, ignore_eos=True))
    next(slow)
    try:
        assert len(server.tokens(request(max_tokens=16, ignore_eos=True), timeout=30)) == 16
    finally:
        slow.cancel()


def test_64_requests_at_once(server):
    """More than the cache holds at a time; some are cancelled half-way."""
    prompts = [f"Item {i}: " + "a word or two about rivers and lakes, " * (i % 8) for i in range(64)]
    messages = [request(prompt, max_tokens=8 + i % 9, ignore_eos=True)
                for i, prompt in enumerate(prompts)]
    barrier = threading.Barrier(64)

    def run(i):
        barrier.wait()
        if i % 8 == 7:
            call = server.stub.Generate(messages[i], timeout=120)
            next(call)
            call.cancel()
            return None
        return server.collect(messages[i], timeout=120)

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        results = list(pool.map(run, range(64)))
    for i, result in enumerate(results):
        if result is None:
            continue
        assert len(result.tokens[0]) == 8 + i % 9
        assert result.finished[0].reason == pb.FINISH_REASON_MAX_TOKENS
    model = server.wait_until_idle()
    assert model.cache.free_pages + model.cache.cached_pages == model.cache.total_pages
    # What one request says does not depend on the other 63.
    for i in (0, 13, 62):
        assert server.tokens(messages[i]) == results[i].tokens[0]


@pytest.mark.parametrize("way", ["deadline of the call", "timeout field"])
def test_time_limits(server, way):
    message = request(LONG, max_tokens=8000, ignore_eos=True)
    message.stop.max_tokens = 4000
    if way == "timeout field":
        message.timeout.FromMilliseconds(300)
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        for _ in server.stub.Generate(message, timeout=60 if message.HasField("timeout") else 0.3):
            pass
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 10


def test_a_prompt_seen_before_is_not_computed_again(server):
    prompt = "Forty-two reasons to like trains: " + "they are quiet, " * 60
    message = request(prompt, max_tokens=8)
    first = server.collect(message)
    assert first.accepted.prompt_tokens > 128
    second = server.collect(message)
    assert second.accepted.cached_prompt_tokens >= 128
    assert second.accepted.cached_prompt_tokens % 64 == 0
    assert second.accepted.cached_prompt_tokens < second.accepted.prompt_tokens
    assert second.finished[0].usage.cached_prompt_tokens == second.accepted.cached_prompt_tokens
    assert second.tokens[0] == first.tokens[0]


def test_the_model_name_must_be_right(server):
    message = request(max_tokens=1)
    message.model = server.model().name
    assert len(server.tokens(message)) == 1
    message.model = "another"
    with pytest.raises(grpc.RpcError) as error:
        server.collect(message)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    assert "another" in error.value.details()


def test_the_request_id_comes_back(server):
    message = request(max_tokens=1)
    assert server.collect(message).accepted.request_id
    message.request_id = "my-request"
    assert server.collect(message).accepted.request_id == "my-request"
