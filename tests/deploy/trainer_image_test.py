"""The trainer's image, built without a daemon: what is in it, and that it runs there."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from deploy.container_test import ROOT, buildah, files, why_not

TRAINER = "/usr/local/bin/sieve_trainer"


@pytest.fixture(scope="module")
def image():
    reason = why_not()
    if reason is None and not list(pathlib.Path(os.environ["SIEVE_CACHE"]).glob("venv-torch-*/.complete")):
        reason = "there is no LibTorch (deploy/setup.sh --trainer)"
    if reason:
        pytest.skip(reason)
    name = f"localhost/sieve-trainer:test-{os.getpid()}"
    done = subprocess.run(
        ["bash", ROOT / "deploy/build_image.sh", "--trainer", "--engine", "buildah", "--tag", name],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    yield name
    buildah("rmi", name)


@pytest.fixture(scope="module")
def container(image):
    name = buildah("from", image)
    yield name
    buildah("rm", name)


def test_holds_the_trainer_and_its_libraries(container):
    root = pathlib.Path(buildah("mount", container))
    programs = {str(path.relative_to(root)) for path in files(root) if path.parent.name in ("bin", "sbin")}
    assert programs == {TRAINER[1:]}, "no shell, compiler, interpreter or package manager"
    names = {path.name for path in files(root)}
    assert {"libtorch_cpu.so", "libc10.so"} <= names
    assert not [name for name in names if re.search(r"\.(py|h|a)$|libtorch_python", name)]
    assert list(root.glob("opt/site-packages/torch-*.dist-info/METADATA")), "which version it is, for scanners"


def test_configuration(image):
    config = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    assert config["Entrypoint"] == [TRAINER] and config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.title"] == "sieve-trainer"


def test_it_runs(container):
    """LibTorch is found, or it would not come to its files."""
    with pytest.raises(subprocess.CalledProcessError) as error:
        buildah("run", "--isolation", "chroot", container, "--", TRAINER, "train", "--out=/tmp/out",
                "--model=/models/none.gguf", "--config=/models/none.json", timeout=120)
    assert error.value.returncode == 1
    assert "/models/none.json" in error.value.stderr
