"""Tests for reading each kind of file and set of shards, and for refusing bad ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge.data import Source, documents, readers
from edge.data.shards import Shards
from edge.data.sources import open_source


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
        ("a.txt", b"", "a.txt is empty: it holds no text"),
        ("a.txt", b" \n<|endoftext|>\n", "holds no text"),
        ("a.txt", b"caf\xe9", "is not UTF-8 text"),
        (
            "a.csv",
            b"text\nhello\n",
            "not a readable file of one of the kinds .txt, .md, .jsonl, .json, .parquet",
        ),
        ("a.jsonl", b"\n\n", "holds no text"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("a.jsonl", b'{"body": "a", "id": 3}\n', "line 1 has no column 'text'; it has body, id"),
        ("a.jsonl", b'["a"]\n', "line 1 has no column 'text'; it is a list"),
        ("a.jsonl", b'{"text": 5}\n', "'text' must hold text, not int"),
        ("a.jsonl", b'{"text": "\xff"}\n', "is not UTF-8 text"),
        ("a.jsonl", b'{"text": "a \\ud800"}\n', "line 1: 'text' holds half a surrogate pair"),
        ("a.jsonl", b"[" * 200_000, "line 1 is not JSON"),
        ("a.json", b"[" * 200_000, "is not JSON"),
        ("a.json", b'[{"text": "a"}, {"text": ]', "is not JSON"),
        ("a.json", b'[{"text": "a"}, {}]', "entry 1 has no column 'text'"),
        ("a.parquet", b"", "a.parquet is empty"),
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


@pytest.mark.parametrize("name", ["missing.txt", "missing.parquet", "*.nothing", "missing-*.txt"])
def test_missing_files_are_refused(name: str):
    with pytest.raises(ValueError, match="is not a readable file"):
        list(documents(name))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = write(tmp_path / "a.txt", "text")

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ValueError, match=r"a.txt cannot be read: Permission denied"):
        list(documents(name))


@pytest.mark.parametrize("chunk", [1, 7, 13, 64, 1000])
def test_a_text_file_is_the_same_in_chunks_of_any_size(tmp_path: Path, monkeypatch, chunk: int):
    texts = ["one", "", "two\nlines", "a <|endof half of a mark", "x" * 50]
    name = write(tmp_path / "a.txt", "<|endoftext|>".join(texts))
    monkeypatch.setattr(readers, "CHUNK_CHARACTERS", chunk)
    assert list(documents(name)) == [text for text in texts if text]


@pytest.mark.parametrize("chunk", [3, 1000])
def test_a_document_without_end_is_cut_behind_a_line(tmp_path: Path, monkeypatch, chunk: int):
    name = write(tmp_path / "a.txt", "12345\n789\n12345678901234<|endoftext|>short")
    monkeypatch.setattr(readers, "LONGEST_DOCUMENT", 12)
    monkeypatch.setattr(readers, "CHUNK_CHARACTERS", chunk)
    assert list(documents(name)) == ["12345\n789", "123456789012", "34", "short"]


def shards(directory: Path) -> Path:
    """Three shards, one of them deeper, and what a downloader leaves beside them."""
    (directory / "deep").mkdir(parents=True)
    (directory / ".cache").mkdir()
    write(directory / "b-1.jsonl", '{"text": "two"}\n')
    write(directory / "b-0.jsonl", '{"text": "one"}\n')
    write(directory / "deep" / "a.jsonl", '{"text": "three"}\n')
    write(directory / ".cache" / "note.jsonl", '{"text": "hidden"}\n')
    write(directory / ".note.jsonl", '{"text": "hidden"}\n')
    write(directory / "LICENSE", "not a kind of data")
    return directory


def test_a_directory_is_its_shards_in_order(tmp_path: Path):
    assert list(documents(str(shards(tmp_path / "d")))) == ["one", "two", "three"]


def test_a_pattern_is_the_files_it_matches(tmp_path: Path):
    directory = shards(tmp_path / "d")
    assert list(documents(f"{directory}/b-*.jsonl")) == ["one", "two"]
    assert list(documents(f"{directory}/**/*.jsonl")) == ["one", "two", "three"]
    assert Source.parse(f"{directory}/b-*.jsonl:1e3") == Source(f"{directory}/b-*.jsonl", 1000)


def test_shards_are_told_apart_by_size_and_time(tmp_path: Path):
    directory = shards(tmp_path / "d")
    source = open_source(str(directory))
    assert isinstance(source, Shards)
    before = source.identity()
    assert [entry[0] for entry in before] == [
        str(directory.resolve() / n) for n in ("b-0.jsonl", "b-1.jsonl", "deep/a.jsonl")
    ]
    assert source.identity() == before
    os.utime(directory / "b-1.jsonl", ns=(0, 5))
    changed = source.identity()
    assert (changed[0], changed[2]) == (before[0], before[2])
    path, inode, size, _, changed_at = before[1]
    assert changed[1][:4] == [path, inode, size, 5]
    assert changed[1][4] > changed_at


def test_a_directory_of_several_kinds_is_refused(tmp_path: Path):
    directory = shards(tmp_path / "d")
    write(directory / "README.md", "about this data")
    with pytest.raises(ValueError, match=r"several kinds \(.jsonl, .md\); name those to read"):
        list(documents(str(directory)))


def test_no_shard_is_passed_over(tmp_path: Path):
    directory = shards(tmp_path / "d")
    whole = list(documents(str(directory)))
    (directory / "more.jsonl.gz").write_bytes(b"packed")
    with pytest.raises(ValueError, match=r"more.jsonl.gz is not of one of the kinds .*: unpack"):
        open_source(str(directory))
    (directory / "more.jsonl.gz").unlink()

    (directory / "more.jsonl").symlink_to(tmp_path / "gone.jsonl")
    for name in (directory, f"{directory}/*.jsonl"):
        with pytest.raises(ValueError, match=r"more.jsonl is a broken link"):
            open_source(str(name))
    (directory / "more.jsonl").unlink()

    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "z.jsonl", '{"text": "one more"}\n')
    (directory / "zz").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(directory)
    assert list(documents(str(directory))) == [*whole, "one more"]


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    directory, scandir = shards(tmp_path / "d"), os.scandir

    def refuse(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"deep cannot be read: Permission denied"):
        open_source(str(directory))


def test_a_directory_without_data_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="is not a readable file of one of the kinds"):
        list(documents(str(tmp_path)))


def test_an_empty_shard_is_found_before_any_is_read(tmp_path: Path):
    directory = shards(tmp_path / "d")
    write(directory / "deep" / "z.jsonl", "")
    with pytest.raises(ValueError, match=r"z.jsonl is empty"):
        open_source(str(directory))
