"""Writes goldens.jsonl: a few texts and their tokens by Hugging Face `tokenizers`, so that the C++ test needs no Python.

    SIEVE_CACHE=... PYTHONPATH=tests python tests/model/tokenizer/make_goldens.py

Texts are bytes in hexadecimal, for some are not UTF-8.
"""

import json
import os
import pathlib

from model.tokenizer import hugging_face, texts

SEED = 2024


def main():
    models = pathlib.Path(os.environ["SIEVE_CACHE"]) / "models"
    sample = [t.encode() for t in texts.samples()] + texts.broken(SEED, 10)[-20:]
    with open(pathlib.Path(__file__).with_name("goldens.jsonl"), "w", encoding="ascii") as file:
        for name, make in (("SmolLM2-135M-Instruct.Q4_1.gguf", hugging_face.from_gguf),
                           ("llama3-tokenizer.model", hugging_face.from_tiktoken)):
            tokenizer = hugging_face.parse_special(make(models / name), False)
            for data in sample:
                ids = hugging_face.encode_broken(tokenizer, data)
                file.write(json.dumps({"vocabulary": name, "text": data.hex(), "ids": ids}) + "\n")


if __name__ == "__main__":
    main()
