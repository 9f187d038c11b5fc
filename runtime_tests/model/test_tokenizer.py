"""Both kinds of tokenizer file: equal ids for equal vocabularies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
import tokenizers

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
