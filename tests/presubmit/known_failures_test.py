"""docs/known_failures.md names tests that exist, at least one for each failure."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/known_failures.md"
TEST = re.compile(r"`(tests/[\w/]+\.(?:py|cc))(?:::([\w.]+))?`")


def missing_tests(text, root):
    """A line for each test named that there is not, and for each row of a table that names none."""
    troubles = []
    for path, name in TEST.findall(text):
        file = root / path
        source = file.read_text() if file.is_file() else ""
        if not name:
            found = True
        elif path.endswith(".py"):
            found = re.search(rf"^def {name}\(", source, re.MULTILINE)
        elif "." in name:
            suite, _, case = name.partition(".")
            found = re.search(rf"^TEST(?:_F|_P)?\({suite}, {case}\)", source, re.MULTILINE)
        else:
            found = name in source
        if not source or not found:
            troubles.append(f"{path}::{name} does not exist")
    for line in text.splitlines():
        is_row = line.startswith("| ") and not line.startswith("| failure |")
        if is_row and not TEST.search(line.rsplit("|", 2)[-2]):
            troubles.append(f"no test in: {line}")
    return troubles


def test_the_page():
    text = PAGE.read_text()
    assert len(TEST.findall(text)) > 40
    assert missing_tests(text, ROOT) == []


@pytest.mark.parametrize("row", [
    "| a | b | c | |",
    "| a | b | `tests/presubmit/known_failures_test.py::test_the_page` | none |",
    "| a | b | c | `tests/presubmit/known_failures_test.py::test_nothing` |",
    "| a | b | c | `tests/presubmit/no_such_test.py::test_the_page` |",
    "| a | b | c | `tests/server/engine_test.cc::EngineTest.Nothing` |",
])
def test_a_bad_row_is_found(row):
    assert len(missing_tests(row, ROOT)) == 1


def test_a_good_row_passes():
    row = ("| a | | c | `tests/presubmit/known_failures_test.py::test_the_page` "
           "`tests/server/engine_test.cc::EngineTest.RefusesWhatCanNeverRun` |")
    assert missing_tests(row, ROOT) == []
