"""Rows of the GPU benchmarks: read from recorded output, found again, and made into tables."""

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import gpu_rows  # noqa: E402  the path must be known first
import gpu_table  # noqa: E402

# Of model_bench, with a warning before and the line after cut short.
OUTPUT = """W1128 15:50:00 weights are random
{"cache_type":"bf16","device":"cuda:0","engine":"sieve","measurement":"prompt_128","model":"llama_3.2_1b","unit":"tokens/s","values":[51200.0]}
{"cache_type":"bf16","context_tokens":1024,"device":"cuda:0","engine":"sieve","generated_tokens":64,"measurement":"decode_1_streams","model":"llama_3.2_1b","sampling":{"temperature":0.0,"top_p":1.0},"unit":"tokens/s","values":[960.5,961.2]}
[1, 2]
{"cache_type":"bf16","context_tok"""

SPREAD = {"count": 2, "mean": 2.0, "p50": 1.9, "p90": 2.1, "p95": 2.2, "p99": 2.5, "p99.9": 2.5, "max": 2.5}
REPORT = {
    "measurement": "bench",
    "parameters": {"concurrency": 8, "requests": 16, "warmup": "0", "prompt_tokens": 1000, "max_tokens": 256,
                   "temperature": 0.800000011920929, "seed": 1},
    "server": {"model": "llama_3.2_1b", "version": "0.1.0", "weight_type": "bf16", "cache_type": "bf16"},
    "requests": {"offered": 16, "by_code": {"OK": 16}, "cached_prompt_tokens": 0},
    "measured_seconds": 1.1573, "tokens_per_second": 3539.3625, "time_to_first_token_ms": SPREAD,
    "inter_token_ms": SPREAD, "end_to_end_ms": SPREAD, "rejection_ms": {"count": 0}}


def test_rows_are_the_objects_among_the_lines():
    assert [row["measurement"] for row in gpu_rows.from_output(OUTPUT)] == ["prompt_128", "decode_1_streams"]


def test_a_report_gives_the_keys_of_the_rows_that_there_are():
    row = gpu_rows.of_bench(REPORT)
    assert row["temperature"] == 0.8 and row["tokens_per_second"] == 3539.3625
    committed = gpu_rows.read(ROOT / "bench/results/cuda_server.jsonl")[0]
    assert set(committed) - {"gpu", "date", "command"} <= set(row)


def test_a_report_with_a_failed_request_is_refused():
    requests = {**REPORT["requests"], "by_code": {"OK": 15, "INTERNAL": 1}}
    with pytest.raises(ValueError, match="of 16 requests .*INTERNAL"):
        gpu_rows.of_bench({**REPORT, "requests": requests})


def test_appended_rows_are_read_back(tmp_path):
    file = tmp_path / "made/rows.jsonl"
    assert gpu_rows.read(file) == []
    gpu_rows.append(file, [{"a": 1}])
    gpu_rows.append(file, [{"a": 2}])
    assert gpu_rows.read(file) == [{"a": 1}, {"a": 2}]


def decode(streams, context, rate, gpu="NVIDIA H200", **more):
    return {"measurement": f"decode_{streams}_streams", "context_tokens": context, "values": [rate], "gpu": gpu,
            "date": "2026-11-28", **more}


def drawn(temperature):
    return {"sampling": {"temperature": temperature, "top_p": 1.0}}


def test_the_latest_row_with_these_values():
    rows = [decode(8, 1024, 1, **drawn(0.0)), decode(8, 1024, 2), decode(8, 1024, 3, **drawn(0.0)),
            decode(8, 1024, 4, **drawn(1.0)), decode(8, 1024, 5, gpu="NVIDIA H100 80GB HBM3", **drawn(0.0)),
            decode(8, 32000, 6, **drawn(0.0))]

    def rate(gpu="H200", **wanted):
        row = gpu_rows.latest(rows, gpu, measurement="decode_8_streams", context_tokens=1024, **wanted)
        return row and row["values"][0]

    assert rate(temperature=0) == 3 and rate(temperature=1) == 4 and rate(temperature=None) == 2
    assert rate("H100", temperature=0) == 5 and rate("A100", temperature=0) is None


def lines_of(markdown):
    return {cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
            for cells in (line.split("|") for line in markdown.splitlines())}


