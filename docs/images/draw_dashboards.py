#!/usr/bin/env python3
"""Draws docs/images/dashboard-*.png: what the Grafana dashboards show of five minutes of load.

Starts a server on the default model (one thread) and Debian's Prometheus with the committed configuration, sends the load of
tests/deploy/load.py (a calm minute, a busy one, one of overload, then two of calm again), asks Prometheus for every expression of every
panel, and draws the panels at their places. It takes seven minutes and what the tests need (deploy/setup.sh --tests, built server):

    source deploy/setup.sh && "$(test_venv)/bin/python" docs/images/draw_dashboards.py
"""

import argparse
import datetime
import math
import pathlib
import re
import sys
import time

import matplotlib.dates
import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
from PIL import Image

FOLDER = pathlib.Path(__file__).resolve().parent
plt.switch_backend("agg")  # needs no screen
sys.path.insert(0, str(FOLDER.parents[1] / "tests"))
from deploy import dashboards, load, monitoring
from e2e import harness

PHASES = ((60, 0.3), (60, 0.8), (60, 6), (120, 0.3))  # seconds, requests as a part of what the server can do
STEP_SECONDS = 2
RATE_SECONDS = 30
SEED = 4

# Inches of one cell of Grafana's grid of 24 columns; the gap between panels in cells.
CELL_WIDTH, CELL_HEIGHT, GAP = 0.62, 0.29, 0.12
DPI = 100
INK, FAINT, PAPER = "#24292e", "#8a8f98", "#f2f3f5"
COLOURS = {"green": "#3d9a44", "orange": "#f08c2e", "red": "#d44a3a", "blue": "#3f7fd1",
           "purple": "#8f5fc4", "yellow": "#e0b400"}
PALETTE = ("#6aa84f", "#e0b400", "#3da5c4", "#ef843c", "#d44a3a", "#1f78c1", "#ba43a9", "#705da0",
           "#508642", "#b08a00")


# ------------------------------------------------------------------------------------------------ units

def _scaled(value, steps):
    for size, name in steps:
        if abs(value) >= size:
            return value / size, name
    return value / steps[-1][0], steps[-1][1]


def formatted(value, unit, decimals=None):
    """A value as Grafana writes it: "1.25 s", "64 MiB", "12%"."""
    suffix = ""
    if unit == "s":
        value, suffix = _scaled(value, ((60, " min"), (1, " s"), (1e-3, " ms"), (1e-6, " µs"))) \
            if value else (0, " s")
    elif unit == "bytes":
        value, suffix = _scaled(value, ((1 << 30, " GiB"), (1 << 20, " MiB"), (1 << 10, " KiB"), (1, " B")))
    elif unit == "percentunit":
        value, suffix = value * 100, "%"
    elif unit == "reqps":
        suffix = " req/s"
    elif unit.startswith("suffix:"):
        suffix = " " + unit.removeprefix("suffix:").strip()
    if decimals is None:
        decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        number = f"{value:,.{decimals}f}"
        return (number.rstrip("0").rstrip(".") if "." in number else number) + suffix
    return f"{value:,.{decimals}f}{suffix}"


def _y_axis(axes, unit):
    top = axes.get_ylim()[1]
    if unit == "bytes":
        step = 2 ** max(0, math.ceil(math.log2(max(top, 1) / 4)))
        axes.yaxis.set_major_locator(matplotlib.ticker.MultipleLocator(step))
    else:
        axes.yaxis.set_major_locator(
            matplotlib.ticker.MaxNLocator(4, integer=unit == "short" and top > 2))
    axes.yaxis.set_major_formatter(lambda value, _: formatted(value, unit))


# --------------------------------------------------------------------------------------------- the data

def fetch(prometheus, start, end):
    """{expression: [(labels, [(time, value)])]} of all dashboards."""
    return {target["expr"]: prometheus.query_range(
                dashboards.fill_in(target["expr"], rate_interval=f"{RATE_SECONDS}s"), start, end, STEP_SECONDS)
            for name in dashboards.NAMES for _, target in dashboards.targets(dashboards.load(name))}


def loaded_run():
    with harness.running_server(*load.server_flags(kv_cache_mb=40), "--threads=1") as server, \
            monitoring.running_prometheus(server) as prometheus:
        clients = load.Load(server, SEED)
        capacity = clients.capacity(20)
        print(f"capacity: {capacity:.2f} requests/s", file=sys.stderr)
        server.wait_until_idle()
        time.sleep(RATE_SECONDS)
        start = time.time()
        for seconds, part in PHASES:
            clients.poisson(seconds, part * capacity)
        data = fetch(prometheus, start, time.time())
        clients.finish()
        print("calls:", dict(clients.codes), file=sys.stderr)
        return data


