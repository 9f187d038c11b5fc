"""The page's tokenizers: the ids and the text of Python's, for every kind of file that the app reads."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers

import edge
from edge.model.tokenizer import Tokenizer
from runtime_tests.android_demo.made_tokenizers import (
    JSON_TOKENIZERS,
    SENTENCEPIECE_MODELS,
    texts,
    train_sentencepiece,
)
from runtime_tests.android_demo.node import run_in_node
from runtime_tests.conftest import shared_data

DEFAULT = Path(edge.__file__).resolve().parent / "assets" / "default" / "2bit" / "tokenizer.json"


def made(name: str, directory: Path) -> Path:
    if name in SENTENCEPIECE_MODELS:
        return train_sentencepiece(name, directory)
    path = directory / "tokenizer.json"
    JSON_TOKENIZERS[name]().save(str(path))
    return path


def assert_equal(page: Path, path: Path, samples: list[str], sequences: Iterable[list[int]] = ()) -> None:
    """The page's ids and texts equal Python's; so do the texts of sequences of ids."""
    tokenizer = Tokenizer(path)
    wanted = tokenizer.encode_batch(samples)
    decoded = [*wanted, *sequences]
    answer = run_in_node("tokenize.mjs", page, tokenizer=str(path), texts=samples, sequences=decoded)
    assert "error" not in answer
    for sample, ids, found in zip(samples, wanted, answer["ids"], strict=True):
        assert found == ids, sample
    for ids, found in zip(decoded, answer["decoded"], strict=True):
        text = tokenizer.decode(ids)
        assert found["text"] == text
        assert "".join(found["pieces"]) == text.rstrip("\ufffd") or "\ufffd" in text
        assert not any(piece.endswith("\ufffd") for piece in found["pieces"])
    assert answer["vocab_size"] == tokenizer.vocab_size
    assert answer["markers"] == [id_ for id_ in range(tokenizer.vocab_size) if tokenizer.is_marker(id_)]


def random_sequences(vocab_size: int) -> list[list[int]]:
    """Sequences that no text gives: halves of characters, markers, ids beyond the vocabulary."""
    rng = random.Random(3)
    return [[rng.randrange(vocab_size + 5) for _ in range(rng.randint(1, 12))] for _ in range(300)]


@pytest.mark.parametrize("name", [*JSON_TOKENIZERS, *SENTENCEPIECE_MODELS])
def test_ids_and_texts_are_pythons(page_in_node: Path, name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    assert_equal(page_in_node, path, texts(), random_sequences(Tokenizer(path).vocab_size))


def test_the_default_tokenizer(page_in_node: Path) -> None:
    stories = (DEFAULT.parents[2] / "sample.txt").read_text(encoding="utf-8")
    assert_equal(page_in_node, DEFAULT, [*texts(), stories, *stories.splitlines()], random_sequences(4096))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_llama_2(page_in_node: Path, name: str) -> None:
    path = shared_data("tokenizer-llama2") / name
    book = shared_data("wikitext-2/wiki.test.raw").read_text(encoding="utf-8")[:60_000]
    assert_equal(page_in_node, path, [*texts(), *book.splitlines()], random_sequences(32000))


def test_a_space_marked_in_front_of_special_tokens(page_in_node: Path) -> None:
    """Its markers are normalised, so Python finds their text no marker and shows it."""
    assert_equal(page_in_node, shared_data("TinyStories-656K") / "tokenizer.json", texts())


@pytest.mark.parametrize("name", ["tekken", "qwen"])
def test_characters_of_other_versions_of_unicode(page_in_node: Path, name: str, tmp_path: Path) -> None:
    """Of the planes that grow; Python's libraries and the browser know different versions."""
    scripts = [*range(0x80, 0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x12000)]
    planes = [*scripts, *range(0x12000, 0x1FFFF, 3), *range(0x2A600, 0x33500, 7)]
    characters = [f"a{chr(code)}1" for code in planes]
    samples = ["".join(characters[start : start + 2000]) for start in range(0, len(characters), 2000)]
    path = made(name, tmp_path)
    answer = run_in_node("tokenize.mjs", page_in_node, tokenizer=str(path), texts=samples, sequences=[])
    assert answer["ids"] == Tokenizer(path).encode_batch(samples)


def refusal(page: Path, path: Path) -> str:
    return run_in_node("tokenize.mjs", page, tokenizer=str(path), texts=[], sequences=[])["error"]


#: Changes of a byte-level tokenizer.json that the page cannot follow exactly, and what its sentence names.
CHANGES: dict[str, Callable[[Any], object]] = {
    "the normalizer Lowercase": lambda made: setattr(made, "normalizer", normalizers.Lowercase()),
    "the pre-tokenizer Whitespace": lambda made: setattr(made, "pre_tokenizer", pre_tokenizers.Whitespace()),
    "added tokens that are whole words": lambda made: made.add_tokens([AddedToken("dog", single_word=True)]),
    "the regular expression": lambda made: setattr(
        made, "pre_tokenizer", pre_tokenizers.Split(Regex(r"\s++|\S"), "isolated")
    ),
    "BPE with dropout": lambda made: setattr(made.model, "dropout", 0.5),
    "a vocabulary that cannot spell every text": lambda made: setattr(made, "pre_tokenizer", None),
    "the model WordLevel": lambda made: setattr(made, "model", models.WordLevel({"a": 0}, unk_token="a")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_cannot_be_read_exactly_is_refused(page_in_node: Path, what: str, tmp_path: Path) -> None:
    tokenizer = JSON_TOKENIZERS["gpt2"]()
    CHANGES[what](tokenizer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    sentence = refusal(page_in_node, tmp_path / "tokenizer.json")
    assert sentence.startswith(f"This model's tokenizer uses {what}")
    assert sentence.endswith("which the app cannot read exactly; choose another model.")


def test_numbers_of_its_own_are_refused(page_in_node: Path, tmp_path: Path) -> None:
    state = json.loads(JSON_TOKENIZERS["gpt2"]().to_str())
    state["added_tokens"][-1]["id"] += 7
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    assert "an id of its own for the added token <mask>" in refusal(page_in_node, tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"model_type": "word"}, "words or characters as pieces"),
        ({"treat_whitespace_as_suffix": True}, "spaces behind words"),
    ],
)
def test_other_models_of_sentencepiece_are_refused(
    page_in_node: Path, options: dict[str, object], what: str, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SENTENCEPIECE_MODELS, "other", dict(options))
        assert what in refusal(page_in_node, train_sentencepiece("other", tmp_path))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_a_damaged_file_is_refused(page_in_node: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x0a\xff{")
    assert refusal(page_in_node, tmp_path / name).endswith("export the program again.")
