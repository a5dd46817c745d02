"""Texts that tokenizers disagree on when they differ at all, from a fixed seed."""

import gzip
import os
import random
import unicodedata

_WORDS = {
    "latin": "the quick brown Fox jumps over LAZY dogs naïve façade Zürich İstanbul ſtraße Łódź don't we'll I'VE it'S 'tis",
    "greek": "Ἐν ἀρχῇ ἦν ὁ λόγος και ο Θεός Αθήνα ΣΊΣΥΦΟΣ",
    "cyrillic": "Съешь же ещё этих мягких французских булок да выпей чаю Ђорђе Їжак",
    "hebrew": "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם שלום",
    "arabic": "بِسْمِ اللَّهِ الرَّحْمَٰنِ السلام عليكم ١٢٣ ۴۵۶ پاکستان",
    "devanagari": "सभी मनुष्यों को गौरव क्षत्रिय १२३ नमस्ते",
    "bengali": "বাংলা ভাষা আন্তর্জাতিক ৪৫৬", "tamil": "தமிழ் மொழி வணக்கம்", "thai": "ภาษาไทยเขียนติดกันไม่มีเว้นวรรค ๑๒๓",
    "georgian": "საქართველო ქართული", "armenian": "Հայաստան բարև", "ethiopic": "ሰላም ኢትዮጵያ፡፡ ፩፪፫",
    "han": "天地玄黃宇宙洪荒 汉字〇一二三 𠀀𠀁𪚥", "kana": "ひらがなカタカナ ﾊﾝｶｸ 東京タワー々", "hangul": "안녕하세요 한국어 한글",
    "khmer": "ភាសាខ្មែរ", "tibetan": "བོད་སྐད་", "cherokee": "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "math": "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋ 𝔘𝔫𝔦 𝟙𝟚 ½¾ x² ₁₂ Ⅻ",
    "emoji": "😀 👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷 1️⃣ ❤️ 🧑🏿‍🚀 ©️ 🫨",
    "numbers": "0 1 12 123 1234 12345 3.14159 1,000,000 0xFF 1e-9 2024-01-31 007",
    "code": "def f(x):\n\treturn {'a': [1, 2], \"b\": x**2}  # note\n\n#include <a.h>\r\nint main(void){return 0;}\n    x += 1;;\n",
    "markup": "<div class=\"a\">&amp;</div> <|im_start|>user <|im_end|> <|endoftext|> <|eot_id|> <|begin_of_text|> <| im_end|>",
}
_SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00a0", "\u3000", "\u2028", "\u0085", "\x0b\x0c",
           "\u180e", "\u200b", "\ufeff", " " * 17, "\n" * 5, "\t\t \n\t", "\r", " \r", "\x1c\x1f"]
_PUNCTUATION = list("!?.,;:-–—…'\"“”‘’()[]{}<>@#$%^&*_+=|\\/~`´") + ["'", "''", "'s", "'S", "'ſ", "'LL", "’s", "...", "!!!\n", "--\r\n\r\n"]
_MARKS = ["\u0301", "\u0308", "\u20dd", "\ufe0f", "\u200d", "\U000e0067", "\u0e31", "\u093f"]


def _random_character(rng):
    while True:
        code = rng.choice((rng.randrange(0x80), rng.randrange(0x800), rng.randrange(0x10000), rng.randrange(0x20000),
                           rng.randrange(0x110000)))
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def _piece(rng):
    kind = rng.randrange(12)
    if kind < 6:
        return rng.choice(rng.choice(_ALL_WORDS))
    if kind < 8:
        return rng.choice(_SPACES)
    if kind == 8:
        return rng.choice(_PUNCTUATION) * rng.choice((1, 1, 1, 2, 5))
    if kind == 9:
        return str(rng.randrange(10 ** rng.randrange(1, 12)))
    if kind == 10:
        return rng.choice(_MARKS)
    return "".join(_random_character(rng) for _ in range(rng.randrange(1, 4)))


_ALL_WORDS = [text.split(" ") for text in _WORDS.values()]


def mixed(rng, characters):
    """Words of all scripts, spaces, punctuation, marks and random characters, often run together."""
    pieces = []
    size = 0
    while size < characters:
        piece = _piece(rng)
        if rng.random() < 0.5:
            piece += " "
        pieces.append(piece)
        size += len(piece)
    return "".join(pieces)


