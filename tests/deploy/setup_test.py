"""deploy/setup.sh: what it tells Bazel, in a clone and a cache folder of the test's own."""

import hashlib
import os
import shutil
import subprocess

import pytest

from e2e.harness import ROOT

REQUIREMENTS = {"torch": "third_party/torch_requirements.txt", "cuda": "third_party/cuda_requirements.txt"}
PLACES = {"torch": "torch", "cuda": "nvidia/cu13"}


@pytest.fixture
def clone(tmp_path):
    for name in ("deploy/setup.sh", *REQUIREMENTS.values()):
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "clone" / name)
    return tmp_path / "clone"


def install(cache, what, suffix="", complete=True):
    digest = hashlib.sha256((ROOT / REQUIREMENTS[what]).read_bytes()).hexdigest()[:12]
    venv = cache / f"venv-{what}-{digest}{suffix}"
    (venv / "lib/python3.11/site-packages" / PLACES[what]).mkdir(parents=True)
    if complete:
        (venv / ".complete").touch()


def bazelrc(clone):
    """As tests/fuzz/run.sh has it written, without the rest of the set-up."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("SIEVE_LIBTORCH", "SIEVE_CUDA_TOOLKIT", "LIBTORCH", "CUDA_HOME")}
    environment["SIEVE_CACHE"] = str(clone.parent / "cache")
    subprocess.run(["bash", "-c", "set -euo pipefail; source deploy/setup.sh; write_bazelrc"], cwd=clone,
                   env=environment, check=True)
    return (clone / ".bazelrc.local").read_text()


def test_what_was_set_up_is_kept(clone):
    assert "SIEVE_" not in bazelrc(clone)
    install(clone.parent / "cache", "cuda")
    for suffix in ("", "-cpu"):  # which of them is taken depends on whether there is a GPU
        install(clone.parent / "cache", "torch", suffix)
    text = bazelrc(clone)
    for variable, place in (("SIEVE_LIBTORCH", "torch"), ("SIEVE_CUDA_TOOLKIT", "nvidia/cu13")):
        line, = [line for line in text.splitlines() if f"--repo_env={variable}=" in line]
        folder = line.partition(f"{variable}=")[2]
        assert folder.startswith(f"{clone.parent}/cache/venv-") and folder.endswith(f"/site-packages/{place}")
        assert os.path.isdir(folder)


def test_what_is_half_installed_is_not_taken(clone):
    for suffix in ("", "-cpu"):
        install(clone.parent / "cache", "torch", suffix, complete=False)
    assert "SIEVE_LIBTORCH" not in bazelrc(clone)
