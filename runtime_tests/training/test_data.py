"""Text to blocks: what each kind of file gives, how documents are packed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.model.tokenizer import Tokenizer
from edge.training import data
from edge.training.data import PackedBlocks, Source, documents, load_blocks, token_stream
from runtime_tests.tiny import tiny_config, tiny_tokenizer

BOS, EOS = 1, 2


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tiny_tokenizer())


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "name", "tokens"),
    [
        ("a.txt", "a.txt", None),
        ("a.txt:4.5e6", "a.txt", 4_500_000),
        ("a.txt:1000", "a.txt", 1000),
        ("C:/texts/a.txt", "C:/texts/a.txt", None),
        ("C:/texts/a.txt:10", "C:/texts/a.txt", 10),
        ("owner/name:20", "owner/name", 20),
        (":5", ":5", None),
        ("a.txt:nan-set", "a.txt:nan-set", None),
    ],
)
def test_source(text: str, name: str, tokens: int | None):
    assert Source.parse(text) == Source(name, tokens)


@pytest.mark.parametrize("count", ["0", "-3", "0.5", "inf", "nan", "1e30"])
def test_source_refuses_a_count_of_no_use(count: str):
    with pytest.raises(ValueError, match="positive and finite"):
        Source.parse(f"a.txt:{count}")


def test_a_file_whose_name_ends_like_a_count_is_that_file(tmp_path: Path):
    name = write(tmp_path / "a:12", "text")
    assert Source.parse(name) == Source(name)


def test_documents_stand_between_bos_and_eos(tmp_path: Path, tokenizer: Tokenizer):
    name = write(tmp_path / "a.txt", "the cake\n<|endoftext|>\n  <|endoftext|>the night<|endoftext|>")
    stream = token_stream(Source(name), tokenizer, tiny_config())
    wanted = [BOS, *tokenizer.encode("the cake"), EOS, BOS, *tokenizer.encode("the night"), EOS]
    assert stream.dtype == np.int32
    assert stream.tolist() == wanted


def test_a_count_takes_the_beginning_and_repeats_a_short_source(tmp_path: Path, tokenizer: Tokenizer):
    name = write(tmp_path / "a.txt", "<|endoftext|>".join(f"the cake {i}" for i in range(900)))
    whole = token_stream(Source(name), tokenizer, tiny_config())
    assert len(whole) > 5000
    for count in (1, 7, 5000, len(whole), 2 * len(whole) + 5):
        stream = token_stream(Source(name, count), tokenizer, tiny_config())
        assert np.array_equal(stream, np.tile(whole, 3)[:count])


def test_no_more_is_read_than_the_count_asks_for(tmp_path: Path, tokenizer: Tokenizer, monkeypatch):
    def endless(path: Path):
        for number in range(10_000):
            yield "the cake"
            assert number < 3 * data.BATCH, "read far beyond what was asked for"

    monkeypatch.setitem(data.READERS, ".txt", endless)
    assert len(token_stream(Source(write(tmp_path / "a.txt", ""), 100), tokenizer, tiny_config())) == 100


def test_blocks_are_consecutive_and_the_rest_is_dropped():
    blocks = PackedBlocks(np.arange(23, dtype=np.int32), context=4)
    assert len(blocks) == 4
    assert [blocks[i]["tokens"].tolist() for i in range(4)] == [[*range(5 * i, 5 * i + 5)] for i in range(4)]
    assert blocks.predicted == 16


def test_a_text_shorter_than_a_block_is_refused():
    assert len(PackedBlocks(np.arange(5, dtype=np.int32), context=4)) == 1
    with pytest.raises(ValueError, match="4 tokens, fewer than one block of 5"):
        PackedBlocks(np.arange(4, dtype=np.int32), context=4)


def test_sources_follow_each_other(tmp_path: Path, tokenizer: Tokenizer):
    first, second = write(tmp_path / "a.txt", "the cake"), write(tmp_path / "b.txt", "the ants")
    streams = [token_stream(Source(n), tokenizer, tiny_config()) for n in (first, second)]
    blocks = load_blocks([Source(first), Source(second)], tokenizer, tiny_config(), context=1)
    together = np.concatenate(streams)
    assert blocks.blocks.ravel().tolist() == together[: len(together) // 2 * 2].tolist()


def test_kinds_of_files_give_the_same_documents(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ["One.\nTwo.", "Drei äöü\u2028still three", "  ", None, "four"]
    rows = [{"id": i, "text": t} for i, t in enumerate(texts)]
    lines = [json.dumps(r, ensure_ascii=False) for r in rows]
    pq.write_table(pa.table({"id": range(5), "text": texts}), tmp_path / "a.parquet")
    names = [
        write(tmp_path / "a.txt", "<|endoftext|>".join(t or "" for t in texts)),
        write(tmp_path / "b.md", "\ufeff" + "<|endoftext|>".join(t or "" for t in texts)),  # as on Windows
        write(tmp_path / "a.jsonl", "\r\n".join(lines) + "\n\n"),
        write(tmp_path / "a.json", json.dumps(rows)),
        write(tmp_path / "b.json", "\n".join(lines)),
        str(tmp_path / "a.parquet"),
    ]
    for name in names:
        assert list(documents(name)) == ["One.\nTwo.", "Drei äöü\u2028still three", "four"], name


def truncated_parquet() -> bytes:
    return b"PAR1" + bytes(100)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "holds no text"),
        ("a.txt", b" \n<|endoftext|>\n", "holds no text"),
        ("a.txt", b"caf\xe9", "is not UTF-8 text"),
        (
            "a.csv",
            b"text\nhello\n",
            "not a readable file of one of the kinds .txt, .md, .jsonl, .json, .parquet",
        ),
        ("a.jsonl", b"", "holds no text"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("a.jsonl", b'{"body": "a", "id": 3}\n', "line 1 has no column 'text'; it has body, id"),
        ("a.jsonl", b'["a"]\n', "line 1 has no column 'text'; it is a list"),
        ("a.jsonl", b'{"text": 5}\n', "'text' must hold text, not int"),
        ("a.jsonl", b'{"text": "\xff"}\n', "is not UTF-8 text"),
        ("a.json", b'[{"text": "a"}, {"text": ]', "is not JSON"),
        ("a.json", b'[{"text": "a"}, {}]', "entry 1 has no column 'text'"),
        ("a.parquet", b"", "cannot be read as Parquet"),
        ("a.parquet", truncated_parquet(), "cannot be read as Parquet"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        list(documents(str(tmp_path / name)))


def test_parquet_without_text_column(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="has no column 'text'; it has body"):
        list(documents(str(tmp_path / "a.parquet")))


def test_parquet_with_a_damaged_page(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"a long enough text {i}" for i in range(2000)]}), path)
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        list(documents(str(path)))


@pytest.mark.parametrize("name", ["missing.txt", "missing.parquet", "."])
def test_missing_files_and_directories_are_refused(name: str):
    with pytest.raises(ValueError, match="is not a readable file"):
        list(documents(name))


def test_an_unreachable_hub_is_said_at_once(monkeypatch: pytest.MonkeyPatch):
    import datasets
    import huggingface_hub

    asked = []

    def unreachable(self: object, name: str, timeout: float) -> None:
        asked.append((name, timeout))
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, **__: pytest.fail("would retry for half a minute")
    )
    with pytest.raises(
        ValueError, match=r"owner/stories is neither .* give a local .txt, .jsonl or .parquet file"
    ):
        list(documents("owner/stories"))
    assert asked == [("owner/stories", data.HUB_TIMEOUT_SECONDS)]


def test_a_hub_dataset_is_read_through_datasets(monkeypatch: pytest.MonkeyPatch):
    import datasets
    import huggingface_hub

    rows = datasets.Dataset.from_dict({"text": ["one", "", "two"]})
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: rows)
    assert list(documents("owner/stories")) == ["one", "two"]
