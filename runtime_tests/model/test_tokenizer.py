"""Both kinds of tokenizer file: equal ids for equal vocabularies."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from edge.model.tokenizer import Tokenizer, find_tokenizer
from runtime_tests.conftest import shared_data
from runtime_tests.tiny import TEXT, tiny_tokenizer

SAMPLES = [
    "",
    " ",
    "Once upon a time",
    "  two spaces before, three after   ",
    "line one\nline two\r\n\n\ttabbed",
    "naïve café, Straße, Ελληνικά, русский, 日本語, عربي",
    "emoji 👩‍👩‍👧 and a rare one 𓀀",
    "x = {'a': [1, 2.5e-3]} # code",
    "\u200b\ufeff\u00ad zero width",
    "e\u0301 decomposed",
]


@pytest.fixture(scope="module")
def pair() -> tuple[Tokenizer, Tokenizer]:
    directory = shared_data("tokenizer-llama2")
    return Tokenizer(directory / "tokenizer.json"), Tokenizer(directory / "tokenizer.model")


@pytest.mark.parametrize("text", SAMPLES, ids=range(len(SAMPLES)))
def test_json_and_sentencepiece_agree(text: str, pair: tuple[Tokenizer, Tokenizer]) -> None:
    json_form, sp_form = pair
    ids = json_form.encode(text)
    assert ids == sp_form.encode(text)
    assert json_form.decode(ids) == sp_form.decode(ids)


def test_json_and_sentencepiece_agree_on_a_book(pair: tuple[Tokenizer, Tokenizer]) -> None:
    text = shared_data("wikitext-2/wiki.test.raw").read_text()[:100_000]
    lines = text.splitlines()
    by_json, by_sp = (tokenizer.encode_batch(lines) for tokenizer in pair)
    assert by_json == by_sp
    for ids, line in zip(by_json, lines, strict=True):
        assert pair[0].decode(ids) == pair[1].decode(ids) == line


def test_both_know_32000_entries(pair: tuple[Tokenizer, Tokenizer]) -> None:
    assert [tokenizer.vocab_size for tokenizer in pair] == [32000, 32000]


@pytest.mark.parametrize("index", [0, 1], ids=["json", "sentencepiece"])
def test_markers_and_padding_have_no_text(index: int, pair: tuple[Tokenizer, Tokenizer]) -> None:
    tokenizer = pair[index]
    ids = tokenizer.encode("a cat")
    assert tokenizer.decode([1, *ids, 2, 32000, 40000]) == "a cat"


def test_no_markers_are_added() -> None:
    directory = shared_data("TinyStories-656K")  # its file asks for a begin marker
    assert Tokenizer(directory).encode("Once")[0] != 1


def test_a_length_limit_in_the_file_does_not_cut_text(tmp_path: Path) -> None:
    saved = tokenizers.Tokenizer.from_file(str(tiny_tokenizer()))
    saved.enable_truncation(4)
    saved.enable_padding(length=8)
    saved.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.encode(TEXT) == Tokenizer(tiny_tokenizer()).encode(TEXT)
    assert len(tokenizer.encode("a")) == 1


def test_the_size_is_one_more_than_the_highest_id(tmp_path: Path) -> None:
    saved = tokenizers.Tokenizer.from_file(str(tiny_tokenizer()))
    assert Tokenizer(tiny_tokenizer()).vocab_size == 304
    saved.add_special_tokens(["<pad>"])
    saved.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer(tmp_path).vocab_size == 305


def test_json_is_preferred_and_any_path_works(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").touch()
    assert find_tokenizer(tmp_path).name == "tokenizer.model"
    shutil.copyfile(tiny_tokenizer(), tmp_path / "tokenizer.json")
    assert (
        Tokenizer(tmp_path).path == Tokenizer(tmp_path / "tokenizer.json").path == tmp_path / "tokenizer.json"
    )


def test_none_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tokenizer in .*: expected tokenizer.json or tokenizer.model"):
        Tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "library"), [("tokenizer.json", "tokenizers"), ("tokenizer.model", "sentencepiece")]
)
def test_an_unreadable_file(name: str, library: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b'{"model": 3}')
    with pytest.raises(ValueError, match=rf"{name} is not a readable tokenizer \({library}: .+\)"):
        Tokenizer(tmp_path)


def test_a_sentencepiece_model_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=32,
        minloglevel=2,
    )
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.vocab_size == 32
    assert tokenizer.decode(tokenizer.encode("the mouse sat")) == "the mouse sat"


def test_a_panic_of_the_library_is_a_refusal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = json.loads(tiny_tokenizer().read_text())
    content["model"]["continuing_subword_prefix"] = "a" * 300  # longer than the pieces that it starts
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"not a readable tokenizer \(tokenizers: range end index"):
        Tokenizer(tmp_path)
    assert "panicked" not in capfd.readouterr().err


#: How the families split text before their byte-level merges.
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN = _LLAMA_3.replace("{1,3}", "")
_CHAT_MARKERS = ["<unk>", "<|im_start|>", "<|im_end|>"]


def _byte_level(regex: str, normalizer: normalizers.Normalizer | None = None) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(regex), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=_CHAT_MARKERS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SAMPLES, trainer)
    return tokenizer


def _gemma() -> tokenizers.Tokenizer:
    """Merges of characters, with a token for each byte that the vocabulary lacks."""
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[*_CHAT_MARKERS, *alphabet])
    tokenizer.train_from_iterator(SAMPLES[:5], trainer)  # the others need bytes
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [a for a in state["added_tokens"] if a["content"] not in alphabet]
    return tokenizers.Tokenizer.from_str(json.dumps(state))


def _unigram() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=_CHAT_MARKERS, unk_token="<unk>")
    tokenizer.train_from_iterator(SAMPLES, trainer)
    return tokenizer


@pytest.mark.parametrize(
    "build",
    [
        functools.partial(_byte_level, _LLAMA_3),
        functools.partial(_byte_level, _QWEN, normalizers.NFC()),
        _gemma,
        _unigram,
    ],
    ids=["llama3", "qwen", "gemma", "unigram"],
)
def test_the_families_kinds_of_tokenizer_give_transformers_ids(
    build: Callable[[], tokenizers.Tokenizer], tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    build().save(str(path))
    tokenizer, reference = Tokenizer(path), PreTrainedTokenizerFast(tokenizer_file=str(path))
    for text in [*SAMPLES, "Don't we'RE 1234567", "<|im_start|>user\nhi<|im_end|>\n"]:
        ids = tokenizer.encode(text)
        assert ids == reference.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True)
    assert [tokenizer.is_marker(id_) for id_ in range(4)] == [True, True, True, False]