def named_series(panel, data):
    """[(legend, times, values)]; values may be NaN."""
    for target in panel["targets"]:
        for labels, points in data[target["expr"]]:
            legend = re.sub(r"{{(\w+)}}", lambda match, known=labels: known.get(match[1], ""),
                            target["legendFormat"])
            times, values = zip(*points)
            yield legend, np.array(times), np.array(values)


# ------------------------------------------------------------------------------------------- the panels

def all_times(data):
    return np.unique([at for series in data.values() for _, points in series for at, _ in points])


def _on_grid(times, values, grid):
    """The values at the times of the grid, NaN where there is none."""
    known = dict(zip(times, values))
    return np.array([known.get(at, math.nan) for at in grid])


def _times(points):
    return [datetime.datetime.fromtimestamp(at, datetime.timezone.utc) for at in points]


def _time_axis(axes):
    axes.xaxis.set_major_locator(matplotlib.dates.MinuteLocator())
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    axes.tick_params(labelsize=7, colors=FAINT, length=0, pad=2)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.margins(x=0)


def _fixed_colours(panel):
    return {override["matcher"]["options"]: COLOURS[quality["value"]["fixedColor"]]
            for override in panel["fieldConfig"]["overrides"]
            for quality in override["properties"] if quality["id"] == "color"}


def draw_timeseries(axes, panel, data):
    defaults = panel["fieldConfig"]["defaults"]
    fixed = _fixed_colours(panel)
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    series = list(named_series(panel, data))
    grid = all_times(data)
    base = np.zeros(len(grid))
    colours = iter(PALETTE * 3)
    for legend, times, values in series:
        if legend == "objective":
            axes.plot(_times(times), values, color=fixed[legend], linewidth=1, dashes=(6, 4),
                      label=legend)
            continue
        colour = fixed.get(legend) or next(colours)
        line = _on_grid(times, values, grid)
        if stacked:
            top = base + np.nan_to_num(line)
            axes.fill_between(_times(grid), base, top, color=colour, alpha=0.45, linewidth=0)
            axes.plot(_times(grid), np.where(np.isnan(line), math.nan, top), color=colour,
                      linewidth=1.1, label=legend)
            base = top
        else:
            axes.fill_between(_times(grid), 0, line, color=colour, alpha=0.07, linewidth=0)
            axes.plot(_times(grid), line, color=colour, linewidth=1.3, label=legend)
    axes.set_ylim(bottom=defaults.get("min"), top=defaults.get("max"))
    if all(np.nan_to_num(values).max() == 0 for _, _, values in series):
        axes.set_ylim(top=1)
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and defaults["custom"]["thresholdsStyle"]["mode"] != "off":
            axes.axhline(step["value"], color=COLOURS[step["color"]], linewidth=0.9, dashes=(6, 4))
    axes.grid(axis="both", color="#e6e8eb", linewidth=0.6)
    axes.set_axisbelow(True)
    _y_axis(axes, defaults["unit"])
    _time_axis(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.11), ncols=5, fontsize=7, frameon=False,
                handlelength=1.2, columnspacing=1.1, borderpad=0, handletextpad=0.5, labelcolor=INK)


