"""The Kubernetes job of a training run: valid, and in agreement with itself, the image and the trainer."""

import os
import re
import signal
import subprocess

import kubernetes_validate
import pytest

from deploy import kustomize
from e2e import harness

FOLDER = harness.ROOT / "deploy/kubernetes/training"
TRAINER = harness.ROOT / "bazel-bin/trainer/sieve_trainer"
DOCKERFILE = (harness.ROOT / "deploy/Dockerfile").read_text()


@pytest.fixture(scope="module")
def objects():
    return kustomize.render(FOLDER)


@pytest.fixture(scope="module")
def by_kind(objects):
    assert len({item["kind"] for item in objects}) == len(objects)
    return {item["kind"]: item for item in objects}


@pytest.fixture(scope="module")
def job(by_kind):
    return by_kind["Job"]["spec"]


@pytest.fixture(scope="module")
def pod(job):
    return job["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (container,) = pod["containers"]
    return container


@pytest.fixture(scope="module")
def environment(container):
    return {variable["name"]: variable["value"] for variable in container["env"]}


@pytest.fixture(scope="module")
def actions(job):
    """What the job does about an exit status."""
    return {rule["onExitCodes"]["values"][0]: rule["action"]
            for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule}


def start(*arguments, **variables):
    if not TRAINER.exists():
        pytest.skip("the trainer is not built: there is no LibTorch (deploy/setup.sh --trainer)")
    return subprocess.Popen([TRAINER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, **variables})


def end_of(process):
    """Exit status and what was said."""
    _, error = process.communicate(timeout=60)
    return process.returncode, error


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_valid_for_kubernetes(objects, version):
    for item in objects:
        kubernetes_validate.validate(item, version, strict=True)


def test_workers_are_counted_once(job, environment):
    """As many pods as there are ranks, and each knows its own by its index."""
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == int(environment["WORLD_SIZE"])


def test_workers_find_the_first(by_kind, job, pod, environment):
    service = by_kind["Service"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    assert pod["subdomain"] == service["metadata"]["name"]
    # An indexed job names its pods NAME-INDEX-..., and their host names NAME-INDEX.
    assert environment["MASTER_ADDR"] == f"{by_kind['Job']['metadata']['name']}-0.{pod['subdomain']}"
    (port,) = service["spec"]["ports"]
    assert int(environment["MASTER_PORT"]) == port["port"]
    labels = job["template"]["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= labels


def test_only_workers_talk_to_workers(by_kind, job):
    policy = by_kind["NetworkPolicy"]["spec"]
    labels = job["template"]["metadata"]["labels"]
    own = {"podSelector": {"matchLabels": policy["podSelector"]["matchLabels"]}}
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["ingress"] == [{"from": [own]}]
    assert policy["egress"][0] == {"to": [own]}
    assert {port["port"] for port in policy["egress"][1]["ports"]} == {53}


def test_a_stopped_run_goes_on(job, pod):
    """An eviction is neither success nor a fault, and there is time to save."""
    assert pod["restartPolicy"] == "Never", "podFailurePolicy needs it"
    assert {"type": "DisruptionTarget", "status": "True"} in job["podFailurePolicy"]["rules"][0]["onPodConditions"]
    assert pod["terminationGracePeriodSeconds"] >= 120, "a step ends, and the state is written"


def test_pods_may_do_little(pod, container):
    target = DOCKERFILE[DOCKERFILE.index("AS trainer-prebuilt"):]
    user = int(re.search(r"^USER (\d+):\d+$", target, re.MULTILINE)[1])
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user,
                                      "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert pod["automountServiceAccountToken"] is False


def test_the_state_outlives_the_pod(by_kind, pod, container):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == volumes.keys()
    flags = dict(argument[2:].split("=", 1) for argument in container["args"] if argument.startswith("--"))
    assert flags.keys() >= {"model", "config", "data", "out"}
    for name, value in flags.items():
        (place,) = [path for path in mounts if value.startswith(path + "/")]
        claim = volumes[mounts[place]["name"]]["persistentVolumeClaim"]
        assert mounts[place].get("readOnly", False) is (name == "model")
        if name == "out":
            assert claim["claimName"] == by_kind["PersistentVolumeClaim"]["metadata"]["name"]


def test_threads_are_those_asked_for(container, environment):
    assert environment["OMP_NUM_THREADS"] == container["resources"]["requests"]["cpu"]


def test_the_arguments_are_the_trainers(container, actions):
    if not TRAINER.exists():
        pytest.skip("the trainer is not built: there is no LibTorch (deploy/setup.sh --trainer)")
    help_text = subprocess.run([TRAINER, "--helpfull"], capture_output=True, text=True, check=False).stdout
    known = set(re.findall(r"^\s+--(\w+)", help_text, re.MULTILINE))
    command, *flags = container["args"]
    assert command == "train"
    assert {flag[2:].split("=")[0] for flag in flags} <= known
    # It gets as far as its files. A volume may have them the next time.
    status, error = end_of(start(*container["args"]))
    assert "/training/run.json" in error
    assert status != 0 and status not in actions


def test_a_signal_before_training_is_a_stop(actions, tmp_path):
    """Also for the first process of a container, for which a signal without a handler does nothing."""
    os.mkfifo(tmp_path / "run.json")
    process = start("train", "--out", tmp_path, "--config", tmp_path / "run.json")
    # Opening waits for the trainer, which then waits for what is never written.
    with (tmp_path / "run.json").open("w"):
        process.send_signal(signal.SIGTERM)
        status, _ = end_of(process)
    assert actions[status] == "Ignore"


def test_what_can_never_work_ends_the_job(actions, tmp_path):
    run = tmp_path / "run.json"
    run.write_text('{"corpus": 5}')
    whole = tmp_path / "whole.json"
    whole.write_text('{"corpus": [{"path": "text.txt"}], "stages": []}')
    for said, process in [
            ("corpus", start("train", "--out", tmp_path, "--config", run)),
            ("--out", start("train", "--config", run)),
            ("--config", start("train", "--out", tmp_path)),
            ("--model", start("train", "--out", tmp_path, "--config", whole)),
            ("WORLD_SIZE", start("train", "--out", tmp_path, "--config", whole, RANK="1", WORLD_SIZE="x"))]:
        status, error = end_of(process)
        assert said in error
        assert actions.get(status) == "FailJob", error
