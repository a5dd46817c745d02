#!/usr/bin/env python3
"""Compares Sieve's model steps with llama.cpp's on the same file with the same threads, turn about.

llama.cpp is built once from the source that PyPI's llama-cpp-python carries, for this machine's processor. Each
round runs llama-bench (a 512-token prompt, one stream), llama-batched-bench (8 streams) and model_bench; a JSON line
for each measurement is appended to --out.

  bash deploy/setup.sh && bazel build //bench:model_bench
  python3 bench/compare_llama_cpp.py --rounds 5 --out bench/results/llama_cpp.jsonl
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(
    os.environ.get("SIEVE_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "sieve"
)
VERSION = "0.3.36"


def run(command, **kwargs):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def build_llama_cpp(folder):
    """Returns the folder of llama.cpp's binaries, built on first use."""
    binaries = folder / "build" / "bin"
    if (binaries / "llama-batched-bench").exists():
        return binaries
    folder.mkdir(parents=True, exist_ok=True)
    print(f"building llama.cpp (llama-cpp-python {VERSION}) in {folder}", file=sys.stderr)
    run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python",
         "-d", folder, f"llama-cpp-python=={VERSION}"])
    with tarfile.open(folder / f"llama_cpp_python-{VERSION}.tar.gz") as archive:
        archive.extractall(folder)
    source = folder / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
    run(["cmake", "-S", source, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release",
         "-DLLAMA_CURL=OFF", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF",
         "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DBUILD_SHARED_LIBS=OFF"])
    run(["make", "-C", folder / "build", f"-j{os.cpu_count()}", "llama-bench",
         "llama-batched-bench"])
    return binaries


def llama_round(binaries, model, threads):
    """{measurement: tokens/s} of one round."""
    rates = {}
    out = run([binaries / "llama-bench", "-m", model, "-t", threads, "-p", 512, "-n", 128, "-r", 1,
               "-o", "json"])
    for row in json.loads(out):
        name = "prompt_512" if row["n_prompt"] else "decode_1_streams"
        rates[name] = row["avg_ts"]
    out = run([binaries / "llama-batched-bench", "-m", model, "-t", threads, "-c", 2048, "-b", 512,
               "-npp", 16, "-ntg", 128, "-npl", 8, "--output-format", "jsonl"])
    for line in out.splitlines():
        if line.startswith("{"):
            rates["decode_8_streams"] = json.loads(line)["speed_tg"]
    return rates


def sieve_round(binary, model, threads):
    # llama-batched-bench gives each stream a prompt, which its rate of generation leaves out.
    out = run([binary, f"--model={model}", f"--threads={threads}", "--repetitions=1",
               "--streams=1"])
    out += run([binary, f"--model={model}", f"--threads={threads}", "--repetitions=1",
                "--streams=8", "--context_tokens=16", "--prompt_tokens=0"])
    rows = [json.loads(line) for line in out.splitlines()]
    return {row["measurement"]: row["values"][0] for row in rows}


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--llama-cpp", type=pathlib.Path, default=CACHE / "llama.cpp",
                        help="where llama.cpp is, or is to be, built")
    parser.add_argument("--model-bench", default=ROOT / "bazel-bin" / "bench" / "model_bench")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results/llama_cpp.jsonl")
    args = parser.parse_args()

    binaries = build_llama_cpp(args.llama_cpp)
    values = {}
    for i in range(args.rounds):
        for engine, rates in (
            ("llama.cpp", llama_round(binaries, args.model, args.threads)),
            ("sieve", sieve_round(args.model_bench, args.model, args.threads)),
        ):
            for name, rate in rates.items():
                values.setdefault(name, {}).setdefault(engine, []).append(round(rate, 1))
            print(f"round {i + 1} {engine}: {rates}", file=sys.stderr)

    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a") as out:
        for name, engines in values.items():
            pairs = [s / l for s, l in zip(engines["sieve"], engines["llama.cpp"])]
            out.write(json.dumps({
                "measurement": name,
                "unit": "tokens/s",
                "model": pathlib.Path(args.model).name,
                "threads": args.threads,
                "sieve": engines["sieve"],
                "llama_cpp": engines["llama.cpp"],
                "ratio_median": round(statistics.median(pairs), 3),
                "ratio_range": [round(min(pairs), 3), round(max(pairs), 3)],
                "llama_cpp_version": f"llama-cpp-python {VERSION}",
                "processor": processor(),
                "date": datetime.date.today().isoformat(),
                "command": "python3 bench/compare_llama_cpp.py " + " ".join(
                    f"--{k} {getattr(args, k)}" for k in ("threads", "rounds")),
            }) + "\n")
    print(args.out.read_text())


if __name__ == "__main__":
    main()
