"""tests/gpu.sh run: what it says of tests that pass, fail or run nothing. The tests and compute-sanitizer are stand-ins."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def run(tmp_path):
    """A clone with a bundle of one passing test."""
    for name in ("tests/gpu.sh", "deploy/setup.sh"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    program(tmp_path / ".gpu/bin/a_test", "echo '[  PASSED  ] 3 tests.'")

    def command(*arguments):
        environment = {"PATH": f"{tmp_path}/path:{os.environ['PATH']}", "HOME": str(tmp_path)}
        done = subprocess.run(["bash", tmp_path / "tests/gpu.sh", *arguments], env=environment,
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr
    return command


def test_a_line_a_test(run, tmp_path):
    program(tmp_path / ".gpu/bin/b_test", "echo '[  PASSED  ] 1 test.'")
    assert run("run") == (0, "PASSED  a_test  3 cases, 0 s\nPASSED  b_test  1 cases, 0 s\n2 passed, 0 failed\n")


@pytest.mark.parametrize("text, verdict", [
    ("echo 'wrong sum'; exit 1", "wrong sum\nFAILED (status 1)  b_test"),
    ("echo '[  PASSED  ] 0 tests.'", "FAILED (no case ran)  b_test"),
])
def test_failures(run, tmp_path, text, verdict):
    program(tmp_path / ".gpu/bin/b_test", text)
    status, log = run("run")
    assert status == 1 and verdict in log and "1 passed, 1 failed" in log


def test_only_those_named(run, tmp_path):
    program(tmp_path / ".gpu/bin/b_test", "exit 1")
    assert run("run", "a_test") == (0, "PASSED  a_test  3 cases, 0 s\n1 passed, 0 failed\n")


def test_sanitizers(run, tmp_path):
    """The stand-in finds a race."""
    program(tmp_path / "path/compute-sanitizer",
            '[[ "$*" != *racecheck* ]] || exit 86\nexec "${@: -2}"')
    status, log = run("run", "--sanitize")
    assert status == 1 and "3 passed, 1 failed" in log
    for line in ("PASSED  a_test under memcheck", "FAILED (status 86)  a_test under racecheck",
                 "PASSED  a_test under initcheck"):
        assert line in log


def test_what_is_missing_is_named(run, tmp_path):
    assert "expected bundle or run, got: now" in run("now")[1]
    assert "there is no test c_test" in run("run", "c_test")[1]
    if shutil.which("compute-sanitizer") is None:
        assert "--sanitize needs compute-sanitizer" in run("run", "--sanitize")[1]
    shutil.rmtree(tmp_path / ".gpu")
    assert "holds no tests" in run("run")[1]
