"""Tokenizers of every kind that the app reads, made on the spot, and texts that tell them apart."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from runtime_tests.tiny import TEXT

MARKERS = ["<unk>", "<|im_start|>", "<|im_end|>"]

_SEEDS = [
    "Once upon a time there was a little dog named Max. He didn't like the rain, but he'd play in it!",
    "  two spaces before, three after   ",
    "line one\nline two\r\n\n\ttabbed\x0b\x0c\x85\u2028end",
    (
        "na\u00efve caf\u00e9, Stra\u00dfe, \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac, \u0440\u0443"
        "\u0441\u0441\u043a\u0438\u0439"
    ),
    (
        "nai\u0308ve cafe\u0301 \u1e9b\u0323 q\u0345\u0334 \u212b \ufb01 \u00c5ngstro\u0308m \uac00\u1100"
        "\u1161\u11a8"
    ),
    (
        "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002 \u4e2d\u6587\uff0c\u6807\u70b9\uff01 \ud55c\uad6d\uc5b4"
        " \u0639\u0631\u0628\u064a \u05e2\u05d1\u05e8\u05d9\u05ea \u0e44\u0e17\u0e22 \u0939\u093f\u0928"
        "\u094d\u0926\u0940"
    ),
    (
        "emoji \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44b\U0001f3fd \u2764"
        "\ufe0f and a rare one \U00013080"
    ),
    "x = {'a': [1, 2.5e-3]} # code\n\tif (a->b && !c) { return 0xFF; } // 1234567890",
    "\u200b\ufeff\u00ad zero width \x00\x01\x1b[0m\x7f\ufffd\u2581\u2581 \ufffe \u00a0\u3000",
    "it's IT'S we'RE they'll I'\u017f 'd 'D \u212aelvin \u0130\u0131",
    "<|im_start|>user\nhi<|im_end|>\n <|im_end|><|im_end|> <unk></s><s> <0x0A><|endoftext|> <tool> <mask> \n",
    "\u0663\u0664\u0665 \u00bd \u2167 \u2460 \u3250 \U0001d7d8 1,234.56 \u00b2",
    (
        "\u088f \U00010940\U00010941 \U00011de0 \U0001fac8 \U000323b0 \u0897a \U000105d2\u0307 \U00011935"
        "\U00011930 \u0295\u0294"
    ),
]


def texts(count: int = 400) -> list[str]:
    """The seeds, and random mixtures of their parts and of any characters."""
    rng = random.Random(7)
    parts = [part for seed in _SEEDS for part in (seed, *seed.split(" "), *seed)]
    mixed = ["".join(rng.choices(parts, k=rng.randint(1, 24))) for _ in range(count)]
    anything = ["".join(_any_character(rng) for _ in range(12)) for _ in range(count // 2)]
    return ["", " ", *_SEEDS, TEXT[:400], *mixed, *anything]


def _any_character(rng: random.Random) -> str:
    code = rng.choice([rng.randrange(0x3000), rng.randrange(0x110000)])
    return " " if 0xD800 <= code < 0xE000 else chr(code)


_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CL100K = _LLAMA_3.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)")
_QWEN = _LLAMA_3.replace("{1,3}", "")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(
    regex: str | None, normalizer: normalizers.Normalizer | None = None, ignore_merges: bool = False
) -> tokenizers.Tokenizer:
    """GPT-2's own pattern for None."""
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if regex is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(regex), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=MARKERS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*_SEEDS, TEXT], trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("caf\u00e9", normalized=True)])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    return tokenizer


def _smollm() -> tokenizers.Tokenizer:
    tokenizer = _byte_level(None)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def _with_bytes(tokenizer: tokenizers.Tokenizer, corpus: list[str]) -> tokenizers.Tokenizer:
    """Train merges of characters, with a token for each byte that the vocabulary lacks."""
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=[*MARKERS, *alphabet])
    tokenizer.train_from_iterator(corpus, trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [a for a in state["added_tokens"] if a["content"] not in alphabet]
    return tokenizers.Tokenizer.from_str(json.dumps(state))


def _gemma() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    made = _with_bytes(tokenizer, [*_SEEDS[:3], TEXT[:200]])
    made.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("\u2581\u2581", normalized=False)])
    return made


def _llama_2() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    strip = decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), strip]
    )
    return _with_bytes(tokenizer, _SEEDS[:5])


def _mistral() -> tokenizers.Tokenizer:
    """As Mistral's and later Llama-2 files are: the space in front comes from the pre-tokenizer."""
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made = _with_bytes(tokenizer, _SEEDS[:5])
    made.add_tokens([AddedToken("<tool>", normalized=True)])
    return made


def _unigram(scheme: str, split: bool) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(vocab_size=250, special_tokens=MARKERS, unk_token="<unk>")
    tokenizer.train_from_iterator([*_SEEDS[:6], TEXT], trainer)
    return tokenizer


def _unknown(fuse: bool) -> tokenizers.Tokenizer:
    """A vocabulary that lacks most characters."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=120, special_tokens=MARKERS))
    return tokenizer


#: tokenizer.json of the families, by name.
JSON_TOKENIZERS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    "gpt2": functools.partial(_byte_level, None),
    "llama3": functools.partial(_byte_level, _LLAMA_3, ignore_merges=True),
    "qwen": functools.partial(_byte_level, _QWEN, normalizers.NFC()),
    "cl100k": functools.partial(_byte_level, _CL100K),
    "tekken": functools.partial(_byte_level, _TEKKEN),
    "smollm": _smollm,
    "gemma": _gemma,
    "llama2": _llama_2,
    "mistral": _mistral,
    "unigram": functools.partial(_unigram, "never", True),
    "unigram-first": functools.partial(_unigram, "first", False),
    "unknown": functools.partial(_unknown, False),
    "unknown-fused": functools.partial(_unknown, True),
}

#: Options of SentencePiece's trainer, by name.
SENTENCEPIECE_MODELS: dict[str, dict[str, object]] = {
    "spm-bpe-llama": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
    },
    "spm-bpe-plain": {"model_type": "bpe"},
    "spm-bpe-gemma": {
        "model_type": "bpe",
        "byte_fallback": True,
        "add_dummy_prefix": False,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "user_defined_symbols": ["<tool>", "\n", "  ", "little dog"],
    },
    "spm-unigram": {"model_type": "unigram"},
    "spm-unigram-bytes": {
        "model_type": "unigram",
        "byte_fallback": True,
        "normalization_rule_name": "nfkc",
        "remove_extra_whitespaces": False,
        "user_defined_symbols": ["<tool>", "time there"],
    },
    "spm-unigram-folded": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc_cf"},
}


def train_sentencepiece(name: str, directory: Path) -> Path:
    """Train a model and return its file."""
    corpus = directory / "corpus.txt"
    corpus.write_text("\n".join([*" ".join(_SEEDS[:9]).replace("\x00", "").splitlines(), TEXT[:300]]))
    options = {"vocab_size": 420, "hard_vocab_limit": False, **SENTENCEPIECE_MODELS[name]}
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(directory / "tokenizer"), minloglevel=2, **options
    )
    return directory / "tokenizer.model"
