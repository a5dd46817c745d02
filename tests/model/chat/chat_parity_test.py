"""Sieve's chat prompts are what Jinja makes of the template, tokenized by Hugging Face `tokenizers`.

    SIEVE_CACHE=... pytest tests/model/chat/chat_parity_test.py

needs the binary `bazel build //tests/model/chat:encode_chat`, or SIEVE_BIN set to where it is.
"""

import json
import os
import pathlib
import subprocess

import jinja2
import pytest

from model.tokenizer import hugging_face

ROOT = pathlib.Path(__file__).resolve().parents[3]
# The published format of Llama 3 and of 3.1 and later, put in this test's own words.
LLAMA3 = (
    "{% for m in messages %}{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' %}{{ bos_token + text if loop.first else text }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA31 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = \"26 Jul 2024\" %}{%- endif %}"
    "{%- set first = messages[0]['content'] | trim if messages[0]['role'] == 'system' else '' %}"
    "{%- set rest = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}{{- 'Cutting Knowledge Date: December 2023\n' }}"
    "{{- 'Today Date: ' + date_string + '\n\n' }}{{- first }}{{- '<|eot_id|>' }}{%- for m in rest %}"
    "{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
CONVERSATIONS = [
    [("user", "Hello")],
    [("system", "You are terse."), ("user", "  What is 12 + 345?\n")],
    [("user", "Hi"), ("assistant", "\n\nHello! "), ("user", "naïve 😀\u3000")],
    [("user", ""), ("assistant", " "), ("system", "later"), ("user", "'quoted' \"text\" {{ x }} {% y %}")],
    [("system", ""), ("user", "\n\n\n")],
]


@pytest.fixture(scope="module")
def models():
    if "SIEVE_CACHE" not in os.environ:
        pytest.skip("SIEVE_CACHE is not set")
    return pathlib.Path(os.environ["SIEVE_CACHE"]) / "models"


def encode(vocabulary, folder):
    """The prompts' token ids, by Sieve."""
    binary = pathlib.Path(os.environ.get("SIEVE_BIN", ROOT / "bazel-bin/tests/model/chat")) / "encode_chat"
    path = folder / "conversations"
    path.write_text("".join(json.dumps(c) + "\n" for c in CONVERSATIONS))
    result = subprocess.run([binary, vocabulary, path], check=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in result.stdout.splitlines()]


def check(template, tokenizer, actual, **variables):
    """The prompts equal the template's."""
    rendered = jinja2.Environment().from_string(template)
    for conversation, ids in zip(CONVERSATIONS, actual, strict=True):
        messages = [{"role": role, "content": content} for role, content in conversation]
        text = rendered.render(messages=messages, add_generation_prompt=True, **variables)
        assert ids == tokenizer.encode(text, add_special_tokens=False).ids, text


def test_smollm2_template(models, tmp_path):
    path = models / "SmolLM2-135M-Instruct.Q4_1.gguf"
    template = hugging_face.read_metadata(path)["tokenizer.chat_template"]
    check(template, hugging_face.from_gguf(path), encode(path, tmp_path))


@pytest.mark.parametrize("template", [LLAMA3, LLAMA31], ids=["3", "3.1"])
def test_llama3_templates(models, tmp_path, template):
    tokenizer = hugging_face.from_tiktoken(models / "llama3-tokenizer.model")
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    config = {"chat_template": template, "bos_token": "<|begin_of_text|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    check(template, tokenizer, encode(path, tmp_path), bos_token="<|begin_of_text|>")
