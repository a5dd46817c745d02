"""What clients say, and what the model answers, stays out of the log."""

import grpc
import pytest

from e2e.harness import pb, request, running_server

MARK = "zyzzyva"  # in no message of ours


def talk(server):
    """Says the mark in every place where a client can say something, also where it is refused."""
    text = f"Repeat after me: {MARK} {MARK} {MARK}"
    said = server.collect(request(text, max_tokens=12, logprobs=3, ignore_eos=True)).text[0]
    server.collect(request(text, chat=True, max_tokens=4))
    server.collect(request(max_tokens=30, stop=[MARK]))
    server.stub.GenerateOnce(request(text, max_tokens=4), timeout=60)
    server.stub.EstimateCost(request(text, max_tokens=4), timeout=60)
    server.stub.Tokenize(pb.TokenizeRequest(text=pb.TextPrompt(text=text.encode())), timeout=60)
    ids = server.stub.Tokenize(pb.TokenizeRequest(text=pb.TextPrompt(text=text.encode())), timeout=60)
    server.stub.Detokenize(pb.DetokenizeRequest(token_ids=ids.token_ids), timeout=60)
    long_text = f"{text} " * 20_000
    for bad in (request(text, max_tokens=-1), request(text, temperature=-1), request(long_text),
                request(text.encode() + b"\xff\xfe", max_tokens=2), request(max_tokens=2, stop=[""] + [MARK] * 100),
                request(max_tokens=2, stop=[MARK * 10_000]),
                pb.GenerateRequest(chat=pb.Chat(messages=[pb.ChatMessage(content=text)]))):
        try:
            server.collect(bad)
        except grpc.RpcError:
            pass
    # Bytes that are no message.
    raw = server.channel.unary_unary("/sieve.v1.Generation/Tokenize")
    with pytest.raises(grpc.RpcError):
        raw(b"\x0a\xff" + text.encode(), timeout=10)
    cancelled = server.stub.Generate(request(text, max_tokens=500, ignore_eos=True), timeout=60)
    next(cancelled)
    cancelled.cancel()
    server.wait_until_idle()
    return said


@pytest.mark.parametrize("flags", [("--log_level=debug",), ("--log_level=debug", "--log_format=json")],
                         ids=["text", "json"])
def test_prompts_and_answers_are_not_logged(model_file, flags):
    with running_server(*flags, "--kv_cache_mb=128") as server:
        said = talk(server)
    log = server.log()  # complete, now that the server is gone
    assert len(said) > 10
    assert "serving" in log, "this is the log"
    assert MARK not in log.lower()
    assert said.strip() not in log
