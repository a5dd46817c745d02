"""Grafana's JSON for a dashboard out of what differs between panels: title, unit, description, expressions.

Only what Grafana (10 and later) needs or what differs from its own defaults is written.
"""

import dataclasses

GRID_WIDTH = 24
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Colours by Grafana's names, for series that mean the same everywhere.
OBJECTIVE = "objective"
GOOD, WARN, BAD = "green", "orange", "red"
CODE_COLOURS = {"OK": GOOD, "CANCELLED": "blue", "DEADLINE_EXCEEDED": "purple",
                "INVALID_ARGUMENT": "yellow", "RESOURCE_EXHAUSTED": WARN, "INTERNAL": BAD}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel. `targets` is (legend, expression) for each; the legend may name labels: "{{code}}"."""
    title: str
    unit: str
    description: str
    targets: tuple
    kind: str = "timeseries"  # "stat", "heatmap", "bargauge"
    stacked: bool = False
    minimum: float | None = 0
    maximum: float | None = None
    # (value, colour) from which a value is worse; drawn as lines, or as the colour of a stat.
    thresholds: tuple = ()
    decimals: int | None = None


def objective(name):
    """The target that draws an objective of rules/recording.yml."""
    return OBJECTIVE, f"sieve:objective_{name}"


def _thresholds(panel):
    steps = [{"color": GOOD, "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in panel.thresholds]
    return {"mode": "absolute", "steps": steps}


def _defaults(panel):
    defaults = {"unit": panel.unit, "thresholds": _thresholds(panel)}
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"group": "A", "mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
    for key, value in (("min", panel.minimum), ("max", panel.maximum),
                       ("decimals", panel.decimals)):
        if value is not None:
            defaults[key] = value
    return defaults


def _override(series, properties):
    return {"matcher": {"id": "byName", "options": series},
            "properties": [{"id": key, "value": value} for key, value in properties.items()]}


def _fixed(colour):
    return {"mode": "fixed", "fixedColor": colour}


def _overrides(panel):
    overrides = []
    legends = {legend for legend, _ in panel.targets}
    if "{{code}}" in legends:
        overrides += [_override(code, {"color": _fixed(colour)})
                      for code, colour in CODE_COLOURS.items()]
    if OBJECTIVE in legends:
        overrides.append(_override(OBJECTIVE, {
            "color": _fixed(BAD),
            "custom.fillOpacity": 0,
            "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
            "custom.stacking": {"group": "A", "mode": "none"}}))
    return overrides


def _options(panel):
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {
        "timeseries": {
            "legend": {"calcs": ["mean", "max"], "displayMode": "list", "placement": "bottom",
                       "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"colorMode": "value", "graphMode": "area", "justifyMode": "auto",
                 "reduceOptions": reduced, "textMode": "value"},
        "bargauge": {"displayMode": "basic", "orientation": "horizontal",
                     "reduceOptions": reduced, "showUnfilled": True},
        "heatmap": {"calculate": False, "cellGap": 1, "showValue": "never",
                    "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
                    "cellValues": {"unit": "ops"}, "yAxis": {"unit": panel.unit},
                    "legend": {"show": True}, "tooltip": {"show": True, "yHistogram": False}},
    }[panel.kind]


def _target(index, panel, legend, expression):
    target = {"refId": chr(ord("A") + index), "datasource": _DATASOURCE, "expr": expression,
              "legendFormat": legend, "editorMode": "code", "range": panel.kind != "bargauge",
              "instant": panel.kind == "bargauge"}
    if panel.kind == "heatmap":
        target["format"] = "heatmap"
    return target


def _panel(number, panel, place):
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "gridPos": place,
        "datasource": _DATASOURCE,
        "targets": [_target(i, panel, legend, expression)
                    for i, (legend, expression) in enumerate(panel.targets)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
    }


def _lay_out(rows):
    """Each row's panels side by side in equal widths; rows of stats are half as high."""
    top, number = 0, 0
    for row in rows:
        width = GRID_WIDTH // len(row)
        height = 4 if all(panel.kind == "stat" for panel in row) else 8
        for column, panel in enumerate(row):
            number += 1
            yield _panel(number, panel,
                         {"x": column * width, "y": top, "w": width, "h": height})
        top += height


def _variables():
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
         "refresh": 1, "hide": 0},
        {"name": "instance", "label": "Server", "type": "query", "datasource": _DATASOURCE,
         "query": {"query": "label_values(sieve_build_info, instance)", "refId": "instance"},
         "multi": True, "includeAll": True, "refresh": 2, "sort": 1, "hide": 0,
         "current": {"text": ["All"], "value": ["$__all"], "selected": True}},
    ]


def _annotations():
    return [
        {"name": "Annotations & Alerts", "type": "dashboard", "builtIn": 1, "enable": True,
         "hide": True, "iconColor": "rgba(0, 211, 255, 1)",
         "datasource": {"type": "grafana", "uid": "-- Grafana --"}},
        {"name": "Alerts", "enable": True, "iconColor": BAD, "datasource": _DATASOURCE,
         "expr": 'ALERTS{alertname=~"Sieve.+", alertstate="firing", instance=~"$instance"}',
         "titleFormat": "{{alertname}}", "textFormat": "{{instance}}"},
    ]


def dashboard(name, description, rows):
    """The dashboard "Sieve / Name", as a JSON object, with links to those with the tag `sieve`."""
    return {
        "uid": f"sieve-{name}",
        "title": f"Sieve / {name.capitalize()}",
        "description": description,
        "tags": ["sieve"],
        "schemaVersion": 38,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "title": "Sieve", "tags": ["sieve"], "asDropdown": False,
                   "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "external link",
                   "tooltip": "", "url": ""}],
        "templating": {"list": _variables()},
        "annotations": {"list": _annotations()},
        "panels": list(_lay_out(rows)),
    }
