"""Hugging Face tokenizers built from the same files that Sieve reads: the reference that it is compared with."""

import base64
import json

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Special tokens of Llama 3.1 and 3.2, from 128000 on.
LLAMA3_SPECIAL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", *(f"<|reserved_special_token_{i}|>" for i in range(3, 248)),
]


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable}
    alphabet.update({byte: chr(0x100 + i) for i, byte in enumerate(others)})
    return alphabet


_ALPHABET = byte_alphabet()


def spell(data):
    """Bytes in the byte-level alphabet."""
    return "".join(_ALPHABET[byte] for byte in data)


def _pre_tokenizer(name):
    if name == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name == "smollm":
        first = pre_tokenizers.Digits(individual_digits=True)
    else:
        first = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), behavior="isolated")
    second = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name == "smollm")
    return pre_tokenizers.Sequence([first, second])


def _tokenizer(vocab, merges, pre_tokenizer, special, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = _pre_tokenizer(pre_tokenizer)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    return tokenizer


def read_metadata(path):
    """A GGUF file's metadata as a dictionary."""
    return {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}


def from_gguf(path, pre_tokenizer="smollm"):
    """The tokenizer in a GGUF file's metadata."""
    metadata = read_metadata(path)
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    kinds = metadata["tokenizer.ggml.token_type"]
    control = int(gguf.TokenType.CONTROL)
    special = [token for token, kind in zip(tokens, kinds) if kind == control]
    return _tokenizer({t: i for i, t in enumerate(tokens)}, merges, pre_tokenizer, special)


def from_tiktoken(path):
    """Llama 3's tokenizer.model, its ranks turned into merges."""
    with open(path, "rb") as file:
        lines = [line.split() for line in file]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    merges = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                merges.append((rank, spell(left), spell(right)))
    merges.sort(key=lambda merge: merge[0])
    vocab = {spell(token): rank for token, rank in ranks.items()}
    return _tokenizer(vocab, [m[1:] for m in merges], "llama3", LLAMA3_SPECIAL, ignore_merges=True)


def parse_special(tokenizer, parse):
    """Whether names of special tokens in a text become those tokens."""
    tokenizer.encode_special_tokens = not parse
    return tokenizer


def encode_broken(tokenizer, data):
    """Tokens of bytes that are not UTF-8: words end where they do with U+FFFD, and keep their own bytes."""
    text = data.decode("utf-8", "replace")
    sizes = []  # bytes of `data` that each character of `text` stands for
    position = 0
    for character in text:
        encoded = character.encode()
        if data.startswith(encoded, position):
            sizes.append(len(encoded))
        else:
            # The decoder of CPython replaces maximal subparts, of one to three bytes.
            size = 1
            while (
                position + size < len(data)
                and data[position : position + size + 1].decode("utf-8", "replace") == "\ufffd"
            ):
                size += 1
            sizes.append(size)
        position += sizes[-1]
    assert position == len(data)
    ids = []
    begin = 0
    character = 0
    for _, (first, last) in tokenizer.pre_tokenizer.pre_tokenize_str(text):
        assert first == character
        end = begin + sum(sizes[first:last])
        ids += [token.id for token in tokenizer.model.tokenize(spell(data[begin:end]))]
        begin, character = end, last
    assert begin == len(data)
    return ids


def save(tokenizer, path):
    """Writes a tokenizer.json; its content."""
    tokenizer.save(str(path))
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write_json(content, path):
    """Writes the content of a tokenizer.json."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
