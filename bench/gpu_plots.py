#!/usr/bin/env python3
"""Draws the pictures of docs/gpu.md, docs/images/gpu_*.svg, out of bench/results/cuda_*.jsonl: the latest row of each
measurement, as in the tables of gpu_table.py. Needs matplotlib, which the tests have (deploy/setup.sh --tests).

  source deploy/setup.sh && "$(test_venv)/bin/python" bench/gpu_plots.py
"""

import argparse
import pathlib
import statistics

import matplotlib
import matplotlib.figure
import matplotlib.ticker

import gpu_rows
import gpu_table

IMAGES = gpu_table.ROOT / "docs/images"
# The same file of the same rows: no date, no random names; text as text, which is small and can be searched.
STYLE = {"svg.hashsalt": "sieve", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
         "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e3e3",
         "axes.axisbelow": True}
OURS, PEER, LIMIT = "#1f78c1", "#e08b2c", "#6b7076"
CONTEXTS = (1024, 32000, 130000)
STREAMS = (1, 2, 4, 8, 32, 128, 256)


def decode_seconds(files, gpu, streams, context):
    """Of a step, greedily; None where it is not measured."""
    row = gpu_table.decode_row(files["model"], gpu, streams, context, 0)
    return row and streams / statistics.median(row["values"])


def line(axes, label, colour, points, **style):
    """Points whose second value is None are left out."""
    kept = [point for point in points if point[1] is not None]
    if kept:
        axes.plot(*zip(*kept), marker="o", markersize=4, label=label, color=colour, **style)


def logarithmic(axis, values, label=str):
    """A mark and a name for each of the values, and no others."""
    axis.set_major_locator(matplotlib.ticker.FixedLocator(values))
    axis.set_major_formatter(matplotlib.ticker.FixedFormatter([label(value) for value in values]))
    axis.set_minor_locator(matplotlib.ticker.NullLocator())


def draw_context(axes, files, gpu):
    """One stream: ms a token against context."""
    def peer(context):
        return gpu_table.PEERS.get(("decode", 1, context))

    def ours(context):
        seconds = decode_seconds(files, gpu, 1, context)
        return seconds and 1e3 * seconds

    line(axes, gpu_table.PEER, PEER, [(context, peer(context)) for context in CONTEXTS])
    line(axes, "Sieve", OURS, [(context, ours(context)) for context in CONTEXTS])
    line(axes, "read once at 4.8 TB/s", LIMIT,
         [(context, 1e3 * gpu_table.step_seconds_at_best(1, context)) for context in CONTEXTS], linestyle=":")
    logarithmic(axes.xaxis, CONTEXTS, gpu_table.CONTEXTS.get)
    axes.set(title="One stream, Llama 3.2 1B's shape", xlabel="tokens of context", ylabel="ms a token")
    axes.set_ylim(bottom=0)


def draw_streams(axes, files, gpu):
    """Tokens a second against streams, contexts of 1K."""
    def ours(streams):
        seconds = decode_seconds(files, gpu, streams, 1024)
        return seconds and streams / seconds

    def peer(streams):
        value = gpu_table.PEERS.get(("decode", streams, 1024))
        return value and (1e3 / value if streams == 1 else value)

    axes.set_xscale("log")
    axes.set_yscale("log")
    line(axes, "read once at 4.8 TB/s", LIMIT,
         [(n, n / gpu_table.step_seconds_at_best(n, 1024)) for n in STREAMS], linestyle=":")
    line(axes, "Sieve", OURS, [(n, ours(n)) for n in STREAMS])
    line(axes, gpu_table.PEER, PEER, [(n, peer(n)) for n in STREAMS])
    logarithmic(axes.xaxis, STREAMS)
    logarithmic(axes.yaxis, (1000, 3000, 10000, 30000, 100000), "{:,}".format)
    axes.set(title="Streams of 1K, Llama 3.2 1B's shape", xlabel="streams at a time", ylabel="tokens/s together")


def draw_kernels(axes, files, gpu):
    """What decoding's kernels reach of the copy bandwidth that their run measured."""
    def fraction(**wanted):
        row = gpu_rows.latest(files["kernels"], gpu, **wanted)
        return row and row["of_copy"]

    bars = [(f"attention {label}", fraction(measurement="attention", sequences=n, context=context, tokens=1))
            for label, n, context in (("32 × 32K", 32, 32768), ("8 × 128K", 8, 131072), ("128 × 1K", 128, 1024),
                                      ("1 × 128K", 1, 131072), ("1 × 1K", 1, 1024))]
    names = {"gate_up": "gate+up", "gated": "gate+up, SwiGLU"}
    for tokens, shapes in ((1, ("qkv", "o", "gate_up", "down", "head")), (128, ("qkv", "o", "gated", "down", "head"))):
        bars += [(f"{names.get(shape, shape)}, {tokens} token{'s' * (tokens > 1)}",
                  fraction(measurement="matmul", shape=shape, tokens=tokens)) for shape in shapes]
    bars = [(label, value) for label, value in bars if value is not None]
    places = axes.barh([label for label, _ in bars], [value for _, value in bars], color=OURS)
    axes.bar_label(places, fmt="{:.2f}", padding=3, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    axes.axvline(1, color=LIMIT, linestyle=":", zorder=0)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(title="Kernels of decoding", xlabel="bytes a second, of a copy's in the same run", xlim=(0, 1.15))


PICTURES = {"gpu_context": (draw_context, (5, 3.4)), "gpu_streams": (draw_streams, (5, 3.4)),
            "gpu_kernels": (draw_kernels, (6.4, 4.4))}


def draw(files, gpu, folder):
    """Writes each picture into the folder."""
    for name, (fill, size) in PICTURES.items():
        with matplotlib.rc_context(STYLE):
            figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
            axes = figure.add_subplot()
            fill(axes, files, gpu)
            if axes.get_legend_handles_labels()[1]:
                axes.legend(frameon=False)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, default=gpu_table.ROOT / "bench/results",
                        help="folder of the rows")
    parser.add_argument("--gpu", default="H200", help="whose rows: part of its name")
    parser.add_argument("--out", type=pathlib.Path, default=IMAGES, help="folder of the pictures")
    args = parser.parse_args()
    draw(gpu_table.read_all(args.results), args.gpu, args.out)


if __name__ == "__main__":
    main()
