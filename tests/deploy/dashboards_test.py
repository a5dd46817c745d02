"""The dashboards and what provisions them, by themselves. There is no Grafana here: its own types, and the rules that its JSON must
keep."""

import itertools
import json
import re
import subprocess
import sys

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy import dashboards
from deploy.dashboards import GRAFANA, NAMES

# Grafana's own units, and "suffix:" for others.
UNITS = {"s", "bytes", "percentunit", "reqps", "short"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@pytest.fixture(scope="module", params=NAMES)
def board(request):
    return dashboards.load(request.param)


def test_committed_files_are_what_the_generator_writes():
    done = subprocess.run([sys.executable, "-B", GRAFANA / "generate.py", "--check"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in GRAFANA.glob("dashboards/*")) == sorted(
        f"{name}.json" for name in NAMES)


def _changes(ours, theirs, path=""):
    """What is not the same after a detour through Grafana's types."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from _changes(value, theirs[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), path
        for one, other in zip(ours, theirs):
            yield from _changes(one, other, f"{path}[]")
    elif ours != theirs:
        yield path


def test_every_field_is_one_that_grafana_has(board):
    register_default_plugins()
    theirs = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    # Annotations of Prometheus have fields of their own, and the built-in one a mark, which the types leave out.
    beyond = {f".annotations.list[].{key}" for key in ("builtIn", "titleFormat", "textFormat")}
    assert set(_changes(board, theirs)) <= beyond


def test_dashboards_are_told_apart_and_linked():
    boards = [dashboards.load(name) for name in NAMES]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == 4
    for board in boards:
        assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
        assert board["description"] and board["schemaVersion"] >= 36
        # Each links to all with the tag, and takes the selection along.
        (link,) = board["links"]
        assert link["type"] == "dashboards" and set(link["tags"]) <= set(board["tags"]) != set()
        assert link["includeVars"] and link["keepTime"]


def test_variables(board):
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert list(variables) == ["datasource", "instance"]
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["instance"]["datasource"] == DATASOURCE
    assert variables["instance"]["multi"] and variables["instance"]["includeAll"]
    assert variables["instance"]["query"]["query"] == "label_values(sieve_build_info, instance)"
    for panel, target in dashboards.targets(board):
        assert panel["datasource"] == target["datasource"] == DATASOURCE
        used = set(re.findall(r"\$(\w+|\{\w+\})", target["expr"]))
        assert used <= {"instance", "__rate_interval"}, used


def test_panels_lie_side_by_side(board):
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) and min(ids) > 0
    places = [panel["gridPos"] for panel in board["panels"]]
    for place in places:
        assert place["x"] >= 0 and place["y"] >= 0 and place["w"] > 2 and place["h"] > 2
        assert place["x"] + place["w"] <= 24
    for a, b in itertools.combinations(places, 2):
        apart = (a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
                 or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"])
        assert apart, (a, b)


def test_each_panel_says_what_it_shows(board):
    titles = [panel["title"] for panel in board["panels"] if panel["type"] != "stat"]
    assert len(titles) == len(set(titles))
    for panel in board["panels"]:
        assert panel["type"] in ("timeseries", "stat", "heatmap", "bargauge")
        assert panel["title"] and len(panel["description"]) > 20 and panel["description"][-1] == "."
        unit = panel["fieldConfig"]["defaults"]["unit"]
        assert unit in UNITS or re.fullmatch(r"suffix: ?\S+", unit), unit


def test_targets(board):
    for panel in board["panels"]:
        references = [target["refId"] for target in panel["targets"]]
        assert references and len(references) == len(set(references)), panel["title"]
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert all(legends) and len(legends) == len(set(legends)), panel["title"]
        for target in panel["targets"]:
            expression = target["expr"]
            assert expression.startswith("sieve:objective_") or 'instance=~"$instance"' in expression
            # Labels that the legend names are those that the expression keeps.
            labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))))
            assert labels <= (kept or {"instance"}), expression
            # Rates are of counters, over a window that follows the zoom or that the title's unit is made for.
            assert ("rate(" in expression) == ("[" in expression)
            assert not re.search(r"rate\(\w+(?<!_total)(?<!_bucket)(?<!_sum)(?<!_count)\{", expression)


def test_expressions_are_well_formed(tmp_path):
    """promtool parses them in the shape of recording rules."""
    rules = [{"record": f"checked:{name}:{number}", "expr": dashboards.fill_in(target["expr"])}
             for name in NAMES
             for number, (_, target) in enumerate(dashboards.targets(dashboards.load(name)))]
    rules += [{"record": f"checked:{name}:annotation", "expr": dashboards.fill_in(note["expr"])}
              for name in NAMES for note in dashboards.load(name)["annotations"]["list"]
              if "expr" in note]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stderr


def test_provisioning():
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    (source,) = sources["datasources"]
    scrape = yaml.safe_load((dashboards.ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert sources["apiVersion"] == 1 and source["type"] == "prometheus" and source["isDefault"]
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/sieve.yml").read_text())
    (provider,) = providers["providers"]
    assert providers["apiVersion"] == 1 and provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
