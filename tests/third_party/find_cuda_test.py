"""third_party/find_cuda.sh: which toolkit is taken, and what is said of others."""

import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "third_party/find_cuda.sh"
INSTALLED = pathlib.Path("/usr/local/cuda/bin/nvcc")


def find(**variables):
    return subprocess.run(["/bin/bash", SCRIPT], env={"PATH": "/usr/bin:/bin", **variables},
                          capture_output=True, text=True, check=False)


def toolkit(folder, release):
    """A folder with an nvcc that says which release it is."""
    nvcc = folder / "bin/nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.88'\n")
    nvcc.chmod(0o755)
    return str(folder)


def test_cuda_home_comes_first(tmp_path):
    found = find(CUDA_HOME=toolkit(tmp_path, "13.0"), SIEVE_CUDA_TOOLKIT="/nowhere")
    assert (found.returncode, found.stdout, found.stderr) == (0, f"{tmp_path}\n", "")


def test_cuda_home_without_a_toolkit_is_an_error(tmp_path):
    found = find(CUDA_HOME=str(tmp_path))
    assert found.returncode == 1 and found.stdout == ""
    assert f"{tmp_path} holds no bin/nvcc" in found.stderr and "CUDA_HOME=none" in found.stderr


@pytest.mark.parametrize("release", ["12.9", "unknown"])
def test_an_old_toolkit_is_an_error(tmp_path, release):
    found = find(CUDA_HOME=toolkit(tmp_path, release))
    assert found.returncode == 1 and found.stdout == ""
    assert f"{tmp_path} is CUDA" in found.stderr and "13 or later" in found.stderr


def test_none_builds_without(tmp_path):
    found = find(CUDA_HOME="none", SIEVE_CUDA_TOOLKIT=toolkit(tmp_path, "13.0"))
    assert found.returncode == 0 and found.stdout == "" and "none" in found.stderr


@pytest.mark.skipif(INSTALLED.exists(), reason="a toolkit is installed here, and comes before that of the wheels")
def test_the_wheels_come_last(tmp_path):
    assert find(SIEVE_CUDA_TOOLKIT=toolkit(tmp_path, "13.0")).stdout == f"{tmp_path}\n"
    found = find(SIEVE_CUDA_TOOLKIT="/nowhere")
    assert found.returncode == 0 and found.stdout == ""
    assert all(text in found.stderr for text in ("CUDA_HOME is not set", "/usr/local/cuda", "/nowhere"))
