"""The Kubernetes manifests: valid for the oldest and the newest version meant, and in agreement with themselves, the
image and the server."""

import json
import os
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from deploy import kustomize, server_flags
from e2e import harness
from e2e.certificates import Authority

FOLDER = harness.ROOT / "deploy/kubernetes"
OVERLAYS = sorted(path.parent for path in FOLDER.glob("overlays/*/kustomization.yaml"))
VERSIONS = ("1.30", "1.37")  # 1.30: the first with the `sleep` hook

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)


def one(objects, kind, name=None):
    found = [item for item in objects if item["kind"] == kind
             and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects are {kind} {name or ''}"
    return found[0]


class Rendered:
    def __init__(self, overlay):
        self.objects = kustomize.render(overlay)
        self.deployment = one(self.objects, "Deployment")
        self.template = self.deployment["spec"]["template"]
        self.pod = self.template["spec"]
        (self.container,) = self.pod["containers"]
        self.flags = server_flags.parse(self.container["args"])
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.labels = self.template["metadata"]["labels"]


@pytest.fixture(params=OVERLAYS, ids=lambda path: path.name)
def rendered(request):
    return Rendered(request.param)


def test_there_are_overlays():
    assert {"cpu", "cpu-secured"} <= {path.name for path in OVERLAYS}


def test_every_file_is_used():
    """Each YAML file is a kustomization or named by one."""
    used = set()
    for path in FOLDER.rglob("kustomization.yaml"):
        (kustomization,) = kustomize.load(path)
        names = kustomization.get("resources", []) + [p["path"] for p in kustomization.get("patches", [])]
        used |= {path} | {(path.parent / name).resolve() for name in names}
    assert set(FOLDER.rglob("*.yaml")) - used == set()


@overlays
def test_the_renderer_agrees_with_kubectl(overlay):
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl: the other tests trust tests/deploy/kustomize.py alone")
    done = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def in_order(objects):
        return sorted(objects, key=lambda item: (item["kind"], item["metadata"]["name"]))
    assert in_order(kustomize.render(overlay)) == in_order(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("version", VERSIONS)
def test_valid_for_kubernetes(rendered, version):
    """Strictly: a field that the version does not know is an error. Kinds of operators have no schema there."""
    checked = 0
    for item in rendered.objects:
        if item["apiVersion"].startswith("monitoring.coreos.com/"):
            continue
        kubernetes_validate.validate(item, version, strict=True)
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("path, value", [
    ("spec.replicas", "two"), ("spec.template.spec.containers", {}), ("spec.no_such_field", 1)])
def test_the_validation_can_fail(path, value):
    deployment = Rendered(OVERLAYS[0]).deployment
    *parents, last = path.split(".")
    target = deployment
    for part in parents:
        target = target[part]
    target[last] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_names_are_unique(rendered):
    names = [(item["kind"], item["metadata"]["name"]) for item in rendered.objects]
    assert len(names) == len(set(names))


def test_flags_are_the_servers(rendered):
    assert rendered.flags.keys() <= server_flags.known()


def test_ports_agree(rendered):
    assert server_flags.port(rendered.flags["listen"]) == rendered.ports["grpc"]
    assert server_flags.port(rendered.flags["metrics_listen"]) == rendered.ports["metrics"]
    exposed = re.search(r"^EXPOSE (.*)$", (harness.ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    assert set(map(int, exposed[1].split())) == set(rendered.ports.values())
    services = [item for item in rendered.objects if item["kind"] == "Service"]
    for service in services:
        assert service["spec"]["selector"].items() <= rendered.labels.items()
        for port in service["spec"]["ports"]:
            assert port["port"] == rendered.ports[port["targetPort"]]
    assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} == {
        "grpc", "metrics"}


def test_clients_see_every_pod(rendered):
    service = one(rendered.objects, "Service", "sieve")
    assert service["spec"]["clusterIP"] == "None"
    assert not service["spec"].get("publishNotReadyAddresses"), "loading pods must not get calls"


def test_probes(rendered):
    """Of the service that the API has, at its port; or, where that cannot be asked with TLS, by the client."""
    services = {service.full_name
                for service in harness.pb.DESCRIPTOR.services_by_name.values()} | {None}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = rendered.container[name]
        if "exec" in probe:
            assert probe["exec"]["command"][:3] == ["/usr/local/bin/sieve", "info", "--health"]
        else:
            assert "tls_cert" not in rendered.flags, "Kubernetes' gRPC probes cannot speak TLS"
            assert probe["grpc"]["port"] == rendered.ports["grpc"]
            assert probe["grpc"].get("service") in services
    startup = rendered.container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120, "a large checkpoint loads"


def test_time_to_end_well(rendered):
    """Kubernetes counts preStop and the server's own grace together."""
    before = rendered.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = server_flags.seconds(rendered.flags["drain_grace"])
    assert before >= 5
    assert rendered.pod["terminationGracePeriodSeconds"] >= before + grace + 10


def test_pods_may_do_little(rendered):
    user = int(re.search(r"^USER (\d+):(\d+)$", (harness.ROOT / "deploy/Dockerfile").read_text(),
                         re.MULTILINE)[1])
    pod, container = rendered.pod, rendered.container
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user,
                                      "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]}}
    assert pod["automountServiceAccountToken"] is False
    account = one(rendered.objects, "ServiceAccount", pod["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert not any("hostPath" in volume for volume in pod["volumes"])


def test_the_model_is_mounted(rendered):
    volumes = {volume["name"]: volume for volume in rendered.pod["volumes"]}
    (mount,) = [m for m in rendered.container["volumeMounts"] if m["name"] == "models"]
    assert rendered.flags["model"].startswith(mount["mountPath"] + "/")
    claim = volumes["models"]["persistentVolumeClaim"]
    assert claim["readOnly"] is True
    one(rendered.objects, "PersistentVolumeClaim", claim["claimName"])


def test_every_mount_has_a_volume(rendered):
    assert {m["name"] for m in rendered.container["volumeMounts"]} == {
        v["name"] for v in rendered.pod["volumes"]}


def test_resources(rendered):
    requests = rendered.container["resources"]["requests"]
    assert int(rendered.flags["threads"]) == int(requests["cpu"]), \
        "the server sees all of the node's processors, whatever was asked for"
    gib = re.fullmatch(r"(\d+)Gi", requests["memory"])
    assert int(rendered.flags["kv_cache_mb"]) < int(gib[1]) * 1024
    assert rendered.container["resources"]["limits"]["memory"] == requests["memory"]


def test_selectors_find_the_pods(rendered):
    wanted = rendered.labels.items()
    selector = rendered.deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= wanted
    assert one(rendered.objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == selector
    assert one(rendered.objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == selector
    for spread in rendered.pod["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == selector
    # deploy/prometheus/prometheus.yml, for clusters without the operator, looks for this one.
    assert rendered.labels["app.kubernetes.io/name"] == "sieve-server"


def test_the_network_policy(rendered):
    policy = one(rendered.objects, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert "egress" not in policy, "the server connects to nothing"
    ports = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert sorted(ports) == sorted(rendered.ports)
    assert all(rule["from"] for rule in policy["ingress"])


def test_one_more_before_one_less(rendered):
    update = rendered.deployment["spec"]["strategy"]["rollingUpdate"]
    assert update["maxUnavailable"] == 0 and update["maxSurge"] >= 1
    assert one(rendered.objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_autoscaler(rendered, server):
    """The metric is one that the server has, without labels: the adapter then needs no sums."""
    scaler = one(rendered.objects, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "name": rendered.deployment["metadata"]["name"]}
    assert "replicas" not in rendered.deployment["spec"], "applying it would undo the autoscaler's work"
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] in server.metrics()


def test_the_service_monitor(rendered):
    """There is no schema for it in Kubernetes itself: field by field."""
    monitor = one(rendered.objects, "ServiceMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    services = [item for item in rendered.objects
                if item["kind"] == "Service" and selector <= item["metadata"]["labels"].items()]
    assert [service["metadata"]["name"] for service in services] == ["sieve-metrics"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in services[0]["spec"]["ports"]}
    assert server_flags.seconds(endpoint["scrapeTimeout"]) < server_flags.seconds(endpoint["interval"])
    (scrape,) = [config for config in kustomize.load(
        harness.ROOT / "deploy/prometheus/prometheus.yml")[0]["scrape_configs"]]
    assert {"targetLabel": "job", "replacement": scrape["job_name"]} in endpoint["relabelings"]


def test_the_rules_are_those_of_prometheus(rendered):
    """As generate.py writes them now, and none lost on the way."""
    folder = harness.ROOT / "deploy/kubernetes/components/prometheus-operator"
    written = (folder / "prometheus_rule.yaml").read_text()
    done = subprocess.run([sys.executable, "-c", "import generate, sys; sys.stdout.write(generate.text())"],
                          cwd=folder, capture_output=True, text=True, check=True)
    assert written == done.stdout, "run generate.py"
    files = sorted((harness.ROOT / "deploy/prometheus/rules").glob("*.yml"))
    groups = [group for file in files for group in kustomize.load(file)[0]["groups"]]
    assert one(rendered.objects, "PrometheusRule")["spec"] == {"groups": groups}


def test_images_are_pinned(rendered):
    name, _, tag = rendered.container["image"].rpartition(":")
    assert name and re.fullmatch(r"\d+\.\d+\.\d+", tag)


@pytest.fixture
def secrets(tmp_path):
    """What the Secrets hold, by the flag that names it."""
    authority = Authority(tmp_path, "test")
    certificate, key = authority.issue("sieve")
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{"sha256": "0" * 64, "tenant": "nobody"}]}))
    return {"tls_cert": certificate, "tls_key": key, "tls_ca": authority.certificate, "api_keys": keys}


def test_secrets_are_mounted(rendered):
    folders = {mount["mountPath"] for mount in rendered.container["volumeMounts"]}
    for name in rendered.flags.keys() & {"tls_cert", "tls_key", "tls_client_ca", "api_keys", "model"}:
        assert os.path.dirname(rendered.flags[name]) in folders, name


def test_it_starts(rendered, model_file, secrets):
    """The values of the flags too are ones that the server takes, and health can be asked as the probes do."""
    files = {name: path for name, path in secrets.items() if name in rendered.flags}
    with server_flags.started(rendered.flags, files) as server:
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "exec" not in rendered.container[name]:
                continue
            program, *arguments = rendered.container[name]["exec"]["command"]
            assert program.endswith("/sieve")
            own = {"--address": server.address, "--tls_ca": secrets["tls_ca"]}
            done = harness.sieve(*replaced(arguments, own))
            assert (done.returncode, done.stdout.strip()) == (0, "SERVING"), done.stderr
            # It does look at the certificate.
            done = harness.sieve(*replaced(arguments, {**own, "--tls_server_name": "elsewhere"}))
            assert done.returncode not in (0, 2), done.stderr


def replaced(arguments, values):
    """The arguments with other values for some `--name=value`."""
    parts = [argument.partition("=") for argument in arguments]
    assert values.keys() <= {name for name, _, _ in parts}
    return [f"{name}{equals}{values.get(name, value)}" for name, equals, value in parts]


def test_the_secured_overlay_is_secured():
    flags = Rendered(FOLDER / "overlays/cpu-secured").flags
    assert {"tls_cert", "tls_key", "api_keys", "metrics_public"} <= flags.keys()
    assert "insecure" not in flags


@overlays
def test_a_volume_needs_no_more_than_the_model(overlay):
    """Whoever wants adapters adds their component."""
    assert not {"adapter", "adapter_root"} & Rendered(overlay).flags.keys()


@overlays
def test_the_component_of_adapters(overlay, tmp_path, model_file, secrets):
    components = FOLDER / "components"
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({
        "resources": [os.path.relpath(overlay, tmp_path)],
        "components": [os.path.relpath(components / "adapters", tmp_path)]}))
    rendered = Rendered(tmp_path)
    root = rendered.flags["adapter_root"]
    assert os.path.dirname(root) == os.path.dirname(rendered.flags["model"]), "no volume but that of the models"
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    files = {name: path for name, path in {**secrets, "adapter_root": adapters}.items() if name in rendered.flags}
    with server_flags.started(rendered.flags, files):
        pass
