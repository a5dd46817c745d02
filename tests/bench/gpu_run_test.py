"""bench/gpu.sh run, with scripts in place of the programs and of nvidia-smi."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import gpu_peers  # noqa: E402
import gpu_rows  # noqa: E402  the path must be known first
import gpu_run  # noqa: E402

ROW = 'echo \'{"measurement": "any", "gpu": "a name of its own"}\'\n'
# Listens at two ports, and ends by SIGTERM.
SERVER = f"""#!{sys.executable}
import http.server, pathlib, sys, threading

class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'sieve_startup_seconds{{phase="model"}} 1.5\\n')

servers = [http.server.HTTPServer(("127.0.0.1", 0), Metrics) for _ in range(2)]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
(path,) = [a.split("=", 1)[1] for a in sys.argv if a.startswith("--port_file=")]
pathlib.Path(path + ".new").write_text("grpc=%d metrics=%d" % tuple(s.server_port for s in servers))
pathlib.Path(path + ".new").rename(path)
"""
CLIENT = f"""#!{sys.executable}
import json, sys
flags = dict(a[2:].split("=") for a in sys.argv[2:] if "=" in a)
asked = {{k: int(flags[k]) for k in ("concurrency", "requests", "prompt_tokens", "max_tokens", "seed")}}
print(json.dumps({{"parameters": {{**asked, "temperature": 0.8}}, "server": {{"model": "m", "cache_type": "bf16"}},
    "requests": {{"by_code": {{"OK": asked["requests"]}}, "cached_prompt_tokens": 0}}, "tokens_per_second": asked["seed"],
    "time_to_first_token_ms": {{}}, "inter_token_ms": {{}}, "end_to_end_ms": {{}}}}))
"""


@pytest.fixture
def bundle(tmp_path):
    """What bench/gpu.sh bundle makes, unpacked."""
    folder = tmp_path / "bundle"
    (folder / "bench").mkdir(parents=True)
    (folder / ".sieve-bundle").touch()
    for name in ("gpu.sh", "gpu_run.py", "gpu_peers.py", "gpu_rows.py"):
        shutil.copy(ROOT / "bench" / name, folder / "bench")
    torch(folder, sees_device=False)
    program(folder, "nvidia-smi", "echo 'NVIDIA H200, 580.1'\n")
    for name in ("cuda_kernels_bench", "cuda_sampling_bench", "model_bench"):
        program(folder, name, ROW)
    program(folder, "sieve_server", SERVER)
    program(folder, "sieve", CLIENT)
    return folder


def program(folder, name, text):
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text if text.startswith("#!") else "#!/bin/bash\n" + text)
    path.chmod(0o755)


def torch(folder, sees_device):
    """What `import torch` finds there."""
    (folder / "python").mkdir(exist_ok=True)
    (folder / "python/torch.py").write_text(f"class cuda:\n    is_available = staticmethod(lambda: {sees_device})\n")


def run(folder, *arguments):
    """(status, output), and the rows by file."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(["bash", folder / "bench/gpu.sh", "run", *arguments],
                          env={**os.environ, "PATH": path, "PYTHONPATH": str(folder / "python")},
                          capture_output=True, text=True, timeout=60, check=False)
    rows = {file.name: gpu_rows.read(file) for file in (folder / "bench/results").glob("*")}
    return done.returncode, done.stdout + done.stderr, rows


def test_all_parts(bundle):
    status, log, rows = run(bundle)
    assert status == 0 and "0 failed" in log, log
    assert "peers: attention and a copy beside torch's: left out: torch of " in log
    assert {name: len(of_file) for name, of_file in rows.items()} == {
        "cuda_kernels.jsonl": 2, "cuda_model.jsonl": 5, "cuda_server.jsonl": 1 + len(gpu_run.LOADS)}
    for row in sum(rows.values(), []):
        assert row["gpu"] == "NVIDIA H200" and row["driver"] == "580.1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"]) and row["command"]
    startup, *loads = rows["cuda_server.jsonl"]
    assert 0 < startup["values"][0] < 60 and startup["phases"] == {"model": 1.5}
    # Of two rounds the second is kept.
    assert [row["tokens_per_second"] for row in loads] == [2, 4, 6, 8, 10]
    assert [(row["concurrency"], row["prompt_tokens"]) for row in loads] == [
        (1, 128), (1, 1000), (8, 1000), (32, 1000), (128, 1000)]
    assert loads[0]["command"].startswith("sieve bench --concurrency=1 --requests=20 --prompt_tokens=128 ")