def every_character():
    """Code points of every block in surroundings that show their class; of the long uniform blocks every 61st."""
    dense = [range(0x3400), range(0xA000, 0xAC00), range(0xD7A0, 0xD800), range(0xF900, 0x20000), range(0x2A6D0, 0x2A710),
             range(0x2B730, 0x2B830), range(0x2CE90, 0x2CEC0), range(0x2EBD0, 0x2EE70), range(0x31340, 0x31360),
             range(0x323A0, 0x323C0), range(0xE0000, 0xE0200)]
    codes = {c for r in dense for c in r} | {c for c in range(0, 0x110000, 61) if not 0xD800 <= c < 0xE000}
    codes = sorted(codes)
    return ["".join(f"a{chr(c)}1{chr(c)}!{chr(c)} {chr(c)}" for c in codes[i : i + 1024]) for i in range(0, len(codes), 1024)]


def long_words(rng):
    """Single words and runs of spaces of up to 100000 characters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [
        "".join(rng.choices(letters, k=100_000)),
        "a" * 99_999,
        "ab" * 30_000 + "c",
        "天地玄黃" * 10_000,
        " " * 50_000 + "x",
        "\n" * 50_000,
        " \n" * 20_000 + " ",
        "=" * 30_000,
        "9" * 20_000,
        "e\u0301" * 20_000,
        "'" * 20_000,
    ]


def short_words():
    """Every printable ASCII word of two characters, alone and behind a space."""
    printable = [chr(c) for c in range(128)]
    return [f"{space}{a}{b}" for space in ("", " ") for a in printable for b in printable]


def generated(seed, total):
    """About `total` characters of everything above."""
    rng = random.Random(seed)
    texts = ["", " ", "\n", "\x00", "a", "\u00e9", unicodedata.normalize("NFD", "é")]
    texts += list(_WORDS.values()) + short_words() + every_character() + long_words(rng)
    size = sum(map(len, texts))
    while size < total:
        texts.append(mixed(rng, rng.choice((3, 10, 30, 100, 1000, 10_000))))
        size += len(texts[-1])
    return texts


def samples():
    """A short text of each kind."""
    return ["", *_WORDS.values(), *_SPACES, "a \n  b", "x" * 100]


def with_special_tokens(seed, count):
    """Texts with names of special tokens, whole, cut and run together."""
    rng = random.Random(seed)
    names = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<|begin_of_text|>", "<|end_of_text|>"]
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(rng.randrange(1, 8)):
            name = rng.choice(names)
            cut = name[rng.randrange(len(name)) :] if rng.random() < 0.3 else name
            parts += [cut, rng.choice(("", " ", "\n", "  ", mixed(rng, 10)))]
        texts.append("".join(parts))
    return texts


def broken(seed, count):
    """Bytes that are not UTF-8: damaged texts and random bytes."""
    rng = random.Random(seed)
    texts = [bytes([a, b]) + tail for a in range(0x80, 0x100) for b in (0x20, 0x41, 0x80, 0x9F, 0xA0, 0xBF, 0xC3, 0xFF)
             for tail in (b"", b"x", b"\x80", b"\x80\x80 1")]
    for _ in range(count):
        data = bytearray(mixed(rng, rng.choice((5, 20, 200))).encode())
        for _ in range(rng.randrange(1, 10)):
            place = rng.randrange(len(data))
            action = rng.randrange(3)
            if action == 0:
                del data[place : place + rng.randrange(1, 4)]
                data = data or bytearray(b"\xf0")
            elif action == 1:
                data[place] = rng.randrange(256)
            else:
                data[place:place] = rng.randbytes(rng.randrange(1, 5))
        texts.append(bytes(data))
        texts.append(rng.randbytes(rng.randrange(1, 40)))
    return texts


def files(folder, limit):
    """The first `limit` characters of each text file below a folder."""
    for path, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if not name.endswith((".txt.gz", ".jsonl.gz", ".jsonl", ".raw.gz", ".tokens.gz")):
                continue
            opener = gzip.open if name.endswith(".gz") else open
            with opener(os.path.join(path, name), "rt", encoding="utf-8") as file:
                yield file.read(limit)
