"""Debian's Prometheus watches a served model under load: every expression of every panel and rule is evaluated on what it saw."""

import dataclasses
import math
import time

import pytest

from deploy import dashboards, load, monitoring
from e2e import harness
from e2e.conftest import model_file  # noqa: F401  (a fixture)

SEED = 7


@dataclasses.dataclass
class Run:
    """A loaded server and a Prometheus that saw it all."""
    prometheus: monitoring.Prometheus
    address: str
    codes: dict  # calls by gRPC code, as the clients saw them
    start: float
    end: float

    def has_data(self, expression):
        series = self.prometheus.query_range(expression, self.start, self.end)
        return any(math.isfinite(value) for _, values in series for _, value in values)

    def value(self, expression):
        """The only value of an expression at the end."""
        ((_, value),) = self.prometheus.query(expression, self.end)
        return value


@pytest.fixture(scope="module")
def run(model_file):  # noqa: F811
    del model_file  # there is one
    with harness.running_server(*load.server_flags()) as server, \
            monitoring.running_prometheus(server) as prometheus:
        start = time.time()
        clients = load.Load(server, SEED, timeout=12)
        clients.each_kind()
        clients.poisson(seconds=6, rate=25)
        clients.finish()
        server.wait_until_idle()
        time.sleep(3 * monitoring.SCRAPE_SECONDS)  # a scrape, and the rules that read it
        print(f"seed {SEED}, {time.time() - start:.1f} s of load, calls: {dict(clients.codes)}")
        yield Run(prometheus, server.metrics_url.split("/")[2], clients.codes, start, time.time())


def test_the_target_is_up(run):
    (target,) = run.prometheus.get("targets")["activeTargets"]
    assert target["health"] == "up" and target["lastError"] == ""
    assert target["labels"] == {"job": "sieve", "instance": run.address}
    # A scrape or two may miss its second while the load has both cores.
    assert run.value("avg_over_time(up[1m])") > 0.8


def test_what_prometheus_counted_is_what_the_clients_saw(run):
    def ended(code):
        return run.value(f'sieve_requests_total{{code="{code}"}}')
    assert ended("INVALID_ARGUMENT") == run.codes["INVALID_ARGUMENT"] > 0
    # A call's time may be up before it is sent, or while its answer is under way.
    unsure = run.codes["DEADLINE_EXCEEDED"]
    assert 0 < run.codes["RESOURCE_EXHAUSTED"] <= ended("RESOURCE_EXHAUSTED")
    assert ended("RESOURCE_EXHAUSTED") <= run.codes["RESOURCE_EXHAUSTED"] + unsure
    assert 0 < run.codes["OK"] <= ended("OK") <= run.codes["OK"] + unsure
    calls = sum(run.codes.values())
    assert calls - unsure <= run.value("sum(sieve_requests_total)") <= calls
    assert ended("INTERNAL") == 0


@pytest.mark.parametrize("series", [
    *(f'sieve_admission_rejections_total{{reason="{reason}"}}'
      for reason in ("invalid", "queue_full", "too_large")),
    *(f'sieve_deadline_expiries_total{{phase="{phase}"}}' for phase in ("queue", "prefill", "decode")),
    *(f'sieve_prompt_tokens_total{{source="{source}"}}' for source in ("computed", "cached")),
    *(f'sieve_wasted_tokens_total{{code="{code}"}}' for code in ("CANCELLED", "DEADLINE_EXCEEDED")),
    "sieve_preemptions_total", "sieve_prefix_cache_hits_total", "sieve_generated_tokens_total",
])
def test_the_load_moves(run, series):
    assert run.value(series) > 0


@pytest.mark.parametrize("name", dashboards.NAMES)
def test_every_expression_of_every_panel_returns_data(run, name):
    board = dashboards.load(name)
    empty = [f'{panel["title"]}: {target["expr"]}' for panel, target in dashboards.targets(board)
             if not run.has_data(dashboards.fill_in(target["expr"], instance=run.address))]
    assert not empty, "\n".join(empty)
    for note in board["annotations"]["list"]:
        if "expr" in note:
            run.prometheus.query(dashboards.fill_in(note["expr"], instance=run.address))


def test_the_variable_lists_the_server(run):
    values = run.prometheus.get("label/instance/values", **{"match[]": "sieve_build_info"})
    assert values == [run.address]


def test_every_rule_is_evaluated(run):
    groups = run.prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["type"] for rule in rules} == {"recording", "alerting"}
    for rule in rules:
        assert rule["health"] == "ok" and rule.get("lastError", "") == "", rule
    empty = [rule["name"] for rule in rules
             if rule["type"] == "recording" and not run.has_data(rule["name"])]
    assert not empty
    for rule in rules:
        if rule["type"] == "alerting":
            run.prometheus.query(rule["query"], run.end)


def test_alerts_tell_an_overloaded_server_from_a_broken_one(run):
    """Pending already, or their condition holds, after seconds: the condition holds, the waiting (`for`) is yet to come."""
    alerts = {alert["labels"]["alertname"] for alert in run.prometheus.get("alerts")["alerts"]}
    assert "SieveRejectionRatio" in alerts
    assert not alerts & {"SieveServerDown", "SieveNoServers", "SieveInternalErrors", "SieveEngineStalled",
                         "SieveDrainingStuck", "SieveRestarting", "SieveMemoryGrowth"}
