"""deploy/compose.yaml: valid, and in agreement with the files it mounts, the image and the server."""

import os
import re
import subprocess

import pytest
import yaml

from deploy import server_flags
from e2e import harness

FOLDER = harness.ROOT / "deploy"
ENVIRONMENT = {"SIEVE_MODELS": "/models-of-the-test"}


def docker_compose_config(environment):
    """What Debian's docker-compose makes of the file."""
    document = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    del document["name"]  # which that version, 1.29, does not know yet
    return subprocess.run(["docker-compose", "--file", "-", "config"], cwd=FOLDER, env=environment,
                          input=yaml.safe_dump(document), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def compose():
    """Checked against the schema; variables and anchors resolved."""
    done = docker_compose_config({**os.environ, **ENVIRONMENT})
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.fixture(scope="module")
def flags(compose):
    return server_flags.parse(compose["services"]["server"]["command"])


def targets(service):
    return {volume["target"]: volume for volume in service["volumes"]}


def test_it_asks_for_the_models():
    done = docker_compose_config({name: value for name, value in os.environ.items() if name != "SIEVE_MODELS"})
    assert done.returncode != 0 and "the folder that holds the checkpoint" in done.stderr


def test_mounted_files_exist(compose):
    mounted = 0
    for service in compose["services"].values():
        for volume in service["volumes"]:
            if volume["type"] == "bind" and volume["source"] != ENVIRONMENT["SIEVE_MODELS"]:
                assert os.path.exists(volume["source"]), volume
                mounted += 1
            assert volume["type"] == "volume" or volume["read_only"], volume
    assert mounted == 4


def test_services_may_do_little(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["ulimits"] == {"core": 0}, name
        assert "privileged" not in service and "cap_add" not in service, name


def test_nothing_is_open_to_other_machines(compose):
    for name, service in compose["services"].items():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"


def test_images_are_pinned(compose):
    for name, service in compose["services"].items():
        tag = service["image"].rpartition(":")[2]
        if name != "server":  # built from this clone
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), service["image"]


def test_flags_are_the_servers(flags, model_file):
    assert flags.keys() <= server_flags.known()
    with server_flags.started(flags):
        pass


def test_adapters_lie_among_the_models():
    done = docker_compose_config({**os.environ, **ENVIRONMENT, "SIEVE_ADAPTER": "a=/models/a",
                                  "SIEVE_ADAPTER_ROOT": "/models/adapters"})
    assert done.returncode == 0, done.stderr
    given = server_flags.parse(yaml.safe_load(done.stdout)["services"]["server"]["command"])
    assert given["adapter"] == "a=/models/a" and given["adapter_root"] == "/models/adapters"


def test_time_to_end_well(compose, flags):
    grace = server_flags.seconds(compose["services"]["server"]["stop_grace_period"])
    assert grace >= server_flags.seconds(flags["drain_grace"]) + 10


def test_ports_agree(compose, flags):
    server = compose["services"]["server"]
    (port,) = server["ports"]
    assert port.split("/")[0] == f"127.0.0.1:50051:{server_flags.port(flags['listen'])}"
    prometheus = yaml.safe_load((FOLDER / "prometheus/prometheus.yml").read_text())
    (scrape,) = prometheus["scrape_configs"]
    assert scrape["static_configs"][0]["targets"] == [
        f"server:{server_flags.port(flags['metrics_listen'])}"]
    (source,) = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose["services"]


def test_the_health_check_is_the_images(compose):
    image = re.search(r'CMD \[(.*)\]', (FOLDER / "Dockerfile").read_text())[1]
    assert compose["services"]["server"]["healthcheck"]["test"] == [
        "CMD", *(word.strip(' "') for word in image.split(","))]


def test_grafana_finds_its_files(compose):
    provider, = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/sieve.yml").read_text())[
        "providers"]
    mounts = targets(compose["services"]["grafana"])
    folder = provider["options"]["path"]
    assert os.listdir(mounts[folder]["source"])
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(folder + "/")
    assert os.path.exists(os.path.join(mounts[folder]["source"], os.path.basename(home)))
    assert "/etc/grafana/provisioning" in mounts


def test_prometheus_finds_its_files(compose):
    service = compose["services"]["prometheus"]
    config = server_flags_of_prometheus(service["command"])["config.file"]
    mounts = targets(service)
    assert config in mounts
    rules = yaml.safe_load((FOLDER / "prometheus/prometheus.yml").read_text())["rule_files"]
    for pattern in rules:
        assert os.path.join(os.path.dirname(config), os.path.dirname(pattern)) in mounts


def server_flags_of_prometheus(command):
    return dict(argument.removeprefix("--").split("=", 1) for argument in command)
