#!/usr/bin/env python3
"""EleutherAI's lm-evaluation-harness, driving a Sieve server. docs/evaluation.md has the commands.

    pip install lm-eval datasets grpcio grpcio-tools
    python client/harness/sieve_lm.py --model sieve --model_args address=127.0.0.1:50051,adapter=NAME --tasks TASK

All arguments are lm_eval's own. Of --model_args: address (or $SIEVE_ADDRESS), adapter (none: the bare model), ca (a PEM file of roots,
for TLS), concurrency (requests at once, 16), max_gen_toks (where a task does not say, 256). An API key is taken from $SIEVE_API_KEY.

Tasks that generate text and tasks that compare the likelihoods of answers both work. The server tells the likelihood of
tokens that it generates, not of the prompt's; an answer is therefore generated token by token, each forced by a bias, and
its likelihood is that of the model before the bias. What an answer's requests have in common is in the server's cache, so that it
costs a step a token. Whole documents (loglikelihood_rolling) would cost a request a token: `sieve_trainer eval --task perplexity`
measures those.
"""

import concurrent.futures
import importlib
import os
import pathlib
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
FORCED = 1000.0  # the largest bias that a request may have
MAX_MESSAGE = 64 << 20


def api():
    """The modules generated from the public .proto file."""
    folder = tempfile.mkdtemp(prefix="sieve_proto_")
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={folder}", f"--grpc_python_out={folder}",
                 "sieve/v1/generation.proto"]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc failed on {PROTO}/sieve/v1/generation.proto")
    sys.path.insert(0, folder)
    return (importlib.import_module("sieve.v1.generation_pb2"),
            importlib.import_module("sieve.v1.generation_pb2_grpc"))


pb, pb_grpc = api()


@register_model("sieve")
class SieveLM(LM):
    """A server's model, with one of its adapters or none."""

    def __init__(self, address=None, adapter="", ca=None, concurrency=16, max_gen_toks=256, batch_size=None,
                 max_batch_size=None, device=None):
        """The last three the harness adds itself, from options of its own; they are the server's affair. What else --model_args
        holds is an error: misspelt, it would measure another model than was meant."""
        super().__init__()
        self._adapter = str(adapter)
        self._max_gen_toks = int(max_gen_toks)
        self._pool = concurrent.futures.ThreadPoolExecutor(int(concurrency))
        address = address or os.environ.get("SIEVE_ADDRESS", "127.0.0.1:50051")
        options = [("grpc.max_receive_message_length", MAX_MESSAGE)]
        if ca:
            roots = grpc.ssl_channel_credentials(pathlib.Path(ca).read_bytes())
            channel = grpc.secure_channel(address, roots, options)
        else:
            channel = grpc.insecure_channel(address, options)
        key = os.environ.get("SIEVE_API_KEY")
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._stub = pb_grpc.GenerationStub(channel)
        self._model = self._stub.GetModel(pb.GetModelRequest(), metadata=self._metadata)
        adapters = [info.name for info in self._model.adapters]
        if self._adapter and self._adapter not in adapters:
            raise ValueError(f"the server at {address} has no adapter {self._adapter!r}; it has: "
                             f"{', '.join(adapters) or 'none'}")

    @property
    def tokenizer_name(self):
        return self._model.name

    def _tokens(self, text):
        prompt = pb.TextPrompt(text=text.encode())
        reply = self._stub.Tokenize(pb.TokenizeRequest(text=prompt), metadata=self._metadata)
        return list(reply.token_ids)

    def _generate(self, **fields):
        request = pb.GenerateRequest(adapter=self._adapter, **fields)
        return self._stub.GenerateOnce(request, metadata=self._metadata).samples[0]

    def _all(self, function, items):
        futures = [self._pool.submit(function, item) for item in items]
        return [future.result() for future in futures]

    def _clipped(self, tokens, room):
        """The last tokens that leave `room` in the context, as the harness wants it."""
        most = min(self._model.limits.max_context_tokens - room, self._model.limits.max_prompt_tokens)
        return tokens[-most:]

    def _until(self, arguments):
        text, options = arguments
        stops = options.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        max_tokens = int(options.get("max_gen_toks") or self._max_gen_toks)
        greedy = not options.get("do_sample") or not options.get("temperature")
        sampling = pb.SamplingParams(temperature=0.0 if greedy else float(options["temperature"]), seed=1)
        if not greedy and options.get("top_p"):
            sampling.top_p = float(options["top_p"])
        tokens = self._clipped(self._tokens(text), max_tokens)
        return self._generate(token_ids=pb.TokenIds(ids=tokens), sampling=sampling,
                              stop=pb.StopParams(max_tokens=max_tokens, stop_texts=stops)).text

    def generate_until(self, requests, disable_tqdm=False):
        return self._all(self._until, [request.args for request in requests])

    def _encode_pair(self, context, continuation):
        """As the harness does: spaces at the end of the context belong to the continuation."""
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        info = self._model.tokenizer
        first = info.bos_token_id if info.HasField("bos_token_id") else info.eos_token_ids[0]
        if not context:
            tokens = self._tokens(continuation)
            return ([], tokens) if tokens[:1] == [first] else ([first], tokens)
        whole, before = self._tokens(context + continuation), self._tokens(context)
        return before, whole[len(before):]

    def _forced(self, prompt_and_token):
        prompt, token = prompt_and_token
        bias = [pb.LogitBias(token_id=token, bias=FORCED)]
        sample = self._generate(token_ids=pb.TokenIds(ids=prompt),
                                sampling=pb.SamplingParams(temperature=0.0, logit_bias=bias), logprobs=1,
                                stop=pb.StopParams(max_tokens=1, ignore_eos=True))
        place = sample.logprobs[0]
        if place.chosen.token_id != token:
            raise RuntimeError(f"token {token} was to be drawn, not {place.chosen.token_id}")
        return place.chosen.logprob, place.top[0].token_id == token

    def loglikelihood(self, requests, disable_tqdm=False):
        steps, ends = [], []
        for request in requests:
            before, answer = self._encode_pair(*request.args)
            before = self._clipped(before, len(answer) + 1)
            steps += [(before + answer[:i], token) for i, token in enumerate(answer) if before or i]
            ends.append(len(steps))
        done = self._all(self._forced, steps)
        begins = [0, *ends[:-1]]
        return [(sum(logprob for logprob, _ in done[a:b]), all(best for _, best in done[a:b]))
                for a, b in zip(begins, ends)]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError("likelihoods of whole documents: sieve_trainer eval --task perplexity")


def main():
    # After the model is registered.
    from lm_eval.__main__ import cli_evaluate
    cli_evaluate()


if __name__ == "__main__":
    main()
