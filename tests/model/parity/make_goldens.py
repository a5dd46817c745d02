#!/usr/bin/env python3
"""Makes the golden values in goldens/ with Hugging Face transformers and the gguf package.

    python3 -m venv venv
    venv/bin/pip install torch==2.11.0 transformers safetensors gguf numpy
    venv/bin/python tests/model/parity/make_goldens.py --model SmolLM2-135M-Instruct.Q4_1.gguf

A few minutes on two idle cores, most of it greedy decoding. What it makes:

    tiny_llamas.json  logits of random small Llamas. The weights are not stored: each is a function
                      of seed, tensor name and index (random_tensor below), which
                      tests/testdata/tiny_weights.cc computes too.
    smollm2.json      logits of SmolLM2 and greedily generated tokens. The weights are those of the
                      GGUF file, dequantised.
    dequantize.json   blocks of every storage type with their values.

Everything runs in float32 on the CPU with eager attention. Of each row of logits a file holds the
greatest ones, a fixed pseudo-random subset, the Euclidean norm and the greatest magnitude.

A greedy sequence depends on the order in which float32 sums are taken wherever its two best logits
nearly tie. Each sequence is therefore computed twice, with sums in different orders: token by token
in one batch with the other prompts, and all at once on its own. A prompt whose two sequences differ
cannot serve and is listed under "excluded". The smallest gap between the two best logits, relative
to the greatest magnitude, is recorded with each sequence.
"""

import argparse
import base64
import hashlib
import json
import os

import gguf
import numpy as np
import torch
from prompts import PROMPTS
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

GOLDEN_RATIO = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
TOP = 8
SUBSET = 64


# --- Random weights


def mix(x):
    """The output function of splitmix64, on Python integers or arrays of uint64."""
    if isinstance(x, int):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        return x ^ (x >> 31)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random_bits(seed, name, count):
    """Number i depends on seed, name and i alone."""
    hashed = 0xCBF29CE484222325  # FNV-1a of the name
    for byte in name.encode():
        hashed = ((hashed ^ byte) * 0x100000001B3) & MASK
    key = mix((seed * GOLDEN_RATIO + hashed) & MASK)
    return mix(np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN_RATIO))


def random_tensor(seed, name, shape):
    """Matrices: uniform of variance 1 / columns; norms: 1 ± 0.25; biases: ± 0.25."""
    count = int(np.prod(shape))
    uniform = (random_bits(seed, name, count) >> np.uint64(40)).astype(np.float32)
    uniform = uniform * np.float32(2.0**-23) - np.float32(1)
    scale = np.float32(np.sqrt(3.0 / shape[-1])) if len(shape) == 2 else np.float32(0.25)
    offset = np.float32(1 if len(shape) == 1 and name.endswith("weight") else 0)
    return torch.from_numpy((offset + scale * uniform).reshape(shape))


# --- Logits


def describe_logits(logits, subset):
    """What a golden file holds of one row of logits."""
    top = torch.topk(logits, TOP).indices.tolist()
    ids = top + [i for i in subset if i not in top]
    return {
        "ids": ids,
        "values": [float(f"{logits[i].item():.8g}") for i in ids],
        "norm": float(f"{torch.linalg.vector_norm(logits.double()).item():.8g}"),
        "max_abs": float(f"{logits.abs().max().item():.8g}"),
    }


def subset_of(vocabulary_size):
    ids = random_bits(0, "subset", SUBSET) % np.uint64(vocabulary_size)
    return sorted(set(ids.tolist()))


@torch.inference_mode()
def golden_rows(model, tokens, positions):
    logits = model(torch.tensor([tokens])).logits[0]
    subset = subset_of(logits.shape[-1])
    return [{"position": p, **describe_logits(logits[p], subset)} for p in positions]


# --- Small Llamas

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

