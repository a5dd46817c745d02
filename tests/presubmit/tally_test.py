"""The totals that tests/run.sh prints are those of what ran, and a run that went wrong never looks right."""

import json
import pathlib
import subprocess
import sys

import pytest

TALLY = pathlib.Path(__file__).resolve().parents[1] / "tally.py"
MIXED = """<testsuites><testsuite>
  <testcase name="a" status="run"/><testcase name="b"><failure message="x"/></testcase>
  <testcase name="c"><skipped/></testcase><testcase name="d" status="notrun"/><testcase name="e"/>
</testsuite></testsuites>"""
GOOD = '<testsuites><testsuite><testcase name="a"/><testcase name="b"/></testsuite></testsuites>'
EMPTY = "<testsuites/>"


def run(*arguments):
    done = subprocess.run([sys.executable, TALLY, *map(str, arguments)], capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout.splitlines()[-1]


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path
    return write_file


def events(write, *targets):
    """A build event file; targets are (label, status or None when it did not run, XML)."""
    lines = []
    for i, (label, status, xml) in enumerate(targets):
        lines.append({"id": {"targetConfigured": {"label": label}},
                      "configured": {"targetKind": "cc_test rule", "testSize": "SMALL"}})
        if status is None:
            continue
        outputs = []
        if xml is not None:
            outputs.append({"name": "test.xml", "uri": f"file://{write(f'{i}.xml', xml)}"})
        lines.append({"id": {"testResult": {"label": label}},
                      "testResult": {"status": status, "testActionOutput": outputs}})
        lines.append({"id": {"testSummary": {"label": label}},
                      "testSummary": {"overallStatus": status}})
    lines.append({"id": {"targetConfigured": {"label": "//a:library"}},
                  "configured": {"targetKind": "cc_library rule"}})
    return write("events.json", "\n".join(map(json.dumps, lines)))


def test_junit(write):
    assert run("--junit", write("a.xml", GOOD)) == (0, "2 passed, 0 failed")
    assert run("--junit", write("a.xml", MIXED)) == (1, "2 passed, 1 failed, 2 skipped")
    # pytest failed without a failed test: it was interrupted, or could not collect.
    assert run("--junit", write("a.xml", GOOD), "--junit_status", 2) == (1, "2 passed, 1 failed")
    assert run("--junit", "/no/such/file") == (1, "0 passed, 1 failed")
    assert run("--junit", write("a.xml", "not XML")) == (1, "0 passed, 1 failed")


def test_no_test_is_no_success(write):
    assert run() == (1, "0 passed, 0 failed")
    assert run("--junit", write("a.xml", EMPTY))[0] == 1


def test_bazel(write):
    path = events(write, ("//a:t", "PASSED", GOOD), ("//b:t", "PASSED", GOOD))
    assert run("--bazel", path) == (0, "4 passed, 0 failed")
    assert run("--bazel", path, "--junit", write("a.xml", GOOD)) == (0, "6 passed, 0 failed")
    # Something that is not a test was not built.
    assert run("--bazel", path, "--bazel_status", 1) == (1, "4 passed, 1 failed")


@pytest.mark.parametrize("status, xml, total", [
    ("FAILED", MIXED, "4 passed, 1 failed, 2 skipped"),
    ("FAILED", GOOD, "4 passed, 1 failed"),     # crashed after its last case
    ("TIMEOUT", None, "2 passed, 1 failed"),
    (None, None, "2 passed, 1 failed"),         # not built
    ("PASSED", "cut off", "2 passed, 1 failed"),
])
def test_bazel_targets_that_fail(write, status, xml, total):
    path = events(write, ("//a:t", "PASSED", GOOD), ("//b:t", status, xml))
    assert run("--bazel", path, "--bazel_status", 3) == (1, total)


def test_bazel_without_events(write):
    assert run("--bazel", "/no/such/file", "--bazel_status", 1) == (1, "0 passed, 1 failed")
