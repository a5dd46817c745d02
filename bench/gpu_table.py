#!/usr/bin/env python3
"""Makes the tables of docs/gpu.md out of bench/results/cuda_*.jsonl: the latest row of each measurement.

  python3 bench/gpu_table.py            prints them
  python3 bench/gpu_table.py --write    puts them into docs/gpu.md, between its marks `<!-- gpu_table.py: NAME -->` and
                                        `<!-- end -->`
"""

import argparse
import pathlib
import re
import statistics

import gpu_rows

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/gpu.md"

# vLLM 0.20 on an H200, bf16, the same shape: ms a token of one stream, tokens/s of several, ms of a prompt.
PEER = "vLLM 0.20 on such a chip"
PEERS = {("decode", 1, 1024): 1.44, ("decode", 1, 32000): 1.69, ("decode", 1, 130000): 2.36,
         ("decode", 32, 1024): 14300, ("decode", 128, 1024): 25800, ("decode", 256, 1024): 48800,
         ("decode", 32, 32000): 3410, ("decode", 8, 130000): 867, ("prompt", 8192): 39, ("prompt", 32768): 253}

# What an H200 could do, by its data sheet: read weights, keys and values once, or multiply (bf16) without a pause.
BYTES_PER_SECOND, FLOPS = 4.8e12, 989e12
LAYER_PARAMETERS, HEAD_PARAMETERS = 16 * 60.8e6, 128256 * 2048  # Llama 3.2 1B
TOKEN_BYTES = 16 * 2 * 8 * 64 * 2  # keys and values
ATTENTION_FLOPS = 16 * 4 * 32 * 64  # of a pair of tokens

CONTEXTS = {1024: "1K", 32000: "32K", 130000: "128K", 128: "128", 8192: "8K", 32768: "32K"}
DECODES = ((1, 1024, 0), (1, 32000, 0), (1, 130000, 0), (2, 1024, 0), (4, 1024, 0), (8, 1024, 0), (32, 1024, 0),
           (128, 1024, 0), (128, 1024, 1), (256, 1024, 0), (32, 32000, 0), (8, 130000, 0))
PROMPTS = (128, 8192, 32768)
CONCURRENCIES = (1, 8, 32, 128)


