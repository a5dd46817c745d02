"""SECURITY.md rests its claims on tests: each that it names is there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", (ROOT / "SECURITY.md").read_text())))


def test_the_tests_that_it_names_are_there():
    assert len(NAMED) > 10
    for named in NAMED:
        path, _, test = named.partition("::")
        assert (ROOT / path).exists(), named
        if test:
            assert f"def {test}(" in (ROOT / path).read_text(), named


def test_the_flags_that_it_names_are_there():
    flags = set(re.findall(r"--([a-z][a-z_]+)", (ROOT / "SECURITY.md").read_text()))
    known = set()
    for source in ("server/main.cc", "client/connection.cc", "client/command_line.cc"):
        known |= set(re.findall(r'(?:ABSL_FLAG\([^,]+, |Add\(")(\w+)', (ROOT / source).read_text()))
    assert flags - known == set()
