"""Adapters as an application uses them: stock grpcio, the server's and the client's programs, the default model."""

import subprocess
import threading

import grpc
import pytest

from e2e import harness
from e2e.harness import ROOT, pb, request

# Sink, two before, two chosen and its own: a token reads at most six blocks exactly.
READS = 6 * 64
PROMPT = [(37 * i) % 1000 + 1000 for i in range(700)]


@pytest.fixture(scope="module")
def root(model_file, tmp_path_factory):
    """A folder of two adapters without parameters."""
    folder = tmp_path_factory.mktemp("adapters")
    for selector in ("mean", "quest"):
        done = subprocess.run(
            [ROOT / "bazel-bin/model/adapter/adapter_tool", "init", f"--model={model_file}",
             f"--out={folder}/{selector}", f"--selector={selector}", "--window_blocks=2", "--selected_blocks=2"],
            capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def served(root):
    with harness.running_server("--device=cpu", "--kv_cache_mb=128", f"--adapter=first={root}/mean",
                                f"--adapter_root={root}") as server:
        yield server


@pytest.fixture
def server(served):
    """With nothing loaded but `first`, before and after."""
    yield served
    for adapter in served.stub.ListAdapters(pb.ListAdaptersRequest(), timeout=10).adapters:
        if adapter.name != "first":
            served.stub.UnloadAdapter(pb.UnloadAdapterRequest(name=adapter.name), timeout=10)
    served.wait_until_idle()


def ask(adapter=None, tokens=8, prompt=None):
    """Drawn, not greedy: the best token after such a prompt is often the same."""
    message = request(token_ids=PROMPT if prompt is None else prompt, max_tokens=tokens, ignore_eos=True,
                      temperature=1.0, seed=11)
    if adapter:
        message.adapter = adapter
    return message


def names(server):
    return [adapter.name for adapter in server.model().adapters]


def test_with_and_without(server):
    bare = server.collect(ask())
    sparse = server.collect(ask("first"))
    assert sparse.accepted.cached_prompt_tokens == 0, "nothing of the bare model's"
    assert bare.tokens[0] != sparse.tokens[0]
    assert server.tokens(ask()) == bare.tokens[0]
    reads, all_read = sparse.finished[0].reads, bare.finished[0].reads
    assert all_read.exact_keys == all_read.causal_keys == 30 * 707 * 708 // 2
    assert reads.causal_keys == all_read.causal_keys
    # Every token beyond 384 reads five blocks and its own.
    exact = sum(min(t + 1, READS - 64 + t % 64 + 1) for t in range(707))
    assert reads.exact_keys == 30 * exact
    assert reads.choice_bytes > 0 and reads.entry_bytes == 0
    # A short context is read whole, so nothing differs.
    assert server.tokens(ask("first", prompt=PROMPT[:100])) == server.tokens(ask(prompt=PROMPT[:100]))


def test_all_say_what_was_read(server):
    server.collect(ask("first"))
    (info,) = server.model().adapters
    assert info.name == "first" and info.selector == "mean"
    assert 0.5 < info.reads.exact_keys / info.reads.causal_keys < 1
    assert len(info.layer_density) == 30
    assert info.layer_density[7] == pytest.approx(info.reads.exact_keys / info.reads.causal_keys)
    # One mean of 64 channels in two bytes for each of 30 layers and 3 heads; no index, no entries.
    summary = info.summary_bytes_per_page
    assert (summary.statistics, summary.index, summary.entries) == (30 * 3 * 128, 0, 0)
    metrics = server.metrics()
    exact = metrics['sieve_attention_keys_total{adapter="first",read="exact"}']
    assert exact == info.reads.exact_keys
    assert exact + metrics['sieve_attention_keys_total{adapter="first",read="other"}'] == info.reads.causal_keys
    assert metrics['sieve_kv_read_bytes_total{kind="choice"}'] > 0
    server.wait_for_log("adapter=first")
    line = [line for line in server.log().splitlines() if "adapter=first" in line][-1]
    assert " density=0." in line and " cache_bytes_read=" in line
    done = harness.sieve("info", address=server.address)
    assert "first (read " in done.stdout


def test_loading_and_unloading_do_not_disturb_a_running_stream(server):
    alone = server.tokens(ask("first", tokens=60))
    stream = iter(server.stub.Generate(ask("first", tokens=60), timeout=60))
    result = harness.Result()
    for event in stream:
        result.add(event)
        if len(result.tokens.get(0, ())) == 5:
            loaded = server.stub.LoadAdapter(pb.LoadAdapterRequest(name="second", folder="quest"), timeout=30)
            assert loaded.adapter.selector == "quest"
            assert names(server) == ["first", "second"]
            other = server.tokens(ask("second"))
            server.stub.UnloadAdapter(pb.UnloadAdapterRequest(name="second"), timeout=10)
            assert names(server) == ["first"]
    assert result.tokens[0] == alone
    assert other != server.tokens(ask())


def test_an_unloaded_adapter_answers_those_who_have_it(server):
    server.stub.LoadAdapter(pb.LoadAdapterRequest(name="quest"), timeout=30)
    alone = server.tokens(ask("quest", tokens=40))
    stream = server.stub.Generate(ask("quest", tokens=40), timeout=60)
    result = harness.Result()
    result.add(next(stream))
    server.stub.UnloadAdapter(pb.UnloadAdapterRequest(name="quest"), timeout=10)
    with pytest.raises(grpc.RpcError) as error:
        server.collect(ask("quest"))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND and "first" in error.value.details()
    # Another under the same name meanwhile.
    server.stub.LoadAdapter(pb.LoadAdapterRequest(name="quest", folder="mean"), timeout=30)
    for event in stream:
        result.add(event)
    assert result.tokens[0] == alone
    assert server.tokens(ask("quest", tokens=40)) == server.tokens(ask("first", tokens=40))


def test_mixed_batches_answer_as_each_alone(server):
    """Of one token, of a special token over and over, of one token 500 times (ties), and of every adapter."""
    eos = server.model().tokenizer.eos_token_ids[0]
    server.stub.LoadAdapter(pb.LoadAdapterRequest(name="quest"), timeout=30)
    messages = [ask(adapter, tokens=6, prompt=prompt)
                for prompt in ([1000], [eos], [eos] * 500, [1234] * 500, PROMPT[:449])
                for adapter in (None, "first", "quest")]
    alone = [server.tokens(message) for message in messages]
    together = [None] * len(messages)

    def run(i):
        together[i] = server.tokens(messages[i])
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(messages))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


@pytest.mark.parametrize("name, folder, code", [
    ("none", "none", grpc.StatusCode.NOT_FOUND), ("a", "..", grpc.StatusCode.INVALID_ARGUMENT),
    ("first", "mean", grpc.StatusCode.ALREADY_EXISTS)])
def test_what_cannot_be_loaded(server, name, folder, code):
    with pytest.raises(grpc.RpcError) as error:
        server.stub.LoadAdapter(pb.LoadAdapterRequest(name=name, folder=folder), timeout=30)
    assert error.value.code() == code


def test_compare(server, tmp_path):
    (tmp_path / "prompt").write_text("A river. " * 300)
    done = harness.sieve("compare", "--adapter=first", f"--prompt_file={tmp_path}/prompt", "--max_tokens=5",
                         address=server.address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("--- bare model ---\n") and "\n--- first ---\n" in done.stdout
    assert "keys read" in done.stderr and "100 %" in done.stderr
    done = harness.sieve("compare", "--adapter=none", "--max_tokens=5", "Hello", address=server.address)
    assert done.returncode == 1
    assert "sieve: none: NOT_FOUND" in done.stderr and "--- bare model ---" in done.stdout