def number(value):
    """Three significant digits, but whole numbers in full; the empty cell for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(head, lines):
    """Markdown; all but the first column stand to the right. A cell is a text or a number."""
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    rows += [[cell if isinstance(cell, str) else number(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def step_seconds_at_best(streams, context):
    return ((LAYER_PARAMETERS + HEAD_PARAMETERS) * 2 + streams * context * TOKEN_BYTES) / BYTES_PER_SECOND


def prompt_seconds_at_best(tokens):
    multiplies = (2 * LAYER_PARAMETERS * tokens + ATTENTION_FLOPS * tokens * tokens / 2) / FLOPS
    return max(multiplies, step_seconds_at_best(1, 0))


def decode_row(rows, gpu, streams, context, temperature):
    """With drawn tokens; in place of greedy ones, if not measured, the row of a version that copied logits to the host."""
    wanted = {"measurement": f"decode_{streams}_streams", "context_tokens": context}
    row = gpu_rows.latest(rows, gpu, **wanted, temperature=temperature)
    return row or (gpu_rows.latest(rows, gpu, **wanted, temperature=None) if temperature == 0 else None)


def decode_line(rows, gpu, streams, context, temperature):
    row = decode_row(rows, gpu, streams, context, temperature)
    best = step_seconds_at_best(streams, context)
    measured = statistics.median(row["values"]) if row else None
    label = f"{streams} stream{'s' * (streams > 1)} × {CONTEXTS[context]}"
    if temperature:
        label += f", temperature {temperature}"
    if row and "sampling" not in row:
        label += ", logits to the host"
    peer = PEERS.get(("decode", streams, context))
    if streams == 1:
        return [f"{label}, ms a token", measured and 1e3 / measured, peer, best * 1e3, row and row["date"]]
    return [f"{label}, tokens/s", measured, peer, streams / best, row and row["date"]]


def prompt_line(rows, gpu, tokens):
    row = gpu_rows.latest(rows, gpu, measurement=f"prompt_{tokens}")
    return [f"prompt of {CONTEXTS[tokens]}, ms", row and 1e3 * tokens / statistics.median(row["values"]),
            PEERS.get(("prompt", tokens)), prompt_seconds_at_best(tokens) * 1e3, row and row["date"]]


def model_table(files, gpu):
    rows = files["model"]
    lines = [decode_line(rows, gpu, *decode) for decode in DECODES]
    lines += [prompt_line(rows, gpu, tokens) for tokens in PROMPTS]
    return table(["", "Sieve", PEER, "the chip allows", "measured"], lines)


def service_table(files, gpu):
    def of(concurrency, *keys, prompt_tokens=1000):
        value = gpu_rows.latest(files["server"], gpu, measurement="server", concurrency=concurrency,
                                prompt_tokens=prompt_tokens)
        for key in keys:
            value = value and value[key]
        return value

    def step(streams):
        row = decode_row(files["model"], gpu, streams, 1024, 0)
        return row and streams * 1e3 / statistics.median(row["values"])

    lines = [["between tokens, median, ms", *(of(n, "inter_token_ms", "p50") for n in CONCURRENCIES)],
             ["a step of `model_bench --sample` at 1K, ms", *map(step, CONCURRENCIES)],
             ["first token, median, ms", *(of(n, "time_to_first_token_ms", "p50") for n in CONCURRENCIES)],
             ["generated tokens/s, prompts in between", *(of(n, "tokens_per_second") for n in CONCURRENCIES)],
             ["first token of a prompt of 128, median, ms",
              of(1, "time_to_first_token_ms", "p50", prompt_tokens=128), "", "", ""]]
    startup = gpu_rows.latest(files["server"], gpu, measurement="startup")
    lines.append(["from exec to ready, random weights made meanwhile, s", startup and startup["values"][0], "", "", ""])
    return table(["requests at a time", *map(str, CONCURRENCIES)], lines)


def kernels_table(files, gpu):
    rows = files["kernels"]

    def line(label, key, unit, wanted):
        found = [gpu_rows.latest(rows, gpu, **values) for values in wanted]
        times, of_best = (" / ".join(number(row[k]) if row else "–" for row in found) for k in ("us", key))
        return label, times, of_best + unit, ", ".join(sorted({row["date"] for row in found if row}))

    def products(tokens, shapes):
        return [{"measurement": "matmul", "shape": shape, "tokens": tokens} for shape in shapes]

    def attention(tokens, *cases):
        return [{"measurement": "attention", "sequences": sequences, "context": context,
                 "tokens": tokens or context} for sequences, context in cases]

    layer, fused = ("qkv", "o", "gate_up", "down"), ("qkv", "o", "gated", "down")
    long = ((32, 32768), (8, 131072))
    short, lengths = ((1, 1024), (128, 1024), (1, 131072)), [(1, n << 10) for n in (2, 8, 16, 32)]
    lines = [line("one token: qkv, o, gate+up, down, head", "of_copy", "", products(1, (*layer, "head"))),
             line("128 tokens: qkv, o, gate+up with SwiGLU, down", "of_copy", "", products(128, fused)),
             line("8,192 tokens: qkv, o, gate+up with SwiGLU, down", "tflops", " TFLOP/s", products(8192, fused)),
             line("decode attention 32 × 32K, 8 × 128K", "of_copy", "", attention(1, *long)),
             line("decode attention 1 × 1K, 128 × 1K, 1 × 128K", "of_copy", "", attention(1, *short)),
             line("prompt attention 2K, 8K, 16K, 32K", "tflops", " TFLOP/s", attention(0, *lengths))]
    return table(["kernel", "time, µs", "of the copy bandwidth, or rate", "measured"], lines)


def peers_table(files, gpu):
    """Medians of the rounds of one run, in which the two took turns."""
    def line(label, unit, key, **wanted):
        row = gpu_rows.latest(files["kernels"], gpu, **wanted)
        if row is None:
            return [label, None, None, None, ""]
        sieve, peer = (statistics.median(row[name]) for name in (key, f"peer_{key}"))
        if key == "bytes_per_s":
            return [f"{label}, by {row['peer']}", f"{number(sieve / 1e12)} {unit}", f"{number(peer / 1e12)} {unit}",
                    sieve / peer, row["date"]]
        return [f"{label}, {row['peer']}", f"{number(sieve)} {unit}", f"{number(peer)} {unit}", peer / sieve, row["date"]]

    def attention(label, sequences, context, tokens):
        return line(label, "µs", "us", measurement="attention_peers", sequences=sequences, context=context, tokens=tokens)

    lines = [attention("prompt attention 16K", 1, 16384, 16384),
             attention("decode attention 32 × 32K", 32, 32768, 1),
             attention("decode attention 8 × 128K", 8, 131072, 1),
             line("copy, reads and writes", "TB/s", "bytes_per_s", measurement="copy_peers")]
    return table(["", "Sieve", "the peer", "of the peer's speed", "measured"], lines)


def products_table(files, gpu):
    def cell(shape, tokens, key, unit):
        row = gpu_rows.latest(files["kernels"], gpu, measurement="matmul", shape=shape, tokens=tokens)
        return f"{number(row[key])} {unit}" if row else ""

    shapes = {"qkv": "qkv 3072 × 2048", "o": "o 2048 × 2048", "gated": "gate+up, SwiGLU 16384 × 2048",
              "down": "down 2048 × 8192", "head": "head 128256 × 2048"}
    lines = [[f"{tokens:,}", *(cell(shape, tokens, *(("us", "µs") if tokens < 512 else ("tflops", "TFLOP/s")))
                               for shape in shapes)]
             for tokens in (1, 8, 16, 32, 64, 128, 256, 512, 2048, 8192)]
    return table(["tokens", *shapes.values()], lines)


def sampling_table(files, gpu):
    kinds = {"greedy": "greedy", "temperature": "temperature", "min_p_0.05": "min-p 0.05", "top_k_50": "top-k 50",
             "top_p_0.9": "top-p 0.9", "top_k_50_top_p_0.9": "both", "greedy_20_logprobs": "greedy, 20 logprobs"}

    def cell(kind, rows):
        row = gpu_rows.latest(files["kernels"], gpu, measurement="sampling", kind=kind, rows=rows)
        return row and row["us"]

    return table(["rows", *kinds.values()],
                 [[str(rows), *(cell(kind, rows) for kind in kinds)] for rows in (1, 8, 32, 128, 256)])


TABLES = {"model": model_table, "service": service_table, "kernels": kernels_table, "peers": peers_table,
          "products": products_table, "sampling": sampling_table}


def write_into(document, texts):
    """The document with these texts between their marks. ValueError where a mark is missing."""
    for name, text in texts.items():
        pattern = re.compile(rf"(<!-- gpu_table\.py: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        document, count = pattern.subn(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", document)
        if count != 1:
            raise ValueError(f"expected one mark {name}, found {count}")
    return document


def read_all(results):
    """The rows in a folder, by file."""
    return {name: gpu_rows.read(results / f"cuda_{name}.jsonl") for name in ("kernels", "model", "server")}


def tables(results, gpu):
    """Each table's text by its name, of the rows in a folder."""
    files = read_all(results)
    return {name: make(files, gpu) for name, make in TABLES.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench/results", help="folder of the rows")
    parser.add_argument("--gpu", default="H200", help="whose rows: part of its name")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    texts = tables(args.results, args.gpu)
    if args.write:
        DOCUMENT.write_text(write_into(DOCUMENT.read_text(), texts))
    else:
        print("\n\n".join(f"{name}:\n\n{text}" for name, text in texts.items()))


if __name__ == "__main__":
    main()
