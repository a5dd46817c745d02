"""Builds the image from deploy/Dockerfile as on a machine without a daemon or a registry, and looks at what is in
it; starts it and asks it for an answer.

chroot isolation has no read-only root; a test of its own makes one with mount namespaces.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
import pytest

from e2e import harness

ROOT = harness.ROOT
SERVER = "/usr/local/bin/sieve_server"
CLIENT = "/usr/local/bin/sieve"
MAX_BYTES = 250 * 10**6


def buildah(*arguments, **options):
    """The store of deploy/build_image.sh."""
    folder = pathlib.Path(os.environ["SIEVE_CACHE"]) / "containers"
    return subprocess.run(
        ["buildah", "--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "vfs",
         *arguments], capture_output=True, text=True, check=True, **options).stdout.strip()


def why_not():
    """What this machine lacks for chroot isolation, or None."""
    if harness.model_path() is None:
        return "no default model: deploy/setup.sh was not run (or SIEVE_CACHE is another one than then)"
    if os.geteuid() != 0:
        return "images are built as root here"
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True,
                          text=True, check=False)
    return f"no namespaces for containers: {done.stderr.strip()}" if done.returncode else None


@pytest.fixture(scope="module")
def image():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    name = f"localhost/sieve:test-{os.getpid()}"
    done = subprocess.run(["bash", ROOT / "deploy/build_image.sh", "--engine", "buildah", "--tag", name],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    yield name
    buildah("rmi", name)


@pytest.fixture(scope="module")
def container(image):
    name = buildah("from", image)
    yield name
    buildah("rm", name)


@pytest.fixture(scope="module")
def root(container):
    """The container's root as a folder."""
    return pathlib.Path(buildah("mount", container))


@pytest.fixture(scope="module")
def config(image):
    return json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]


def files(root):
    return [path for path in root.rglob("*") if not path.is_symlink() and path.is_file()]


def test_size(image):
    sizes = json.loads(buildah("images", "--json", image))
    # What a registry would hold, uncompressed.
    manifest = json.loads(json.loads(buildah("inspect", "--type", "image", image))["Manifest"])
    size = sum(layer["size"] for layer in manifest["layers"])
    print(f"image: {size / 1e6:.1f} MB, buildah says {sizes[0]['size']}")
    assert 5 * 10**6 < size < MAX_BYTES


def test_holds_what_it_needs_and_nothing_else(root):
    programs = {str(path.relative_to(root)) for path in files(root)
                if path.parent.name in ("bin", "sbin")}
    assert programs == {SERVER[1:], CLIENT[1:]}, "no shell, compiler, interpreter or package manager"
    unwanted = re.compile(r"python|perl|torch|libcuda|cc1|libc\.a|\.gguf$|\.safetensors$|\.(h|py|pl)$")
    names = [str(path.relative_to(root)) for path in files(root)]
    assert [name for name in names if unwanted.search(name)] == []


def test_nothing_gains_privileges(root):
    """No setuid or setgid programs, no file capabilities, nothing but /tmp that everybody may write."""
    for path in [root, *root.rglob("*")]:
        mode = path.lstat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID), path
        assert "security.capability" not in os.listxattr(path, follow_symlinks=False), path
        if not path.is_symlink() and path != root / "tmp":
            assert not mode & stat.S_IWOTH, path
        assert (path.lstat().st_uid, path.lstat().st_gid) == (0, 0), path


def test_programs_are_stripped(root):
    for program in (SERVER, CLIENT):
        sections = subprocess.run(["readelf", "--sections", "--wide", root / program[1:]],
                                  capture_output=True, text=True, check=True).stdout
        assert ".debug_info" not in sections and ".symtab" not in sections


