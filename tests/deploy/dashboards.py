"""Reads the committed dashboards as Grafana would: panels, and expressions with the variables filled in."""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy/grafana"
NAMES = ("latency", "throughput", "memory", "overload")


def load(name):
    return json.loads((GRAFANA / f"dashboards/{name}.json").read_text())


def targets(board):
    """(panel, target) of each expression."""
    return [(panel, target) for panel in board["panels"] for target in panel["targets"]]


def fill_in(expression, *, instance=".+", rate_interval="10s"):
    """The expression that Grafana sends: the selected servers, and a window of a few scrapes."""
    return (expression.replace("$__rate_interval", rate_interval)
            .replace("$instance", instance))
