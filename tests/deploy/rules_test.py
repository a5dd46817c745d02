"""The Prometheus configuration and rules by themselves: promtool, and what promtool does not look at."""

import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RULE_FILES = sorted(PROMETHEUS.glob("rules/*.yml"))
RULE_TESTS = sorted(PROMETHEUS.glob("tests/*.yml"))


def promtool(*arguments):
    done = subprocess.run(["promtool", *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def rules(kind):
    """All rules with the key `record` or `alert`."""
    return [rule for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"]
            for rule in group["rules"] if kind in rule]


def rule_test_cases():
    return [case for file in RULE_TESTS for case in yaml.safe_load(file.read_text())["tests"]]


def test_configuration():
    assert f"{len(RULE_FILES)} rule files found" in promtool("check", "config",
                                                            PROMETHEUS / "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", *RULE_FILES)


def test_rules():
    assert RULE_TESTS
    promtool("test", "rules", *RULE_TESTS)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    fires, rests = set(), set()
    for case in rule_test_cases():
        for check in case.get("alert_rule_test", ()):
            (fires if check.get("exp_alerts") else rests).add(check["alertname"])
    names = {rule["alert"] for rule in rules("alert")}
    assert fires == rests == names


def test_series_of_the_cases_have_the_labels_that_a_scrape_gives():
    for case in rule_test_cases():
        for series in case["input_series"]:
            assert 'job="' in series["series"] and 'instance="' in series["series"], series


def test_names_of_recorded_series():
    names = [rule["record"] for rule in rules("record")]
    assert len(names) == len(set(names))
    for name in names:
        assert re.fullmatch(r"sieve:objective_\w+|instance:sieve_\w+:\w+|instance:sieve_\w+_bytes",
                            name), name


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_alerts_say_what_happens_and_what_to_do(rule):
    assert re.fullmatch(r"Sieve[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    # A condition over some minutes by itself needs no waiting on top.
    assert "for" in rule or re.search(r"(increase|changes)\(", rule["expr"])
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert len(notes["summary"]) < 90 and notes["description"].endswith(".")
    # A heading's anchor is its text in lower case.
    page, _, anchor = notes["runbook_url"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [heading.lower() for heading in headings]
    assert anchor == rule["alert"].lower()


def test_each_section_of_the_runbook_is_of_an_alert():
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in rules("alert"))
