"""The adapter through which lm-evaluation-harness drives a server, with a stand-in for the harness itself."""

import importlib.util
import sys
import types

import pytest

from e2e import harness

PROMPT = "The capital of France is"


class Request:
    def __init__(self, *arguments):
        self.args = arguments


def _module(name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


@pytest.fixture(scope="module")
def adapter_module():
    stand_ins = {
        "lm_eval": _module("lm_eval"),
        "lm_eval.api": _module("lm_eval.api"),
        "lm_eval.api.model": _module("lm_eval.api.model", LM=object),
        "lm_eval.api.registry": _module("lm_eval.api.registry", register_model=lambda name: lambda cls: cls),
    }
    path = harness.ROOT / "client/harness/sieve_lm.py"
    spec = importlib.util.spec_from_file_location("sieve_lm", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name, stand_in in stand_ins.items():
            patch.setitem(sys.modules, name, stand_in)
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def lm(server, adapter_module):
    return adapter_module.SieveLM(address=server.address, concurrency=4)


def test_what_the_harness_adds_is_taken(server, adapter_module):
    """lm_eval 0.4.13's evaluator gives these to every model, but for those that are None."""
    adapter_module.SieveLM(address=server.address, batch_size=1, max_batch_size=8, device="cuda:0")


def test_a_misspelt_argument_is_refused(server, adapter_module):
    with pytest.raises(TypeError, match="adaptor"):
        adapter_module.SieveLM(address=server.address, adaptor="tuned")


def test_an_adapter_that_the_server_has_not_is_refused(server, adapter_module):
    with pytest.raises(ValueError, match="no adapter 'tuned'; it has: none"):
        adapter_module.SieveLM(address=server.address, adapter="tuned")


def _generated(server, max_tokens):
    result = server.collect(harness.request(PROMPT, max_tokens=max_tokens, logprobs=1))
    return result.text[0], [place.chosen.logprob for place in result.logprobs[0]]


def test_likelihood_of_what_the_model_says(server, lm):
    text, logprobs = _generated(server, 5)
    (likelihood, greedy), (other, other_greedy) = lm.loglikelihood(
        [Request(PROMPT, text), Request(PROMPT, " a purple xylophone")])
    assert likelihood == pytest.approx(sum(logprobs), abs=1e-3)
    assert greedy
    assert other < likelihood
    assert not other_greedy


def test_spaces_belong_to_the_answer(lm):
    joined, split = lm.loglikelihood([Request(PROMPT, " Paris"), Request(PROMPT + " ", "Paris")])
    assert joined == split


def test_likelihood_without_a_context(lm):
    (likelihood, _), = lm.loglikelihood([Request("", PROMPT)])
    assert -100 < likelihood < 0


def test_generation_until_a_stop(server, lm):
    text, _ = _generated(server, 12)
    stop = text[5:8]
    whole, cut = lm.generate_until([
        Request(PROMPT, {"max_gen_toks": 12, "until": []}),
        Request(PROMPT, {"max_gen_toks": 12, "until": [stop]}),
    ])
    assert whole == text
    assert cut == text[:text.index(stop)]


def test_a_long_context_loses_its_beginning(server, lm):
    limit = server.stub.GetModel(harness.pb.GetModelRequest()).limits.max_context_tokens
    tokens = list(range(100, 120)) * (limit // 20 + 1)
    assert len(lm._clipped(tokens, 7)) == limit - 7
    assert lm._clipped(tokens, 7)[-3:] == tokens[-3:]
    assert lm._clipped([1, 2], 7) == [1, 2]