# Name, query heads, key/value heads, head dimension, what differs from the defaults of tiny_spec.
TINY = [
    ("gqa1_dim64_tied", 3, 3, 64, {}),
    ("gqa3_dim64_untied", 6, 2, 64, {"tied": False}),
    ("gqa4_dim80_untied", 8, 2, 80, {"tied": False, "hidden_size": 80}),
    ("gqa8_dim128_tied", 8, 1, 128, {}),
    ("gqa1_dim80_tied", 2, 2, 80, {"hidden_size": 160, "num_layers": 1}),
    ("gqa3_dim128_untied", 3, 1, 128, {"tied": False}),
    ("gqa4_dim64_attention_bias", 4, 1, 64, {"attention_bias": True, "tied": False}),
    ("gqa8_dim64_all_biases", 8, 1, 64, {"attention_bias": True, "mlp_bias": True}),
    ("gqa4_dim64_llama3_scaling", 8, 2, 64, {"rope_scaling": LLAMA3, "rope_theta": 500000.0}),
    ("gqa3_dim80_llama3_scaling", 3, 1, 80,
     {"rope_scaling": {**LLAMA3, "factor": 32.0, "high_freq_factor": 3.0}, "tied": False}),
    ("gqa1_dim64_linear_scaling", 2, 2, 64,
     {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
]


def tiny_spec(index, heads, kv_heads, head_dim, changes):
    return {
        "seed": 100 + index,
        "hidden_size": 96,
        "intermediate_size": 176,
        "num_layers": 3,
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": head_dim,
        "vocabulary_size": 300,
        "context_length": 512,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tied": True,
        "attention_bias": False,
        "mlp_bias": False,
        **changes,
    }


def tiny_model(spec):
    config = LlamaConfig(
        hidden_size=spec["hidden_size"],
        intermediate_size=spec["intermediate_size"],
        num_hidden_layers=spec["num_layers"],
        num_attention_heads=spec["num_heads"],
        num_key_value_heads=spec["num_kv_heads"],
        head_dim=spec["head_dim"],
        vocab_size=spec["vocabulary_size"],
        max_position_embeddings=spec["context_length"],
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": spec["rope_theta"],
                         **(spec["rope_scaling"] or {})},
        tie_word_embeddings=spec["tied"],
        attention_bias=spec["attention_bias"],
        mlp_bias=spec["mlp_bias"],
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # tied weights appear once
            parameter.copy_(random_tensor(spec["seed"], name, tuple(parameter.shape)))
    return model


def make_tiny():
    cases = []
    for index, (name, heads, kv_heads, head_dim, changes) in enumerate(TINY):
        spec = tiny_spec(index, heads, kv_heads, head_dim, changes)
        # Past the original length of the scaled ones, and past page borders.
        length = 400 if spec["rope_scaling"] else 150
        positions = [0, 1, 63, 64, 65, length - 1] + ([250, 320] if spec["rope_scaling"] else [])
        tokens = random_bits(spec["seed"], "tokens", length) % np.uint64(spec["vocabulary_size"])
        tokens = tokens.tolist()
        rows = golden_rows(tiny_model(spec), tokens, sorted(positions))
        cases.append({"name": name, "spec": spec, "tokens": tokens, "rows": rows})
        print(f"tiny {name}: greatest logit {max(r['max_abs'] for r in rows):.3f}")
    return {"cases": cases}


# --- SmolLM2

HF_NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def hf_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{HF_NAMES[parts[2]]}.{parts[3]}"
    return f"{HF_NAMES[parts[0]]}.{parts[1]}"


def undo_interleaving(weight, heads):
    """GGUF rotates rows 2i and 2i + 1 of a head together, Hugging Face i and i + head_dim/2."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def load_gguf(path):
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields[key].contents()
    config = LlamaConfig(
        hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"),
        num_attention_heads=field("llama.attention.head_count"),
        num_key_value_heads=field("llama.attention.head_count_kv"),
        vocab_size=len(field("tokenizer.ggml.tokens")),
        max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=float(field("llama.attention.layer_norm_rms_epsilon")),
        rope_parameters={"rope_type": "default",
                         "rope_theta": float(field("llama.rope.freq_base"))},
        tie_word_embeddings=not any(t.name == "output.weight" for t in reader.tensors),
        attn_implementation="eager",
    )
    weights = {}
    for tensor in reader.tensors:
        value = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if "attn_q." in tensor.name:
            value = undo_interleaving(value, config.num_attention_heads)
        elif "attn_k." in tensor.name:
            value = undo_interleaving(value, config.num_key_value_heads)
        weights[hf_name(tensor.name)] = torch.from_numpy(np.ascontiguousarray(value))
    model = LlamaForCausalLM(config).float().eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model


@torch.inference_mode()
def greedy(model, prompts, count):
    """For each prompt `count` tokens, end-of-sequence ignored, and the smallest relative gap.

    The prompts run as one batch, padded on the left.
    """
    length = max(len(prompt) for prompt in prompts)
    inputs = torch.tensor([[0] * (length - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    generated, gaps, cache = [], torch.full([len(prompts)], float("inf")), None
    for _ in range(count):
        output = model(inputs, attention_mask=mask, position_ids=positions, past_key_values=cache,
                       use_cache=True, logits_to_keep=1)
        cache, logits = output.past_key_values, output.logits[:, -1]
        best = torch.topk(logits, 2).values
        gaps = torch.minimum(gaps, (best[:, 0] - best[:, 1]) / logits.abs().amax(1))
        inputs = logits.argmax(1, keepdim=True)
        generated.append(inputs)
        mask = torch.cat([mask, torch.ones_like(inputs)], 1)
        positions = positions[:, -1:] + 1
    return torch.cat(generated, 1).tolist(), gaps.tolist()


@torch.inference_mode()
def is_greedy_again(model, prompt, generated):
    """Whether the tokens are the most probable ones too when all are computed at once."""
    logits = model(torch.tensor([prompt + generated])).logits[0]
    return logits[len(prompt) - 1 : -1].argmax(1).tolist() == generated


def make_greedy(model, prompts, count):
    sequences, excluded = [], []
    generated, gaps = greedy(model, list(prompts.values()), count)
    for (name, prompt), tokens, gap in zip(prompts.items(), generated, gaps):
        again = is_greedy_again(model, prompt, tokens)
        print(f"greedy {name}: smallest gap {gap:.2e}, again the same: {again}", flush=True)
        if again:
            sequences.append({"name": name, "prompt": prompt, "generated": tokens,
                              "smallest_gap": float(f"{gap:.3g}")})
        else:
            excluded.append(name)
    return sequences, excluded


def make_smollm2(path):
    model = load_gguf(path)
    tokenizer = AutoTokenizer.from_pretrained(os.path.dirname(path) or ".",
                                              gguf_file=os.path.basename(path))
    prompts = {name: tokenizer(text, add_special_tokens=False)["input_ids"]
               for name, text in PROMPTS.items()}
    everything = [token for prompt in prompts.values() for token in prompt]
    logits = []
    for name, tokens in [*list(prompts.items())[::5], ("everything", everything)]:
        positions = sorted({0, len(tokens) // 2, len(tokens) - 1})
        logits.append({"name": name, "tokens": tokens,
                       "rows": golden_rows(model, tokens, positions)})
    sequences, excluded = make_greedy(model, prompts, 200)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {"model": os.path.basename(path), "sha256": digest, "logits": logits,
            "greedy": sequences, "excluded": excluded}


# --- Dequantising

# Where a block of each type keeps its binary16 scales.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def make_dequantize():
    # An ordinary scale, a negative one, a subnormal one, zero, and the greatest.
    scales = np.array([0.013, -0.75, 3e-6, 0.0, 65504.0], dtype=np.float16)
    cases = []
    for name, offsets in SCALES.items():
        kind = gguf.GGMLQuantizationType[name]
        _, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = (random_bits(0, name, len(scales) * size) >> np.uint64(56)).astype(np.uint8)
        blocks = blocks.reshape(len(scales), size)
        for shift, offset in enumerate(offsets):
            halves = np.roll(scales, shift).reshape(-1, 1).view(np.uint8)
            blocks[:, offset : offset + 2] = halves
        cases.append((name, kind, blocks))
    for name in ("F16", "BF16"):
        halves = (random_bits(0, name, 64) >> np.uint64(48)).astype(np.uint16)
        exponent = np.uint16(0x7C00 if name == "F16" else 0x7F80)
        halves[(halves & exponent) == exponent] &= ~exponent  # finite
        cases.append((name, gguf.GGMLQuantizationType[name], halves.view(np.uint8).reshape(1, -1)))
    text = lambda array: base64.b64encode(array.tobytes()).decode()
    return {"cases": [{"type": name.lower(), "row": text(row),
                       "values": text(gguf.dequantize(row, kind).astype(np.float32))}
                      for name, kind, row in cases]}


def write(folder, name, golden):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")
    print(f"{path}: {os.path.getsize(path)} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="SmolLM2's GGUF file; without it smollm2.json is left alone")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "goldens"))
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    write(arguments.out, "dequantize.json", make_dequantize())
    write(arguments.out, "tiny_llamas.json", make_tiny())
    if arguments.model:
        write(arguments.out, "smollm2.json", make_smollm2(arguments.model))


if __name__ == "__main__":
    main()