def test_a_program_that_fails_leaves_its_rows_and_the_others(bundle):
    program(bundle, "cuda_kernels_bench", ROW + "echo 'out of memory' >&2\nexit 3\n")
    status, log, rows = run(bundle, "kernels")
    assert status == 1 and "FAILED: status 3: out of memory" in log and "1 failed" in log
    assert len(rows["cuda_kernels.jsonl"]) == 2


def test_peers_are_kept_with_the_kernels(bundle):
    torch(bundle, sees_device=True)
    peers = bundle / "bench/gpu_peers.py"
    peers.write_text('import json, sys\n\ndef missing():\n    return None\n\nif __name__ == "__main__":\n'
                     '    print(json.dumps({"measurement": "any", "programs": sys.argv[1]}))\n')
    status, log, rows = run(bundle, "peers")
    assert status == 0 and "peers: attention and a copy beside torch's: done" in log
    (row,) = rows["cuda_kernels.jsonl"]
    assert row["programs"] == str(bundle / "bin") and row["gpu"] == "NVIDIA H200" and row["command"] == "gpu_peers.py"


def test_peers_that_fail_are_a_failure(bundle):
    """The torch that is found here can do nothing but say that there is a device."""
    torch(bundle, sees_device=True)
    status, log, rows = run(bundle, "peers")
    assert status == 1 and "FAILED: status 1: " in log and "No module named 'torch.nn'" in log
    assert rows == {"cuda_kernels.jsonl": []}


def test_without_torch_there_are_no_peers(bundle):
    (bundle / "python/torch.py").write_text("raise ImportError('no torch')\n")
    status, log, rows = run(bundle, "peers")
    assert status == 0 and "left out: " in log and " has no torch" in log and rows == {}


def test_our_side_of_peers(tmp_path):
    rows = [{"measurement": "copy", "bytes_per_s": 4e12}]
    rows += [{"measurement": "attention", "sequences": s, "context": c, "tokens": t, "us": 1.5 * s}
             for s, c, t in gpu_peers.SHAPES]
    program(tmp_path, "cuda_kernels_bench",
            f"[[ $* == '1x16384x16384 32x32768x1 8x131072x1' ]] || exit 1\ncat <<ROWS\n{chr(10).join(map(json.dumps, rows))}\nROWS\n")
    times, copy = gpu_peers.ours(tmp_path / "bin")
    assert copy == 4e12 and times == {shape: 1.5 * shape[0] for shape in gpu_peers.SHAPES}
    peer = {shape: 1.25 for shape in gpu_peers.SHAPES}
    copies, prompt, *_ = gpu_peers.rows_of([(times, copy, peer, 3e12), (times, copy, peer, 5e12)], {"torch": "2"})
    assert copies["bytes_per_s"] == [4e12, 4e12] and copies["peer_bytes_per_s"] == [3e12, 5e12]
    assert prompt == {"measurement": "attention_peers", "sequences": 1, "context": 16384, "tokens": 16384,
                      "us": [1.5, 1.5], "peer": "cuDNN", "peer_us": [1.25, 1.25], "torch": "2"}


def test_a_program_that_is_missing_or_silent_has_failed(bundle):
    (bundle / "bin/cuda_kernels_bench").unlink()
    program(bundle, "cuda_sampling_bench", "true\n")
    status, log, _ = run(bundle, "kernels")
    assert status == 1 and "No such file" in log and "it printed no row" in log and "2 failed" in log