def test_the_model_table():
    rows = [decode(1, 1024, 1000.0, **drawn(0.0)), decode(2, 1024, 1500.0), decode(128, 1024, 20000.0, **drawn(1.0)),
            {"measurement": "prompt_8192", "values": [81920.0, 163840.0, 409600.0], "gpu": "NVIDIA H200",
             "date": "2026-11-27"}]
    lines = lines_of(gpu_table.model_table({"model": rows}, "H200"))
    assert lines["1 stream × 1K, ms a token"] == ["1", "1.44", "0.522", "2026-11-28"]
    assert lines["2 streams × 1K, logits to the host, tokens/s"][:2] == ["1,500", ""]
    assert lines["128 streams × 1K, tokens/s"][:2] == ["", "25,800"]
    assert lines["128 streams × 1K, temperature 1, tokens/s"][:2] == ["20,000", "25,800"]
    assert lines["prompt of 8K, ms"] == ["50", "39", "20.6", "2026-11-27"]


def test_the_service_table():
    origin = {"gpu": "NVIDIA H200", "date": "2026-11-28"}
    idle = {**REPORT, "parameters": {**REPORT["parameters"], "concurrency": 1, "prompt_tokens": 128},
            "time_to_first_token_ms": {**SPREAD, "p50": 2.75}}
    server = [{**gpu_rows.of_bench(report), **origin} for report in (REPORT, idle)]
    server.append({"measurement": "startup", "values": [6.25], **origin})
    lines = lines_of(gpu_table.service_table({"server": server, "model": [decode(8, 1024, 4000.0)]}, "H200"))
    assert lines["between tokens, median, ms"] == ["", "1.9", "", ""]
    assert lines["a step of `model_bench --sample` at 1K, ms"] == ["", "2", "", ""]
    assert lines["first token of a prompt of 128, median, ms"][0] == "2.75"
    assert lines["from exec to ready, random weights made meanwhile, s"][0] == "6.25"


def test_the_kernels_table():
    row = {"measurement": "attention", "gpu": "NVIDIA H200", "sequences": 1, "context": 2048, "tokens": 2048,
           "us": 37.13, "of_copy": 0.013, "tflops": 115.8, "date": "2026-11-28"}
    lines = lines_of(gpu_table.kernels_table({"kernels": [row]}, "H200"))
    assert lines["prompt attention 2K, 8K, 16K, 32K"] == ["37.1 / – / – / –", "116 / – / – / – TFLOP/s", "2026-11-28"]


def test_the_peers_table():
    origin = {"gpu": "NVIDIA H200", "date": "2026-11-28"}
    rows = [{"measurement": "attention_peers", "sequences": 32, "context": 32768, "tokens": 1, "us": [500, 480, 510],
             "peer": "cuDNN", "peer_us": [470, 400, 460], **origin},
            {"measurement": "copy_peers", "bytes_per_s": [4e12, 4.2e12, 4.1e12], "peer": "torch",
             "peer_bytes_per_s": [4.1e12, 4.1e12, 3e12], **origin}]
    lines = lines_of(gpu_table.peers_table({"kernels": rows}, "H200"))
    assert lines["decode attention 32 × 32K, cuDNN"] == ["500 µs", "460 µs", "0.92", "2026-11-28"]
    assert lines["copy, reads and writes, by torch"] == ["4.1 TB/s", "4.1 TB/s", "1", "2026-11-28"]
    assert lines["prompt attention 16K"] == ["", "", "", ""]


def test_tables_go_between_their_marks():
    document = "a\n<!-- gpu_table.py: model -->\nold\n<!-- end -->\nb\n"
    new = gpu_table.write_into(document, {"model": "| new |"})
    assert new == "a\n<!-- gpu_table.py: model -->\n\n| new |\n\n<!-- end -->\nb\n"
    assert gpu_table.write_into(new, {"model": "| new |"}) == new
    with pytest.raises(ValueError, match="mark service, found 0"):
        gpu_table.write_into(document, {"service": ""})


def test_the_document_has_a_mark_for_each_table():
    gpu_table.write_into(gpu_table.DOCUMENT.read_text(), {name: "" for name in gpu_table.TABLES})


def test_the_document_has_the_tables_of_the_latest_rows():
    document = gpu_table.DOCUMENT.read_text()
    assert gpu_table.write_into(document, gpu_table.tables(ROOT / "bench/results", "H200")) == document
