"""Speed of Sieve's tokenizer against Hugging Face `tokenizers`, on one thread, in turn.

    bazel build //tests/model/tokenizer:encode_file
    SIEVE_CACHE=... SIEVE_DATA=... python bench/tokenizer_bench.py >> bench/results/tokenizer.jsonl

SIEVE_CACHE is the folder with models/; SIEVE_DATA, if set, one with text files (else texts are generated). One JSON line a
measurement: the fastest of several passes, in MB (10^6 bytes of UTF-8) a second of CPU time, which other load on the machine disturbs
less than it does the clock. The passes of the two alternate. `linearity` times single words of random letters; Hugging Face is timed on the same ones.
"""

import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from model.tokenizer import hugging_face, texts  # noqa: E402

SEED = 1
PASSES = 3


def corpora():
    """Texts by name: each a list of about 2 MB."""
    rng = random.Random(SEED)
    mixed = [texts.mixed(rng, 5000) for _ in range(150)]
    result = {"scripts, code and emoji": mixed}
    if os.environ.get("SIEVE_DATA"):
        english = "".join(texts.files(os.environ["SIEVE_DATA"] + "/wikitext2", 1_000_000))
        result["English (WikiText-2)"] = [english[i : i + 10_000] for i in range(0, len(english), 10_000)]
    return result


def sieve_seconds(binary, vocabulary, records, folder):
    """One pass over the texts by Sieve; the time and the ids, as bytes."""
    source, target = folder / "texts", folder / "ids"
    source.write_bytes(b"".join(struct.pack("<I", len(r)) + r for r in records))
    run = subprocess.run([binary, vocabulary, source, target, "0", "1"], check=True, stdout=subprocess.PIPE)
    return float(run.stdout), target.read_bytes()


def hugging_face_seconds(tokenizer, strings):
    """One pass by Hugging Face; the time and the ids in the same form."""
    start = time.process_time()
    encodings = [tokenizer.encode(text, add_special_tokens=False) for text in strings]
    seconds = time.process_time() - start
    ids = [encoding.ids for encoding in encodings]
    return seconds, b"".join(struct.pack(f"<I{len(i)}i", len(i), *i) for i in ids)


def compare(binary, vocabulary, tokenizer, strings, folder):
    """Fastest seconds of each over the same texts, whose ids must be equal."""
    records = [text.encode() for text in strings]
    ours, theirs = [], []
    for _ in range(PASSES):
        seconds, ids = sieve_seconds(binary, vocabulary, records, folder)
        ours.append(seconds)
        seconds, expected = hugging_face_seconds(tokenizer, strings)
        theirs.append(seconds)
        if ids != expected:
            raise SystemExit("the tokens differ: run tests/model/tokenizer/tokenizer_parity_test.py")
    return min(ours), min(theirs)


def cpu():
    """The processor's name."""
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown"


def emit(**fields):
    print(json.dumps({"benchmark": "tokenizer", "cpu": cpu(), **fields},
                     ensure_ascii=False), flush=True)


def main():
    models = pathlib.Path(os.environ["SIEVE_CACHE"]) / "models"
    binary = pathlib.Path(os.environ.get("SIEVE_BIN", ROOT / "bazel-bin/tests/model/tokenizer")) / "encode_file"
    for name, make in (("SmolLM2-135M-Instruct.Q4_1.gguf", hugging_face.from_gguf),
                       ("llama3-tokenizer.model", hugging_face.from_tiktoken)):
        tokenizer = hugging_face.parse_special(make(models / name), False)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for corpus, strings in corpora().items():
                megabytes = sum(len(text.encode()) for text in strings) / 1e6
                ours, theirs = compare(binary, models / name, tokenizer, strings, folder)
                emit(vocabulary=name, corpus=corpus, megabytes=round(megabytes, 2), passes=PASSES,
                     sieve_mb_per_cpu_s=round(megabytes / ours, 2), hugging_face_mb_per_cpu_s=round(megabytes / theirs, 2),
                     ratio=round(theirs / ours, 2))
            for size in (250_000, 500_000, 1_000_000):
                word = "".join(random.Random(SEED).choices("abcdefghijklmnopqrstuvwxyz", k=size))
                ours, theirs = compare(binary, models / name, tokenizer, [word], folder)
                emit(vocabulary=name, linearity="one word", bytes=size, passes=PASSES,
                     sieve_cpu_s=round(ours, 4), hugging_face_cpu_s=round(theirs, 4))


if __name__ == "__main__":
    main()
