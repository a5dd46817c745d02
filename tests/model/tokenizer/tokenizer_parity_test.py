"""Sieve's tokens are those of Hugging Face `tokenizers`, exactly.

    SIEVE_CACHE=... SIEVE_DATA=... pytest tests/model/tokenizer/tokenizer_parity_test.py

needs the binary `bazel build //tests/model/tokenizer:encode_file`, or SIEVE_BIN set to where it is. SIEVE_CACHE is the
folder with models/; SIEVE_DATA, if set, a folder of text files.
"""

import os
import pathlib
import struct
import subprocess

import pytest

from model.tokenizer import hugging_face, texts

ROOT = pathlib.Path(__file__).resolve().parents[3]
SEED = 20240731
CHARACTERS = 2_500_000


def _cache():
    if "SIEVE_CACHE" not in os.environ:
        pytest.skip("SIEVE_CACHE is not set")
    return pathlib.Path(os.environ["SIEVE_CACHE"]) / "models"


def encode(vocabulary, records, folder, parse_special=False):
    """Token ids of each record (bytes), by Sieve."""
    binary = ROOT / "bazel-bin/tests/model/tokenizer/encode_file"
    binary = os.environ.get("SIEVE_BIN", os.path.dirname(binary)) + "/encode_file"
    source, target = folder / "texts", folder / "ids"
    source.write_bytes(b"".join(struct.pack("<I", len(r)) + r for r in records))
    subprocess.run([binary, vocabulary, source, target, str(int(parse_special))], check=True, stdout=subprocess.DEVNULL)
    data = target.read_bytes()
    ids, position = [], 0
    while position < len(data):
        (count,) = struct.unpack_from("<I", data, position)
        ids.append(list(struct.unpack_from(f"<{count}i", data, position + 4)))
        position += 4 + 4 * count
    return ids


def check(texts_, expected, actual):
    """Equal, or a short account of the first difference."""
    assert len(actual) == len(texts_)
    for text, want, got in zip(texts_, expected, actual):
        if want == got:
            continue
        place = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
        pytest.fail(f"text {text[:200]!r}: at token {place}: expected {want[place:place + 8]}, got {got[place:place + 8]}")


@pytest.fixture(scope="module")
def generated():
    print(f"seed {SEED}")
    return texts.generated(SEED, CHARACTERS)


@pytest.fixture(scope="module", params=["smollm", "llama3", "gpt2"])
def tokenizer(request, tmp_path_factory):
    """A vocabulary file and Hugging Face's tokenizer of it."""
    cache = _cache()
    if request.param == "smollm":
        path = cache / "SmolLM2-135M-Instruct.Q4_1.gguf"
        return path, hugging_face.from_gguf(path)
    if request.param == "llama3":
        path = cache / "llama3-tokenizer.model"
        return path, hugging_face.from_tiktoken(path)
    # SmolLM2's merges behind GPT-2's pre-tokenizer, by way of a tokenizer.json.
    reference = hugging_face.from_gguf(cache / "SmolLM2-135M-Instruct.Q4_1.gguf", "gpt2")
    path = tmp_path_factory.mktemp("gpt2") / "tokenizer.json"
    reference.save(str(path))
    return path, reference


def test_generated_texts(tokenizer, generated, tmp_path):
    path, reference = tokenizer
    hugging_face.parse_special(reference, False)
    expected = [e.ids for e in reference.encode_batch(generated, add_special_tokens=False)]
    check(generated, expected, encode(path, [t.encode() for t in generated], tmp_path))


def test_special_tokens_in_texts(tokenizer, tmp_path):
    path, reference = tokenizer
    hugging_face.parse_special(reference, True)
    sample = texts.with_special_tokens(SEED, 2000)
    expected = [e.ids for e in reference.encode_batch(sample, add_special_tokens=False)]
    check(sample, expected, encode(path, [t.encode() for t in sample], tmp_path, parse_special=True))


def test_broken_utf8(tokenizer, tmp_path):
    path, reference = tokenizer
    print(f"seed {SEED}")
    records = texts.broken(SEED, 3000)
    expected = [hugging_face.encode_broken(reference, record) for record in records]
    check(records, expected, encode(path, records, tmp_path))


def test_text_files(tokenizer, tmp_path):
    folder = os.environ.get("SIEVE_DATA")
    if not folder:
        pytest.skip("SIEVE_DATA is not set")
    path, reference = tokenizer
    hugging_face.parse_special(reference, False)
    files = list(texts.files(folder, 100_000))
    assert files, f"no text files below {folder}"
    expected = [e.ids for e in reference.encode_batch(files, add_special_tokens=False)]
    check(files, expected, encode(path, [t.encode() for t in files], tmp_path))


def test_tokenizer_json_with_each_form_of_merges(generated, tmp_path):
    """A tokenizer.json gives the same tokens as the file that it was made from, its merges written as pairs or strings."""
    for name, make, source in (
        ("smollm", hugging_face.from_gguf, _cache() / "SmolLM2-135M-Instruct.Q4_1.gguf"),
        ("llama3", hugging_face.from_tiktoken, _cache() / "llama3-tokenizer.model"),
    ):
        content = hugging_face.save(make(source), tmp_path / "tokenizer.json")
        pairs = [m if isinstance(m, list) else m.split(" ") for m in content["model"]["merges"]]
        sample = [t.encode() for t in generated if len(t) < 20_000][::50]
        expected = encode(source, sample, tmp_path)
        for merges in (pairs, [" ".join(pair) for pair in pairs]):
            content["model"]["merges"] = merges
            path = tmp_path / name / "tokenizer.json"
            path.parent.mkdir(exist_ok=True)
            hugging_face.write_json(content, path)
            check(sample, expected, encode(path, sample, tmp_path))
