#!/usr/bin/env python3
"""Times attention by cuDNN, and a copy, both through torch, turn about with our own: one JSON line a shape.

  python3 bench/gpu_peers.py PROGRAMS     where the folder PROGRAMS has cuda_kernels_bench; `bash bench/gpu.sh run peers`

Head dimension 64, 32 query heads on 8 of keys and values, bf16, values distributed as there. cuDNN has keys and values as
[sequences, heads, tokens, 64], which it reads fastest. Needs torch with CUDA.
"""

import json
import pathlib
import statistics
import subprocess
import sys

import gpu_rows

ROUNDS = 3
HEADS, KV_HEADS, HEAD_DIM = 32, 8, 64
# Sequences, context, tokens of each at its end: prompts, and decoding.
SHAPES = ((1, 16384, 16384), (32, 32768, 1), (8, 131072, 1))
COPY_BYTES = 2 << 30
INNER = 8  # launches between two events
TIMEOUT = 60  # seconds, of our program


def missing():
    """Why there is nothing to compare with here, or None."""
    try:
        done = subprocess.run([sys.executable, "-c", "import torch; print(torch.cuda.is_available())"],
                              capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"torch was not to be asked: {error}"
    if done.returncode:
        return f"{sys.executable} has no torch"
    return None if done.stdout.split()[-1:] == ["True"] else f"torch of {sys.executable} sees no CUDA device"


def ours(programs):
    """{shape: µs}, and the copy's bytes a second, of one run of our program."""
    names = ["x".join(map(str, shape)) for shape in SHAPES]
    done = subprocess.run([pathlib.Path(programs, "cuda_kernels_bench"), *names], stdout=subprocess.PIPE, timeout=TIMEOUT,
                          check=True)
    rows = gpu_rows.from_output(done.stdout.decode())
    (copy,) = [row["bytes_per_s"] for row in rows if row["measurement"] == "copy"]
    return {(row["sequences"], row["context"], row["tokens"]): row["us"]
            for row in rows if row["measurement"] == "attention"}, copy


class Peers:
    """Torch's side."""

    def __init__(self):
        # The rest of this file is of use where there is no torch.
        import torch
        import torch.nn.attention
        self.torch = torch
        self.origin = {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
        torch.manual_seed(1)

    def values(self, *sizes):
        """Finite bf16 values of moderate size, at random."""
        bits = self.torch.randint(0, 1 << 31, sizes, dtype=self.torch.int32, device="cuda")
        return ((bits & 0x807f) | (0x3b80 + (bits >> 9 & 0x380))).to(self.torch.int16).view(self.torch.bfloat16)

    def seconds(self, run, repetitions):
        """The median of a call, in the way of cuda_kernels_bench."""
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(3):
            run()
        times = []
        for _ in range(repetitions):
            begin.record()
            for _ in range(INNER):
                run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3 / INNER)
        return statistics.median(times)

    def attend(self, q, k, v, causal):
        attention = self.torch.nn.attention
        with attention.sdpa_kernel(attention.SDPBackend.CUDNN_ATTENTION):
            return self.torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

    def check(self, out, q, k, v):
        """The last token's output against one in floats. ValueError where cuDNN computed something else."""
        group = HEADS // KV_HEADS
        keys, values = (x.float().repeat_interleave(group, 1) for x in (k[:1], v[:1]))
        scores = (q[:1, :, -1:].float() @ keys.transpose(2, 3)) / HEAD_DIM ** 0.5
        want = self.torch.softmax(scores, -1) @ values
        error = (out[:1, :, -1:].float() - want).norm() / want.norm()
        if not error < 0.01:
            raise ValueError(f"cuDNN's attention differs by {error:.2g} from one in floats")

    def attention_us(self, sequences, context, tokens):
        """Always of the same values: those of decoding are larger than the cache, and prompts are bound by arithmetic."""
        q = self.values(sequences, HEADS, tokens, HEAD_DIM)
        k, v = (self.values(sequences, KV_HEADS, context, HEAD_DIM) for _ in range(2))
        causal = tokens > 1  # one token sees all
        self.check(self.attend(q, k, v, causal), q, k, v)
        return 1e6 * self.seconds(lambda: self.attend(q, k, v, causal), 21 if tokens == 1 else 5)

    def copy_bytes_per_s(self):
        source, target = (self.values(COPY_BYTES // 2) for _ in range(2))
        return 2 * COPY_BYTES / self.seconds(lambda: target.copy_(source), 21)


def rows_of(rounds, origin):
    """Of rounds [(our times, our copy, the peer's times, its copy)]: a row with all rounds' values a shape, and the copy's."""
    rows = [{"measurement": "copy_peers", "bytes_per_s": [ours_ for _, ours_, _, _ in rounds], "peer": "torch",
             "peer_bytes_per_s": [peer for _, _, _, peer in rounds]}]
    for shape in SHAPES:
        rows.append({"measurement": "attention_peers", **dict(zip(("sequences", "context", "tokens"), shape)),
                     "us": [ours_[shape] for ours_, _, _, _ in rounds], "peer": "cuDNN",
                     "peer_us": [peer[shape] for _, _, peer, _ in rounds]})
    return [{**row, **origin} for row in rows]


def main():
    peers = Peers()
    rounds = []
    for _ in range(ROUNDS):
        our_times, our_copy = ours(sys.argv[1])
        peer_times = {shape: round(peers.attention_us(*shape), 2) for shape in SHAPES}
        peer_copy = peers.copy_bytes_per_s()
        peers.torch.cuda.empty_cache()  # our program wants memory too
        rounds.append((our_times, our_copy, peer_times, float(f"{peer_copy:.4g}")))
    for row in rows_of(rounds, peers.origin):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
