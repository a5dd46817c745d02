"""What is drawn: seeds, stops, log-probabilities, samples."""

import concurrent.futures
import math

import pytest

from e2e.harness import pb, request, running_server

STORY = "Once upon a time, in a village by the sea,"


def all_at_once(server, messages):
    with concurrent.futures.ThreadPoolExecutor(len(messages)) as pool:
        return list(pool.map(lambda message: server.tokens(message, 120), messages))


def test_a_seed_gives_the_same_tokens_however_it_is_run(server):
    """Alone; in a batch; cut into other chunks, with too few pages, so that sequences are preempted."""
    messages = [
        request(STORY + " there lived a fisherman, and" * (3 * (i % 3)), temperature=0.9, top_p=0.95,
                seed=1000 + i, max_tokens=60, ignore_eos=True, frequency_penalty=0.2)
        for i in range(6)]
    alone = [server.tokens(message) for message in messages]
    assert len({tuple(tokens) for tokens in alone}) == len(messages), "seeds make no difference"
    assert all_at_once(server, messages) == alone
    # 10 MiB are 7 pages of 64 tokens; each of these sequences ends on two.
    with running_server("--kv_cache_mb=10", "--max_step_tokens=24") as tight:
        assert tight.model().cache.total_pages < 10
        assert all_at_once(tight, messages) == alone
        assert tight.metrics()["sieve_preemptions_total"] > 0, "nothing was preempted"
        tight.wait_until_idle()


def test_without_a_seed_answers_differ_and_the_seed_is_told(server):
    message = request(STORY, temperature=1.5, max_tokens=20)
    first, second = server.collect(message), server.collect(message)
    assert first.accepted.seed != second.accepted.seed
    assert first.tokens[0] != second.tokens[0]
    again = request(STORY, temperature=1.5, max_tokens=20, seed=first.accepted.seed)
    assert server.tokens(again) == first.tokens[0]


def test_temperature_zero_is_the_most_probable_token(server):
    result = server.collect(request(STORY, max_tokens=12, logprobs=3))
    for position in result.logprobs[0]:
        assert position.chosen.token_id == position.top[0].token_id


def test_logprobs(server):
    result = server.collect(request(STORY, max_tokens=12, logprobs=5, temperature=1.0, seed=3))
    assert len(result.logprobs[0]) == len(result.tokens[0]) == 12
    for token, position in zip(result.tokens[0], result.logprobs[0]):
        assert position.chosen.token_id == token
        values = [entry.logprob for entry in position.top]
        assert len(values) == 5 and values == sorted(values, reverse=True)
        assert all(value <= 0 for value in values)
        assert sum(math.exp(value) for value in values) <= 1.0001
    assert b"".join(p.chosen.token for p in result.logprobs[0]).decode() == result.text[0]
    # None asked for, none sent; zero alternatives are still log-probabilities.
    assert not server.collect(request(STORY, max_tokens=2)).logprobs[0]
    zero = server.collect(request(STORY, max_tokens=2, logprobs=0)).logprobs[0]
    assert len(zero) == 2 and not zero[0].top


def test_stop_texts_end_the_answer_across_token_borders(server):
    message = request(STORY, max_tokens=40, ignore_eos=True, logprobs=0)
    whole = server.collect(message)
    text = whole.text[0]
    ends, length = [], 0
    for position in whole.logprobs[0]:
        length += len(position.chosen.token)
        ends.append(length)
    # From the middle of one token to the middle of one further on.
    middle = ends[9]
    stop = text[middle - 2:middle + 3]
    stopped = server.collect(request(STORY, max_tokens=40, ignore_eos=True,
                                     stop=["never to be seen", stop]))
    assert stopped.text[0] == text[:text.index(stop)]
    assert stopped.finished[0].reason == pb.FINISH_REASON_STOP_TEXT
    assert stopped.finished[0].stop_text == stop
    assert stopped.tokens[0] == whole.tokens[0][:len(stopped.tokens[0])]
    assert stopped.finished[0].usage.generated_tokens == len(stopped.tokens[0]) < 40


