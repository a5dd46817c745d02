"""Rules and dashboards ask for metrics, labels and buckets that the server has, by docs/metrics.md (which a scrape is checked
against)."""

import functools
import pathlib
import re

import pytest
import yaml

from deploy import dashboards

ROOT = pathlib.Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>gauge|counter|histogram|summary) \| (?P<labels>[^|]*) \|",
                  re.MULTILINE)
_BOUNDS = re.compile(r"^\| `(\w+)` \| ([0-9][0-9e., -]*) \|$", re.MULTILINE)
# Labels that a target or a rule has beside the metric's own.
_GIVEN = {"job", "instance"}


@functools.cache
def documented():
    """{metric: (type, {label: set of values})}; no values: any."""
    metrics = {}
    for row in _ROW.finditer((ROOT / "docs/metrics.md").read_text()):
        labels = {}
        for entry in filter(None, row["labels"].strip().split("; ")):
            name, _, values = entry.partition(": ")
            labels[name.strip("`")] = set(filter(None, values.split(", ")))
        metrics[row["name"]] = (row["type"], labels)
    return metrics


@functools.cache
def _rules():
    return [rule for file in sorted(ROOT.glob("deploy/prometheus/rules/*.yml"))
            for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def expressions():
    boards = [target["expr"] for name in dashboards.NAMES
              for _, target in dashboards.targets(dashboards.load(name))]
    return sorted({*boards, *(rule["expr"] for rule in _rules())})


def selectors(expression):
    """(name, [(label, value or alternatives)]) of each series that an expression reads, but for `up`."""
    for name, matchers in re.findall(r"(?<![\w:])((?:sieve_|sieve:|process_|instance:)[\w:]+)(?:{([^}]*)})?",
                                     expression):
        yield name, re.findall(r'(\w+)=~?"([^"]*)"', matchers)


def test_the_table_is_read():
    metrics = documented()
    assert len(metrics) > 40
    assert metrics["sieve_kv_pages"] == ("gauge", {"state": {"active", "cached", "free"}})
    assert metrics["sieve_generated_tokens_total"] == ("counter", {})


@pytest.mark.parametrize("expression", expressions())
def test_expressions_read_what_there_is(expression):
    metrics = documented()
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    for name, matchers in selectors(expression):
        if ":" in name:
            assert name in recorded
            continue
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        kind, labels = metrics[base] if base in metrics else metrics[name]
        assert (kind == "histogram") == (name != base), f"{name} is a {kind}"
        for label, values in matchers:
            if label in _GIVEN:
                continue
            assert label in labels, f"{name} has no label {label}"
            unknown = set(values.split("|")) - labels[label]
            assert not unknown, f"{label} of {name} is never one of {unknown}"


def test_objectives_are_bounds_of_buckets():
    """Elsewhere the percentile that is compared with them is interpolated."""
    bounds = {name: [float(bound) for bound in values.split(",")]
              for name, values in _BOUNDS.findall((ROOT / "docs/metrics.md").read_text())}
    objectives = {rule["record"].removeprefix("sieve:objective_"): rule["expr"]
                  for rule in _rules() if rule.get("record", "").startswith("sieve:objective_")}
    for histogram in ("time_to_first_token_seconds", "inter_token_latency_seconds"):
        assert float(objectives[histogram][len("vector("):-1]) in bounds[f"sieve_{histogram}"]
