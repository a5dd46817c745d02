"""Requests that are refused: each gets a fitting code and a message that helps, and the next request works."""

import struct

import grpc
import pytest

from e2e.harness import ROOT, pb, request

INVALID = grpc.StatusCode.INVALID_ARGUMENT
TOO_MUCH = grpc.StatusCode.RESOURCE_EXHAUSTED


def refusal(server, message):
    with pytest.raises(grpc.RpcError) as error:
        server.collect(message, timeout=30)
    return error.value.code(), error.value.details()


@pytest.fixture(autouse=True)
def the_next_request_works(server):
    yield
    assert len(server.tokens(request(max_tokens=2, ignore_eos=True))) == 2



NAN, INFINITY = float("nan"), float("inf")
MAX, MIN = 2**31 - 1, -2**31

REFUSED = {
    "no prompt": (pb.GenerateRequest(), "prompt"),
    "empty text": (request(""), "text"),
    "no token ids": (pb.GenerateRequest(token_ids=pb.TokenIds()), "token"),
    "no messages": (pb.GenerateRequest(chat=pb.Chat()), "messages"),
    "a message without a role": (
        pb.GenerateRequest(chat=pb.Chat(messages=[pb.ChatMessage(content="x")])), "role"),
    "an answer as the last message": (
        pb.GenerateRequest(chat=pb.Chat(messages=[pb.ChatMessage(
            role=pb.ChatMessage.ROLE_ASSISTANT, content="x")])), "ROLE_ASSISTANT"),
    "text that is not UTF-8": (request(b"caf\xe9 au lait"), "UTF-8"),
    "half a character": (request(b"\xf0\x9f\x98"), "UTF-8"),
    "too long a text": (request("word " * 9000), "8192"),
    "too many token ids": (request(token_ids=[1] * 8192), "8192"),
    "a token id too high": (request(token_ids=[1, 49152]), "49152"),
    "a huge token id": (request(token_ids=[MAX]), str(MAX)),
    "a negative token id": (request(token_ids=[-1]), "-1"),
    "temperature NaN": (request(temperature=NAN), "temperature"),
    "temperature infinite": (request(temperature=INFINITY), "temperature"),
    "temperature negative": (request(temperature=-0.5), "temperature"),
    "temperature huge": (request(temperature=1e30), "temperature"),
    "top_k negative": (request(top_k=-1), "top_k"),
    "top_k huge": (request(top_k=MAX), "top_k"),
    "top_p zero": (request(top_p=0.0), "top_p"),
    "top_p above one": (request(top_p=1.5), "top_p"),
    "top_p NaN": (request(top_p=NAN), "top_p"),
    "min_p negative": (request(min_p=-0.1), "min_p"),
    "min_p NaN": (request(min_p=NAN), "min_p"),
    "repetition_penalty zero": (request(repetition_penalty=0.0), "repetition_penalty"),
    "repetition_penalty NaN": (request(repetition_penalty=NAN), "repetition_penalty"),
    "presence_penalty infinite": (request(presence_penalty=-INFINITY), "presence_penalty"),
    "frequency_penalty huge": (request(frequency_penalty=1e9), "frequency_penalty"),
    "max_tokens zero": (request(max_tokens=0), "max_tokens"),
    "max_tokens negative": (request(max_tokens=MIN), "max_tokens"),
    "min_tokens negative": (request(min_tokens=-1), "min_tokens"),
    "min_tokens above max_tokens": (request(max_tokens=4, min_tokens=5), "min_tokens"),
    "no samples": (request(n=0), "num_samples"),
    "too many samples": (request(n=MAX), "num_samples"),
    "negative samples": (request(n=MIN), "num_samples"),
    "logprobs negative": (request(logprobs=-1), "logprobs"),
    "logprobs huge": (request(logprobs=MAX), "logprobs"),
    "priority huge": (request(priority=MAX), "priority"),
    "priority low": (request(priority=MIN), "priority"),
    "logit bias of no token": (
        request(logit_bias=[pb.LogitBias(token_id=MAX, bias=1)]), "logit_bias"),
    "logit bias NaN": (request(logit_bias=[pb.LogitBias(token_id=1, bias=NAN)]), "logit_bias"),
    "logit bias twice": (
        request(logit_bias=[pb.LogitBias(token_id=1, bias=1)] * 2), "logit_bias"),
    "too many logit biases": (
        request(logit_bias=[pb.LogitBias(token_id=i, bias=1) for i in range(5000)]), "logit_bias"),
    "an empty stop text": (request(stop=[""]), "stop_texts"),
    "a long stop text": (request(stop=["x" * 100_000]), "stop_texts"),
    "100,000 stop texts": (request(stop=[f"stop {i}" for i in range(100_000)]), "stop_texts"),
    "a stop id too high": (request(stop_ids=[49152]), "stop_token_ids"),
    "many stop ids": (request(stop_ids=list(range(40_000))), "stop_token_ids"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server, name):
    message, part = REFUSED[name]
    code, details = refusal(server, message)
    assert code == INVALID
    assert part in details
    assert len(details) < 2000, "the message repeats its input"


@pytest.mark.parametrize("seconds, nanos", [(-1, 0), (0, 0), (2**62, 0), (0, -5), (1, 2**31 - 1)])
def test_timeouts(server, seconds, nanos):
    message = request(max_tokens=1)
    message.timeout.seconds, message.timeout.nanos = seconds, nanos
    code, details = refusal(server, message)
    assert code == INVALID and "timeout" in details


@pytest.mark.parametrize("request_id", ["", "x" * 129, "line\nbreak", "naïve"])
def test_request_ids(server, request_id):
    message = request(max_tokens=1)
    message.request_id = request_id
    code, details = refusal(server, message)
    assert code == INVALID and "request_id" in details


def test_largest_max_tokens_is_cut_to_the_context(server):
    """Not an error: the context is the limit."""
    ids = [1] * 8190
    message = request(token_ids=ids[:200], max_tokens=MAX, stop=["."])
    with pytest.raises(grpc.RpcError) as error:
        # The cache of this server is smaller than the context, so that it could never be held whole.
        server.collect(message)
    assert error.value.code() == TOO_MUCH


def test_a_prompt_that_the_cache_could_never_hold(server):
    code, details = refusal(server, request(token_ids=[1] * 8000, max_tokens=1))
    assert code == TOO_MUCH
    assert "page" in details or "cache" in details


def test_a_message_of_100_mb(server):
    code, details = refusal(server, request("x" * 100_000_000))
    assert code == TOO_MUCH
    assert "larger" in details


def raw_call(server, data):
    """Sends bytes as a GenerateRequest; returns the last event or raises."""
    call = server.channel.unary_stream(
        "/sieve.v1.Generation/Generate", request_serializer=lambda data: data,
        response_deserializer=pb.GenerateEvent.FromString)
    return list(call(data, timeout=30))


@pytest.mark.parametrize("data", [b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x07", b"\x0a\x05ab", b"\x07"])
def test_bytes_that_are_no_message(server, data):
    with pytest.raises(grpc.RpcError) as error:
        raw_call(server, data)
    assert error.value.code() == INVALID


def test_a_string_field_that_is_not_utf8(server):
    stop = pb.GenerateRequest(text=pb.TextPrompt(text=b"x")).SerializeToString()
    stop += b"\x2a\x04\x1a\x02\xff\xfe"  # field 5 (stop), its field 3 (stop_texts): two bad bytes
    with pytest.raises(grpc.RpcError) as error:
        raw_call(server, stop)
    assert error.value.code() == INVALID


def test_unknown_fields_are_passed_over(server):
    """A newer client's fields, with numbers as large as they come."""
    data = request(max_tokens=2, ignore_eos=True).SerializeToString()
    data += b"\x98\x06" + b"\xff" * 9 + b"\x01"                 # field 99, 2^64 - 1
    data += b"\xa1\x06" + struct.pack("<d", NAN)                # field 100, a double
    data += b"\xaa\x06" + b"\xa0\x8d\x06" + b"z" * 100_000      # field 101, bytes
    events = raw_call(server, data)
    assert events[-1].HasField("finished")


def test_numbers_beyond_their_type(server):
    """num_samples (field 6) as a varint of 2^31, which an int32 reads as negative."""
    data = request(max_tokens=2).SerializeToString() + b"\x30\x80\x80\x80\x80\x08"
    with pytest.raises(grpc.RpcError) as error:
        raw_call(server, data)
    assert error.value.code() == INVALID
    assert "num_samples" in error.value.details()


@pytest.mark.parametrize("message, part", [
    (pb.TokenizeRequest(), "text"),
    (pb.TokenizeRequest(text=pb.TextPrompt(text=b"\xff")), "UTF-8"),
    (pb.TokenizeRequest(chat=pb.Chat()), "messages"),
], ids=["nothing", "not UTF-8", "no messages"])
def test_tokenize(server, message, part):
    with pytest.raises(grpc.RpcError) as error:
        server.stub.Tokenize(message, timeout=10)
    assert error.value.code() == INVALID
    assert part in error.value.details()


@pytest.mark.parametrize("token", [-1, 49152, MAX, MIN])
def test_detokenize(server, token):
    with pytest.raises(grpc.RpcError) as error:
        server.stub.Detokenize(pb.DetokenizeRequest(token_ids=[1, token]), timeout=10)
    assert error.value.code() == INVALID
    assert str(token) in error.value.details()


def test_a_method_that_is_not_there(server):
    call = server.channel.unary_unary("/sieve.v1.Generation/Meditate",
                                      request_serializer=lambda data: data,
                                      response_deserializer=lambda data: data)
    with pytest.raises(grpc.RpcError) as error:
        call(b"", timeout=10)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