def test_text_held_back_for_a_stop_comes_out_at_the_end(server):
    whole = server.collect(request(STORY, max_tokens=12, ignore_eos=True))
    # The answer ends with what might have become the stop text.
    stop = whole.text[0][-4:] + "\x01"
    held = server.collect(request(STORY, max_tokens=12, ignore_eos=True, stop=[stop]))
    assert held.text[0] == whole.text[0]
    assert held.finished[0].reason == pb.FINISH_REASON_MAX_TOKENS


def test_stop_token_ids(server):
    whole = server.tokens(request(STORY, max_tokens=20, ignore_eos=True))
    stop = whole[7]
    place = whole.index(stop)
    result = server.collect(request(STORY, max_tokens=20, ignore_eos=True, stop_ids=[stop]))
    assert result.tokens[0] == whole[:place + 1]
    assert result.finished[0].reason == pb.FINISH_REASON_STOP_TOKEN


def test_the_model_ends_its_answer_unless_told_not_to(server):
    question = "Answer with one word: what colour is grass?"
    ended = server.collect(request(question, chat=True, max_tokens=100))
    assert ended.finished[0].reason == pb.FINISH_REASON_END_OF_SEQUENCE
    length = len(ended.tokens[0])
    assert length < 100
    assert "<|im_end|>" not in ended.text[0]
    on = server.collect(request(question, chat=True, max_tokens=length + 5, ignore_eos=True))
    assert len(on.tokens[0]) == length + 5
    least = server.collect(request(question, chat=True, max_tokens=length + 5, min_tokens=length + 2))
    assert len(least.tokens[0]) >= length + 2


def test_samples_share_the_prompt_and_differ(server):
    message = request(STORY, max_tokens=16, n=4, temperature=1.0, seed=11, ignore_eos=True)
    result = server.collect(message)
    assert sorted(result.finished) == [0, 1, 2, 3]
    assert len({tuple(tokens) for tokens in result.tokens.values()}) > 1
    assert server.collect(message).tokens == result.tokens
    # Sample i draws from (seed, i), whatever their number.
    fewer = request(STORY, max_tokens=16, n=2, temperature=1.0, seed=11, ignore_eos=True)
    assert server.collect(fewer).tokens == {0: result.tokens[0], 1: result.tokens[1]}


def test_logit_bias_and_top_k(server):
    greedy = server.tokens(request(STORY, max_tokens=1))[0]
    banned = request(STORY, max_tokens=8,
                     logit_bias=[pb.LogitBias(token_id=greedy, bias=-1000)])
    assert greedy not in server.tokens(banned)
    forced = request(STORY, max_tokens=4, temperature=1.0, seed=1,
                     logit_bias=[pb.LogitBias(token_id=100, bias=1000)])
    assert server.tokens(forced) == [100] * 4
    one = request(STORY, max_tokens=8, temperature=5.0, top_k=1, seed=1)
    assert server.tokens(one) == server.tokens(request(STORY, max_tokens=8))


@pytest.mark.parametrize("text", ["Hello, world", "naïve café — 中文 🙂🙂", "<|im_end|>\n\ttabs", "a" * 3000])
def test_tokenize_and_back(server, text):
    tokens = server.stub.Tokenize(pb.TokenizeRequest(text=pb.TextPrompt(text=text.encode())))
    assert b"".join(tokens.tokens).decode() == text
    back = server.stub.Detokenize(pb.DetokenizeRequest(token_ids=tokens.token_ids))
    assert back.text == text


def test_special_tokens_only_where_allowed(server):
    def ids(parse):
        text = pb.TextPrompt(text=b"<|im_end|>", parse_special_tokens=parse)
        return list(server.stub.Tokenize(pb.TokenizeRequest(text=text)).token_ids)
    eos = server.model().tokenizer.eos_token_ids
    assert ids(True)[-1] in eos
    assert not set(ids(False)) & set(eos)
    chat = pb.Chat(messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content="<|im_end|>")])
    marks = list(server.stub.Tokenize(pb.TokenizeRequest(chat=chat)).token_ids)
    plain = pb.Chat(messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content="x")])
    expected = list(server.stub.Tokenize(pb.TokenizeRequest(chat=plain)).token_ids)
    assert sum(id in eos for id in marks) == sum(id in eos for id in expected)
