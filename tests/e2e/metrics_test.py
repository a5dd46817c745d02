"""Metrics of a server at work: the scrape and the documents name the same things, and the accounts of the cache add up."""

import random
import re
import threading
import time

import grpc

from e2e import harness
from e2e.conftest import SMALL_CACHE

ATTRIBUTED = "sieve_kv_attributed_bytes"
ACTIVE = 'sieve_kv_bytes{state="active"}'
# Their series are those of loaded adapters, of which this server has none.
OF_ADAPTERS = {"sieve_adapter_load_seconds", "sieve_adapter_requests_total"}


def test_a_scrape_has_what_is_documented_and_nothing_else(server):
    server.metrics()  # the HTTP server's own figures come with the second scrape
    scraped = {re.sub(r"_(bucket|sum|count)$", "", re.sub(r"\{.*", "", name))
               for name in server.metrics()}
    document = (harness.ROOT / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `((?:sieve|process|exposer)_\w+)` \| (?:counter|gauge|histogram|summary) ",
                                document, re.MULTILINE))
    assert scraped == documented - OF_ADAPTERS


def test_startup_is_told_by_phase(server):
    metrics = server.metrics()
    phases = {phase: metrics[f'sieve_startup_seconds{{phase="{phase}"}}']
              for phase in ("checkpoint", "tokenizer", "model", "listen")}
    assert all(0 < seconds < 60 for seconds in phases.values()), phases


class Load:
    """Threads that keep asking for something until it is told to stop: shared and distinct prompts, several samples,
    cancellations and deadlines."""

    def __init__(self, server, threads, seed):
        self._server = server
        self._stop = threading.Event()
        self.ended = 0
        self._threads = [threading.Thread(target=self._run, args=(random.Random(seed + i),))
                         for i in range(threads)]

    def _run(self, rng):
        shared = [(7 * i) % 1000 + 1000 for i in range(200)]
        while not self._stop.is_set():
            own = [rng.randrange(1000, 40000) for _ in range(rng.randrange(1, 80))]
            prompt = shared[:rng.choice((0, 64, 100, 200))] + own
            call = self._server.stub.Generate(
                harness.request(token_ids=prompt, max_tokens=rng.randrange(1, 20), ignore_eos=True,
                                n=rng.choice((1, 1, 2, 3)), temperature=1.0),
                timeout=rng.choice((0.2, 30, 30, 30)))
            try:
                for count, _ in enumerate(call):
                    if rng.random() < 0.01 or (count == 3 and rng.random() < 0.2):
                        call.cancel()
            except grpc.RpcError:
                pass
            self.ended += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_live_requests_account_for_all_active_bytes_at_any_scrape(model_file):
    seed = random.randrange(10**6)
    print("seed", seed)
    with harness.running_server(SMALL_CACHE) as server, Load(server, threads=6, seed=seed) as load:
        scrapes, busy, worst = 0, 0, 0.0
        end = time.monotonic() + 50
        while (load.ended < 30 or busy < 100) and time.monotonic() < end:
            metrics = server.metrics()
            scrapes += 1
            time.sleep(0.01)
            active, attributed = metrics[ACTIVE], metrics[ATTRIBUTED]
            pages = sum(metrics[f'sieve_kv_pages{{state="{state}"}}'] for state in ("free", "active", "cached"))
            assert f'sieve_cache_config_info{{block_size="64",num_gpu_blocks="{pages:.0f}"}}' in metrics
            if active > 0:
                busy += 1
                worst = max(worst, abs(attributed - active) / active)
            else:
                assert attributed == 0
        assert worst <= 0.01, f"{worst:.2%} apart at the worst of {scrapes} scrapes"
        assert busy >= 100 and load.ended >= 10, (busy, load.ended)
        assert metrics["sieve_prefix_cache_hits_total"] > 0  # pages were shared
    print(f"{scrapes} scrapes, {busy} of them busy, worst {worst:.2e}, {load.ended} requests")