def draw_heatmap(axes, panel, data):
    """Rows are buckets; a bucket's own rate is its cumulative one less that of the bucket below."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    rows = sorted(((float(legend), times, values) for legend, times, values in named_series(panel, data)),
                  key=lambda row: row[0])
    grid = all_times(data)
    cumulative = np.array([np.nan_to_num(_on_grid(times, values, grid)) for _, times, values in rows])
    rates = np.diff(cumulative, axis=0, prepend=0).clip(min=0)
    used = np.flatnonzero(rates.max(axis=1) > 0)
    first, last = (used[0], used[-1] + 1) if len(used) else (0, len(rows))
    shown = np.where(rates[first:last] > 0, rates[first:last], math.nan)
    edges = [rows[first - 1][0] if first else 0] + [bound for bound, _, _ in rows[first:last]]
    mesh = axes.pcolormesh(_times(grid), np.arange(len(edges)), shown[:, :-1], cmap="Oranges",
                           norm=matplotlib.colors.PowerNorm(0.5, vmin=0))
    axes.hlines(range(len(edges)), *axes.get_xlim(), color="white", linewidth=1)
    axes.set_yticks(range(len(edges)), ["∞" if math.isinf(edge) else formatted(edge, unit)
                                        for edge in edges])
    _time_axis(axes)
    bar = axes.figure.colorbar(mesh, ax=axes, location="bottom", fraction=0.035, pad=0.13, aspect=60)
    bar.ax.tick_params(labelsize=6.5, colors=FAINT, length=0, pad=1)
    bar.ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6))
    bar.ax.xaxis.set_major_formatter(lambda value, _: f"{formatted(value, 'short')}/s")
    bar.outline.set_visible(False)


def _last(values):
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else math.nan


def draw_stat(axes, panel, data):
    defaults = panel["fieldConfig"]["defaults"]
    axes.axis("off")
    for _, times, values in named_series(panel, data):
        value = _last(values)
        colour = [step["color"] for step in defaults["thresholds"]["steps"]
                  if step["value"] is None or value >= step["value"]][-1]
        axes.fill_between(times, 0, np.nan_to_num(values), color=COLOURS[colour], alpha=0.15,
                          linewidth=0)
        axes.plot(times, values, color=COLOURS[colour], linewidth=1, alpha=0.7)
        axes.set_ylim(0, max(np.nan_to_num(values).max() * 2.1, 1e-9))
        axes.margins(x=0)
        axes.text(0.5, 0.66, formatted(value, defaults["unit"], defaults.get("decimals")),
                  transform=axes.transAxes, ha="center", va="center", fontsize=17, weight="bold",
                  color=COLOURS[colour])


def draw_bargauge(axes, panel, data):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    bars = [(legend, _last(values)) for legend, _, values in named_series(panel, data)]
    largest = max(1e-9, *(value for _, value in bars))
    axes.barh([legend for legend, _ in bars], [largest] * len(bars), color="#eceef0", height=0.62)
    axes.barh([legend for legend, _ in bars], [value for _, value in bars], color=COLOURS["green"],
              alpha=0.75, height=0.62)
    for row, (_, value) in enumerate(bars):
        axes.text(largest * 1.02, row, formatted(value, unit), va="center", fontsize=9, color=INK)
    axes.set_xlim(0, largest * 1.25)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(labelsize=8, colors=INK, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


DRAW = {"timeseries": draw_timeseries, "heatmap": draw_heatmap, "stat": draw_stat,
        "bargauge": draw_bargauge}
# Room around a panel's axes, in inches: left, right, top, bottom.
MARGINS = {"timeseries": (0.68, 0.15, 0.36, 0.48), "heatmap": (0.68, 0.15, 0.36, 0.2),
           "stat": (0.05, 0.05, 0.3, 0.05), "bargauge": (0.9, 0.1, 0.4, 0.2)}


def draw_board(board, data, target):
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    head = 0.45  # inches
    width, height = 24 * CELL_WIDTH, rows * CELL_HEIGHT + head
    figure = plt.figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    figure.text(0.1 / width, 1 - 0.24 / height, board["title"], fontsize=13, weight="bold", color=INK,
                va="center")
    figure.text(1 - 0.1 / width, 1 - 0.24 / height, board["description"], fontsize=9, color=FAINT,
                va="center", ha="right")
    for panel in board["panels"]:
        place = panel["gridPos"]
        left, panel_width = place["x"] * CELL_WIDTH + GAP / 2, place["w"] * CELL_WIDTH - GAP
        panel_height = place["h"] * CELL_HEIGHT - GAP
        bottom = height - head - (place["y"] + place["h"]) * CELL_HEIGHT + GAP / 2
        figure.add_artist(plt.Rectangle(
            (left / width, bottom / height), panel_width / width, panel_height / height,
            facecolor="white", edgecolor="#dcdfe3", linewidth=0.8, zorder=-1))
        figure.text((left + 0.1) / width, (bottom + panel_height - 0.17) / height, panel["title"],
                    fontsize=9, weight="bold", color=INK, va="center")
        before, after, above, below = MARGINS[panel["type"]]
        axes = figure.add_axes((
            (left + before) / width, (bottom + below) / height,
            (panel_width - before - after) / width, (panel_height - above - below) / height))
        axes.patch.set_alpha(0)
        if any(np.isfinite(values).any() for _, _, values in named_series(panel, data)):
            DRAW[panel["type"]](axes, panel, data)
        else:  # in Grafana's words
            axes.axis("off")
            axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=FAINT)
    figure.savefig(target)
    plt.close(figure)
    # A palette does for flat colours, in a third of the bytes.
    with Image.open(target) as image:
        image.convert("RGB").quantize(200, dither=Image.Dither.NONE).save(target, optimize=True)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    data = loaded_run()
    for name in dashboards.NAMES:
        target = FOLDER / f"dashboard-{name}.png"
        draw_board(dashboards.load(name), data, target)
        print(f"{target.name}: {target.stat().st_size / 1024:.0f} KiB", file=sys.stderr)


if __name__ == "__main__":
    main()
