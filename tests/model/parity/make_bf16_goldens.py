#!/usr/bin/env python3
"""Makes goldens/bf16.json: float32 logits of Hugging Face transformers, and how far its own bf16 is from them.

    venv/bin/python tests/model/parity/make_bf16_goldens.py --model SmolLM2-135M-Instruct.Q4_1.gguf

with the virtual environment of make_goldens.py; a few minutes on two idle cores, 9 GB of memory. Two models:

    smollm2   the weights of the GGUF file, dequantised
    llama     the shape of bench/models/llama_3.2_1b.json with the weights that model/checkpoint/random_fill.cc makes
              of seed 0 (`--random_weights`), which NormalBf16 below computes too

Of each row of logits the file holds the greatest ones, a fixed pseudo-random subset, and the logarithm of the sum of the
exponentials of all. The yardstick is the same model converted to bf16 (`model.bfloat16()`), eager attention: `deviation`
below, on the same rows and ids. A test computes the same of the CUDA engine in bf16.
"""

import argparse
import json
import math
import os

import numpy as np
import torch
from make_goldens import GOLDEN_RATIO, MASK, load_gguf, mix, random_bits
from prompts import PROMPTS
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

LLAMA_CONFIG = "bench/models/llama_3.2_1b.json"
LLAMA_TOKENS = 32
SMOLLM2_ROWS = 48
TOP = 32
SUBSET = 96
LEAST_REST = 1e-6  # of a row's probability: what is rounded off may be more than what is left


# --- The random weights of model/checkpoint/random_fill.cc


def random_key(seed, name):
    key = mix((seed + GOLDEN_RATIO) & MASK)
    for byte in name.encode():
        key = mix(((key ^ byte) + GOLDEN_RATIO) & MASK)
    return key


def upper_quantile(p):
    low, high = 0.0, 9.0
    for _ in range(60):
        middle = (low + high) / 2
        if 1 - math.erfc(middle / math.sqrt(2)) / 2 < p:
            low = middle
        else:
            high = middle
    return low


class NormalBf16:
    """Four values of 12 bits each from one hash of a counter."""

    BITS = 12
    CHUNK = 1 << 22

    def __init__(self, deviation):
        half = 1 << (self.BITS - 1)
        upper = [deviation * upper_quantile(0.5 + (i + 0.5) / (2 * half)) for i in range(half)]
        values = torch.tensor([-value for value in reversed(upper)] + upper, dtype=torch.float32)
        self.values = values.bfloat16().float().numpy()

    def fill(self, key, out):
        """`out`: a flat float32 tensor."""
        out = out.numpy()
        for begin in range(0, out.size, 4 * self.CHUNK):
            part = out[begin : begin + 4 * self.CHUNK]
            counters = np.arange(begin // 4, (begin + part.size + 3) // 4, dtype=np.uint64)
            bits = mix(np.uint64(key) + np.uint64(GOLDEN_RATIO) * counters)
            shifts = np.arange(0, 64, 16, dtype=np.uint64)
            indices = (bits[:, None] >> shifts) & np.uint64((1 << self.BITS) - 1)
            part[:] = self.values[indices.reshape(-1)[: part.size]]


def random_llama():
    with open(LLAMA_CONFIG, encoding="utf-8") as file:
        deviation = json.load(file)["initializer_range"]
    config = LlamaConfig.from_json_file(LLAMA_CONFIG)
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    # Rotations are no parameters: they are computed on a real device.
    rotary = type(model.model.rotary_emb)(config)
    model = model.to_empty(device="cpu").float().eval()
    model.model.rotary_emb = rotary
    model.tie_weights()
    normal = NormalBf16(deviation)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # tied weights appear once
            if parameter.dim() == 1:
                parameter.fill_(1)
            else:
                normal.fill(random_key(0, name), parameter.data.view(-1))
    return model


# --- Logits


@torch.inference_mode()
def logits_of(model, tokens, positions):
    hidden = model.model(torch.tensor([tokens])).last_hidden_state[0, positions]
    return model.lm_head(hidden).float()


def ids_of(logits):
    subset = random_bits(0, "bf16 subset", SUBSET) % np.uint64(logits.shape[-1])
    top = torch.topk(logits, TOP).indices.tolist()
    return top + sorted(set(subset.tolist()) - set(top))


class Deviation:
    """Of rows of logits from golden ones; bf16_test.cc computes the same."""

    def __init__(self):
        self.differences, self.kl, self.rows, self.same_top = [], [], 0, 0

    def add(self, row, golden):
        ids, want = golden["ids"], torch.tensor(golden["values"], dtype=torch.float64)
        got = row.double()[ids]
        self.differences += (got - want).abs().tolist()
        self.kl.append(divergence(want, golden["log_sum"], got, torch.logsumexp(row.double(), 0).item()))
        self.same_top += int(row.argmax().item() == ids[0])
        self.rows += 1

    def summary(self):
        return {"max": max(self.differences), "mean": sum(self.differences) / len(self.differences),
                "kl": sum(self.kl) / len(self.kl), "same_top": self.same_top, "rows": self.rows}


def divergence(want, want_log_sum, got, got_log_sum):
    """Kullback-Leibler, of the tokens whose logits are given and of all others as one."""
    p, q = want - want_log_sum, got - got_log_sum
    rest_p, rest_q = (max(1 - log.exp().sum().item(), LEAST_REST) for log in (p, q))
    return (p.exp() * (p - q)).sum().item() + rest_p * math.log(rest_p / rest_q)


def golden_rows(logits, positions):
    rows = []
    for position, row in zip(positions, logits):
        ids = ids_of(row)
        rows.append({"position": position, "ids": ids,
                     "values": [float(f"{row[i].item():.7g}") for i in ids],
                     "log_sum": float(f"{torch.logsumexp(row.double(), 0).item():.9g}")})
    return rows


def make_case(name, model, tokens, positions):
    rows = golden_rows(logits_of(model, tokens, positions), positions)
    deviation = Deviation()
    for row, golden in zip(logits_of(model.bfloat16(), tokens, positions), rows):
        deviation.add(row, golden)
    print(f"{name}: transformers in bf16 {deviation.summary()}", flush=True)
    return {"name": name, "tokens": tokens, "rows": rows, "deviation": deviation.summary()}


def smollm2_case(path):
    tokenizer = AutoTokenizer.from_pretrained(os.path.dirname(path) or ".", gguf_file=os.path.basename(path))
    tokens = [token for text in PROMPTS.values() for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    positions = [len(tokens) * i // SMOLLM2_ROWS + i % 7 for i in range(SMOLLM2_ROWS)]
    return {"model": os.path.basename(path), **make_case("smollm2", load_gguf(path), tokens, positions)}


def llama_case():
    model = random_llama()
    tokens = (random_bits(0, "llama tokens", LLAMA_TOKENS) % np.uint64(model.config.vocab_size)).tolist()
    return {"config": LLAMA_CONFIG, **make_case("llama", model, tokens, list(range(LLAMA_TOKENS)))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="SmolLM2's GGUF file")
    args = parser.parse_args()
    cases = [smollm2_case(args.model), llama_case()]
    path = os.path.join(os.path.dirname(__file__), "goldens", "bf16.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"cases": cases}, file, separators=(",", ":"))
        file.write("\n")
    print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