def test_a_program_that_hangs_is_ended(tmp_path, capsys):
    program(tmp_path, "slow", ROW + "exec sleep 30\n")
    runner = gpu_run.Runner(tmp_path / "bin", tmp_path, {"gpu": "g"})
    runner.command("model", gpu_run.Command("slow", (), 1))
    assert runner.failures == 1 and "not done after 1 s" in capsys.readouterr().out
    assert len(gpu_rows.read(tmp_path / "cuda_model.jsonl")) == 1


def test_a_server_that_ends_is_a_failure(bundle):
    program(bundle, "sieve_server", "echo 'no device' >&2\nexit 2\n")
    status, log, rows = run(bundle, "service")
    assert status == 1 and "the server did not start (status 2): no device" in log and rows == {}


def test_a_load_that_fails_leaves_the_others(bundle, tmp_path):
    program(bundle, "sieve", CLIENT.replace('"OK": asked["requests"]', '"OK": min(20, asked["requests"])'))
    status, log, rows = run(bundle, "service", "--out", tmp_path / "out")
    assert status == 1 and "of 64 requests" in log and "2 failed" in log and rows == {}
    assert len(gpu_rows.read(tmp_path / "out/cuda_server.jsonl")) == 4


@pytest.mark.parametrize("arguments, message", [
    (["run", "kernel"], "there is no part kernel"), (["running"], "expected bundle or run")])
def test_wrong_arguments(bundle, arguments, message):
    done = subprocess.run(["bash", bundle / "bench/gpu.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and message in done.stderr


def test_a_bundle_in_a_file_is_all_that_run_needs(tmp_path):
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "bench", clone / "bench")
    (clone / "deploy").mkdir()
    # Makes the folder, with programs named as the labels are.
    (clone / "deploy/bundle.sh").write_text(
        'mkdir -p "$2/bin" && touch "$2/.sieve-bundle"\nfor label in "${@:3}"; do touch "$2/bin/${label##*:}"; done\n')
    subprocess.run(["bash", clone / "bench/gpu.sh", "bundle", tmp_path / "gpu.tar.gz"], check=True)
    assert not (tmp_path / "gpu").exists()
    subprocess.run(["tar", "-C", tmp_path, "-xzf", tmp_path / "gpu.tar.gz"], check=True)
    of_commands = {command.program for commands in gpu_run.COMMANDS.values() for command in commands}
    assert {file.name for file in (tmp_path / "gpu/bin").iterdir()} == of_commands | {"sieve_server", "sieve"}
    assert (tmp_path / "gpu" / gpu_run.CONFIG).exists()
    program(tmp_path / "gpu", "nvidia-smi", "exit 6\n")
    status, log, _ = run(tmp_path / "gpu", "model")
    assert status == 1 and "no GPU is seen" in log


def test_without_a_gpu(bundle):
    program(bundle, "nvidia-smi", "echo 'no devices were found' >&2\nexit 6\n")
    status, log, rows = run(bundle)
    assert status == 1 and "no GPU is seen" in log and rows == {}


def test_programs_have_the_flags_that_are_given():
    def names(flags):
        return {re.match(r"--(\w+)", flag)[1] for flag in flags}

    def defined(file, pattern):
        return set(re.findall(pattern, (ROOT / file).read_text()))

    of_models = set().union(*(names(c.flags) for part in ("model", "long") for c in gpu_run.COMMANDS[part]))
    absl = r"ABSL_FLAG\(\s*[\w:<>]+,\s*(\w+)"
    assert of_models <= defined("bench/model_bench.cc", absl)
    assert names(gpu_run.SERVER_FLAGS) | {"port_file"} <= defined("server/main.cc", absl)
    assert names(gpu_run.LOADS[0].flags(1)) - {"json"} <= defined("client/bench/bench_flags.cc", r'Add\("(\w+)"')
    assert (ROOT / gpu_run.CONFIG).exists()
