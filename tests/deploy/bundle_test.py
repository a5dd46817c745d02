"""deploy/bundle.sh: the folder that it makes is enough, but for glibc, to serve."""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from e2e import harness

SCRIPT = harness.ROOT / "deploy/bundle.sh"


def bundle(*arguments):
    done = subprocess.run(["bash", SCRIPT, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "sieve"
    status, log = bundle("--out", path)
    assert status == 0, log
    assert re.search(r"sieve: 2 programs, \d+M", log)
    return path


def test_libraries_come_from_the_bundle_or_are_glibcs(folder):
    glibc = re.compile(r"/(ld-linux-x86-64|lib(c|m|dl|rt|pthread|resolv|anl))\.so\.\d$")
    for program in (folder / "libexec").iterdir():
        listed = subprocess.run(
            ["ldd", program], env={"LD_LIBRARY_PATH": str(folder / "lib"), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=True).stdout
        assert "not found" not in listed
        paths = re.findall(r"(/\S+) \(0x", listed)
        assert any(path.endswith("/libstdc++.so.6") for path in paths)
        assert [path for path in paths if not path.startswith(f"{folder}/lib/")
                and not glibc.search(path)] == []
    assert [path.name for path in (folder / "lib").iterdir() if glibc.search(str(path))] == []


def test_programs_are_stripped(folder):
    for program in (folder / "libexec").iterdir():
        sections = subprocess.run(["readelf", "--sections", "--wide", program], capture_output=True,
                                  text=True, check=True).stdout
        assert ".debug_info" not in sections and ".symtab" not in sections


def test_serves_without_an_environment(folder, model_file, tmp_path):
    moved = tmp_path / "elsewhere"  # it may be copied anywhere, and linked to
    folder.rename(moved)
    (tmp_path / "server").symlink_to(moved / "bin/sieve_server")
    ports = tmp_path / "ports"
    log = (tmp_path / "log").open("w+")
    server = subprocess.Popen(
        [tmp_path / "server", f"--model={model_file}", "--listen=127.0.0.1:0",
         "--metrics_listen=127.0.0.1:0", f"--port_file={ports}", "--kv_cache_mb=64"],
        env={}, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while not ports.exists():
            assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.02)
        port = dict(re.findall(r"(\w+)=(\d+)", ports.read_text()))["grpc"]
        answer = subprocess.run(
            [moved / "bin/sieve", "generate", f"--address=127.0.0.1:{port}", "--temperature=0",
             "--max_tokens=8", "--prompt=The capital of France is"],
            env={}, capture_output=True, text=True, check=True, timeout=60).stdout
        assert "Paris" in answer
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        server.kill()
        server.wait(30)
        moved.rename(folder)


def test_an_archive(tmp_path):
    status, log = bundle("--out", tmp_path / "sieve.tar.zst", "//client:sieve")
    assert status == 0, log
    names = subprocess.run(["tar", "--zstd", "-tf", tmp_path / "sieve.tar.zst"], capture_output=True,
                           text=True, check=True).stdout.split()
    assert {"sieve/bin/sieve", "sieve/libexec/sieve", "sieve/lib/libstdc++.so.6"} <= set(names)
    assert os.listdir(tmp_path) == ["sieve.tar.zst"]


@pytest.mark.parametrize("arguments, message", [
    (["server/sieve_server"], "expected an option or a label"),
    (["--out"], "--out needs a value"),
    (["//third_party:absl"], "//third_party:absl is no program"),
])
def test_wrong_arguments(arguments, message, tmp_path):
    status, log = bundle(*arguments, *(["--out", str(tmp_path / "b")] if arguments[0] != "--out" else []))
    assert status == 1 and message in log
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    status, log = bundle("--out", tmp_path, "//client:sieve")
    assert status == 1 and "is no bundle" in log
    assert pathlib.Path(tmp_path / "mine").exists()