def test_says_which_packages_it_holds(root):
    """For scanners: name and version of each, with its licence."""
    status = (root / "var/lib/dpkg/status").read_text()
    packages = dict(re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", status, re.MULTILINE))
    assert {"libc6", "libgrpc29", "libprotobuf32", "libssl3"} <= packages.keys()
    assert len(packages) == status.count("\nStatus: install ok installed")
    for package in packages:
        assert (root / "usr/share/doc" / package / "copyright").exists(), package
    assert "bookworm" in (root / "etc/os-release").read_text()


def test_configuration(config):
    user, group = config["User"].split(":")
    assert int(user) > 0 and int(group) > 0, "numeric, so that runAsNonRoot can be checked"
    assert config["Entrypoint"] == [SERVER] and not config.get("Cmd")
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"50051/tcp", "9464/tcp"}
    assert "/models" in config["Volumes"]
    assert config["Healthcheck"]["Test"][:4] == ["CMD", CLIENT, "info", "--health"]
    labels = {name.removeprefix("org.opencontainers.image."): value
              for name, value in config["Labels"].items()}
    assert labels["title"] == "sieve" and labels["base.name"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", labels["revision"])


def test_defaults_keep_to_themselves(container, config):
    """Without flags it says what it wants; nothing is open to other machines unless somebody says so."""
    with pytest.raises(subprocess.CalledProcessError) as error:
        buildah("run", "--isolation", "chroot", container, "--", *config["Entrypoint"], timeout=60)
    assert error.value.returncode == 2
    assert "--model is required" in error.value.stderr


class Running:
    """The image's server in a container, on free ports of loopback."""

    def __init__(self, container, entrypoint, *flags):
        folder = pathlib.Path(os.environ["SIEVE_CACHE"]) / "containers"
        self.lines = []
        self.process = subprocess.Popen(
            ["buildah", "--root", folder / "storage", "--runroot", folder / "run",
             "--storage-driver", "vfs", "run", "--isolation", "chroot", "--volume",
             f"{harness.model_path()}:/models/model.gguf:ro", container, "--", *entrypoint,
             "--model=/models/model.gguf", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
             *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # Read to the end, or the server blocks once the pipe is full.
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout),
                                       daemon=True)
        self.reader.start()
        try:
            self.port = int(self._wait_for(r"grpc port (\d+)").group(1))
            self.pid = self._server_pid()
        except BaseException:
            for pid in self._descendants():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise

    def log(self):
        return "".join(self.lines)

    def _wait_for(self, pattern, seconds=60):
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.log())):
            assert self.process.poll() is None, f"the container ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"not ready after {seconds} s:\n{self.log()}"
            time.sleep(0.02)
        return match

    def _descendants(self):
        """buildah and all below it; those that end meanwhile are left out."""
        pids = [self.process.pid]
        for pid in pids:
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    pids += map(int, (task / "children").read_text().split())
        return pids

    def _server_pid(self):
        """buildah's great-grandchild or so."""
        for pid in self._descendants():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe").endswith(SERVER):
                    return pid
        raise AssertionError("no sieve_server among buildah's children")

    def stop(self):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.process.wait(30)
        self.reader.join(30)


def test_serves(container, config):
    running = Running(container, config["Entrypoint"], "--kv_cache_mb=64")
    try:
        status = pathlib.Path(f"/proc/{running.pid}/status").read_text()
        assert re.search(r"^Uid:\t65532\t65532\t65532\t65532$", status, re.MULTILINE), status
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE), status

        address = f"127.0.0.1:{running.port}"
        # As the health check of the image does.
        health = buildah("run", "--isolation", "chroot", container, "--", CLIENT, "info",
                         "--health", f"--address={address}")
        assert health.strip() == "SERVING"
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=10)
            assert health.status == health_pb2.HealthCheckResponse.SERVING

            stub = harness.pb_grpc.GenerationStub(channel)
            result = harness.Result()
            for event in stub.Generate(harness.request(max_tokens=8), timeout=60):
                result.add(event)
            assert "Paris" in result.text[0] and result.finished[0].usage.generated_tokens == 8

            # Stopped while an answer is being read: what was asked before is answered.
            call = stub.Generate(harness.request("Once upon a time", max_tokens=64, ignore_eos=True),
                                 timeout=60)
            for _ in range(3):
                next(call)
            os.kill(running.pid, signal.SIGTERM)
            rest = harness.Result(accepted=True)
            for event in call:
                rest.add(event)
            assert rest.finished[0].usage.generated_tokens == 64
        assert running.process.wait(30) == 0, running.log()
    finally:
        running.stop()


def test_a_read_only_root_is_enough(root, tmp_path):
    """Read-only, /tmp too, no capabilities, no new privileges: as compose.yaml and Kubernetes start it."""
    script = """
        set -e
        mount --bind "$ROOT" "$ROOT"
        mount --bind "$MODELS" "$ROOT/models"
        mkdir -p "$ROOT/proc"
        mount -t proc proc "$ROOT/proc"
        mount -o remount,bind,ro "$ROOT"
        exec chroot --userspec=65532:65532 "$ROOT" "$@"
    """
    # setpriv is not in the image: privileges are given up outside, but for the one that chroot needs.
    capability = ["setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot,+setuid,+setgid,+sys_admin"]
    log = tmp_path / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", *capability, "sh", "-c",
             script, "sh", SERVER,
             f"--model=/models/{harness.model_path().name}", "--listen=127.0.0.1:0",
             "--metrics_listen=127.0.0.1:0", "--kv_cache_mb=64"],
            env={"ROOT": str(root), "MODELS": str(harness.model_path().parent),
                 "PATH": os.environ["PATH"]}, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while not (match := re.search(r"grpc port (\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        mounts = pathlib.Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
        assert any(line.split()[4] == "/" and line.split()[5].startswith("ro") for line in mounts)
        with grpc.insecure_channel(f"127.0.0.1:{match.group(1)}",
                                   options=[("grpc.enable_http_proxy", 0)]) as channel:
            stub = harness.pb_grpc.GenerationStub(channel)
            answer = stub.GenerateOnce(harness.request(max_tokens=4), timeout=60)
        assert "Paris" in answer.samples[0].text
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert list((root / "tmp").iterdir()) == []
