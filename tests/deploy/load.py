"""Open-loop load on a small server, of every kind that its metrics tell apart."""

import collections
import concurrent.futures
import random
import time

import grpc

from e2e.harness import pb, request

def server_flags(kv_cache_mb=20):
    """A queue that can be filled, prompts computed in several steps, and (by default) a cache of 14 pages of 64 tokens, which
    running requests outgrow. The requests below fit into it."""
    return (f"--kv_cache_mb={kv_cache_mb}", "--max_running=8", "--max_queued_requests=16",
            "--max_step_tokens=128")


# More than a page (64 tokens), so that chats find it in the cache.
_SYSTEM = (
    "You are the assistant of a small harbour town. Visitors ask about ferries, tides, walks along the cliffs, the fish "
    "market and the museum of the lighthouse. Answer in a few friendly sentences, name prices and times where you know them, "
    "and say so when you do not. Never invent a ferry that does not run. The harbour office is open from eight until five, "
    "on Sundays until noon. ")
_QUESTIONS = (
    "When does the first ferry leave?", "Is there a path along the cliffs?", "What is sold at the market?",
    "Tell me about the lighthouse.", "Where can I eat?", "How high is the tide tomorrow?")
_WORDS = ("harbour stone gull rope lantern wave salt engine letter morning captain river window bread "
          "north winter paper garden silver road").split()


def _text(rng, words):
    return " ".join(rng.choice(_WORDS) for _ in range(words))


def _chat(rng):
    return request(_SYSTEM + rng.choice(_QUESTIONS), max_tokens=rng.randint(16, 64), temperature=0.8,
                   seed=rng.getrandbits(32), ignore_eos=True), {}


def _urgent(rng):
    return request(_text(rng, 20), max_tokens=8, priority=1), {}


def _batch(rng):
    return request(_text(rng, 60), max_tokens=rng.randint(48, 128), n=2, temperature=1.0,
                   seed=rng.getrandbits(32), priority=-1, ignore_eos=True), {}


def _document(rng):
    return request(_text(rng, rng.randint(150, 400)), max_tokens=32, ignore_eos=True), {}


def _cancelled(rng):
    return request(_text(rng, 30), max_tokens=400, ignore_eos=True), {"cancel_after": rng.randint(3, 30)}


def _hasty(rng):  # out of time while it waits, if there is a queue
    return request(_text(rng, 10), max_tokens=8), {"timeout": 0.1}


def _hasty_document(rng):  # out of time while its prompt is computed, if there is no queue
    return request(_text(rng, 500), max_tokens=8), {"timeout": 0.3}


def _hasty_answer(rng):  # out of time while it is generated, if there is no queue
    return request(_text(rng, 10), max_tokens=600, ignore_eos=True), {"timeout": 1.5}


def _growing(rng):  # a page each to begin with, two at the end: eight of them do not fit
    return request(_text(rng, 40), max_tokens=40, ignore_eos=True), {}


def _invalid(rng):
    return request("x", temperature=rng.choice((-1.0, 1e9))), {}


def _too_large(rng):  # more than the cache holds, less than the model's context
    return request(_text(rng, 3000), max_tokens=8), {}


# Dealt like cards, so that even a short run has some of each.
_DECK = ([_chat] * 9 + [_urgent] * 2 + [_batch] * 2 + [_document] * 2 + [_cancelled] * 2
         + [_hasty, _hasty_document, _hasty_answer, _invalid, _too_large])


class Load:
    """Sends requests; `codes` counts how the calls ended, by gRPC code. `timeout` (s) is for requests without one of their own."""

    def __init__(self, server, seed, timeout=60):
        self._server = server
        self._rng = random.Random(seed)
        self._timeout = timeout
        self._deck = []
        self._pool = concurrent.futures.ThreadPoolExecutor(256)
        self._open = []
        self.codes = collections.Counter()

    def _call(self, message, timeout=None, cancel_after=None):
        deltas = 0
        call = self._server.stub.Generate(message, timeout=timeout or self._timeout)
        try:
            for event in call:
                deltas += event.HasField("delta")
                if deltas == cancel_after:
                    call.cancel()
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    def _send(self, kind):
        message, options = kind(self._rng)
        self._open.append(self._pool.submit(self._call, message, **options))

    def finish(self):
        """Waits for the calls that are open."""
        for call in self._open:
            self.codes[call.result().name] += 1
        self._open.clear()

    def each_kind(self):
        """Each kind of request in a state of the server in which it shows what it is for."""
        for kind in (_chat, _chat, _hasty_document, _hasty_answer, _cancelled, _urgent, _batch,
                     _invalid, _too_large):
            self._send(kind)
            self.finish()
        for _ in range(10):
            self._send(_growing)
        self._server.wait_until(lambda model: model.load.waiting_requests > 0)
        self._send(_hasty)
        self.finish()

    def capacity(self, seconds):
        """Requests a second of the mix when as many are open as run at a time."""
        ended = time.monotonic() + seconds

        def keep_busy(seed):
            kinds, done = random.Random(seed), 0
            while time.monotonic() < ended:
                message, options = kinds.choice(_DECK)(kinds)
                done += self._call(message, **options) == grpc.StatusCode.OK
            return done
        begun = time.monotonic()
        done = sum(self._pool.map(keep_busy, range(8)))
        return max(done, 1) / (time.monotonic() - begun)

    def poisson(self, seconds, rate):
        """An open loop: so many requests a second at random moments, whatever becomes of them."""
        at = time.monotonic()
        end = at + seconds
        while (at := at + self._rng.expovariate(rate)) < end:
            time.sleep(max(0, at - time.monotonic()))
            if not self._deck:
                self._deck = self._rng.sample(_DECK, len(_DECK))
            self._send(self._deck.pop())
        time.sleep(max(0, end - time.monotonic()))
