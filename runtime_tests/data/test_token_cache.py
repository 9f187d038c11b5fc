"""The cache of tokens: made once, by one process, whole or not at all, in little memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
import tracemalloc
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from edge.data import Source, readers, token_cache
from edge.data.token_cache import TokenFile, default_cache, tokenise
from edge.model.tokenizer import Tokenizer
from runtime_tests.tiny import tiny_config, tiny_tokenizer

BOS, EOS = 1, 2


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tiny_tokenizer())


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "a.txt"
    path.write_text("the cake\n<|endoftext|>\n  <|endoftext|>the night<|endoftext|>")
    return str(path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_documents_stand_between_bos_and_eos(text: str, tokenizer: Tokenizer, cache: Path):
    file = tokenise(Source(text), tokenizer, tiny_config(), cache)
    wanted = [BOS, *tokenizer.encode("the cake"), EOS, BOS, *tokenizer.encode("the night"), EOS]
    assert file.ids.tolist() == wanted
    assert file.path.read_bytes() == np.array(wanted, "<u2").tobytes()
    assert sorted(p.suffix for p in cache.iterdir()) == [".ids", ".json"]
    record = json.loads(file.path.with_suffix(".json").read_text())
    assert (record["source"], record["length"], record["dtype"]) == (text, len(wanted), "<u2")


def test_the_second_time_nothing_is_read_or_locked(text: str, tokenizer: Tokenizer, cache: Path, monkeypatch):
    first = tokenise(Source(text), tokenizer, tiny_config(), cache)
    monkeypatch.setitem(readers.READERS, ".txt", lambda path: pytest.fail("read again"))
    monkeypatch.setattr(token_cache, "only_writer", lambda *_: pytest.fail("a shared cache may be read-only"))
    assert tokenise(Source(text), tokenizer, tiny_config(), cache) == first


def test_the_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "edge-lowbit" / "tokens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "edge-lowbit" / "tokens"


def test_an_edit_that_keeps_size_and_modification_time(text: str, tokenizer: Tokenizer, cache: Path):
    first, before = tokenise(Source(text), tokenizer, tiny_config(), cache), os.stat(text)
    Path(text).write_text(Path(text).read_text().replace("cake", "lake"))
    os.utime(text, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (os.stat(text).st_size, os.stat(text).st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    second = tokenise(Source(text), tokenizer, tiny_config(), cache)
    assert second.ids.tolist() != first.ids.tolist()


def test_the_key_changes_with_all_that_decides_the_ids(
    text: str, tokenizer: Tokenizer, cache: Path, tmp_path: Path
):
    other = json.loads(tokenizer.path.read_text())
    other["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    shutil.copy(tokenizer.path, tmp_path / "same.json")

    def key(source: Source, tokenizer: Tokenizer, **changes: object) -> str:
        return tokenise(source, tokenizer, tiny_config(**changes), cache).path.stem

    source = Source(text)
    first = key(source, tokenizer)
    keys = [
        key(Source(text, 5), tokenizer),
        key(source, Tokenizer(tmp_path / "other.json")),
        key(source, tokenizer, bos_id=5),
        key(source, tokenizer, eos_ids=(5,)),
    ]
    assert key(source, Tokenizer(tmp_path / "same.json")) == first  # by content, not by name
    assert key(source, tokenizer, n_layers=1) == first
    os.utime(text, ns=(0, 0))
    keys.append(key(source, tokenizer))
    assert len({first, *keys}) == 6


def test_documents_are_parted_by_one_marker_where_begin_and_end_are_one(
    tmp_path: Path, tokenizer: Tokenizer, cache: Path
):
    path = tmp_path / "two.jsonl"
    path.write_text('{"text": "cake"}\n{"text": "ants"}\n')
    first, second = (tokenizer.encode(word) for word in ("cake", "ants"))
    one = tokenise(Source(str(path)), tokenizer, tiny_config(bos_id=2, eos_ids=(2,)), cache)
    two = tokenise(Source(str(path)), tokenizer, tiny_config(bos_id=1, eos_ids=(2,)), cache)
    assert one.ids.tolist() == [2, *first, 2, *second]
    assert two.ids.tolist() == [1, *first, 2, 1, *second, 2]


def test_a_large_vocabulary_takes_four_bytes(text: str, tokenizer: Tokenizer, cache: Path):
    small = tokenise(Source(text), tokenizer, tiny_config(vocab_size=2**16, bos_id=2**16 - 1), cache)
    large = tokenise(Source(text), tokenizer, tiny_config(vocab_size=2**17, bos_id=2**16), cache)
    assert (small.dtype, large.dtype) == ("<u2", "<u4")
    assert (small.ids[0], large.ids[0]) == (2**16 - 1, 2**16)
    assert np.array_equal(small.ids[small.ids < 304], large.ids[large.ids < 304])


def test_no_more_is_read_than_the_count_asks_for(text: str, tokenizer: Tokenizer, cache: Path, monkeypatch):
    def endless(path: Path):
        for number in range(10_000):
            yield "the cake"
            assert number < 3 * token_cache.BATCH, "read far beyond what was asked for"

    monkeypatch.setitem(readers.READERS, ".txt", endless)
    assert len(tokenise(Source(text, 100), tokenizer, tiny_config(), cache)) == 100


class Killed(BaseException):
    """Stands for Ctrl-C, or anything else that ends a process."""


@pytest.mark.parametrize("error", [Killed, ValueError])
def test_what_breaks_off_leaves_nothing(text: str, tokenizer: Tokenizer, cache: Path, monkeypatch, error):
    def broken(path: Path):
        yield from ["the cake"] * 1000
        raise error("broken")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(readers.READERS, ".txt", broken)
        with pytest.raises(error, match="broken"):
            tokenise(Source(text), tokenizer, tiny_config(), cache)
    assert not cache.exists() or not list(cache.iterdir())
    assert len(tokenise(Source(text), tokenizer, tiny_config(), cache)) > 0


def damage_nothing(file: TokenFile) -> None:
    pass


def leave_out_the_record(file: TokenFile) -> None:
    """As after a kill between the two files."""
    file.path.with_suffix(".json").unlink()


def cut_the_record(file: TokenFile) -> None:
    record = file.path.with_suffix(".json")
    record.write_text(record.read_text()[:20])


def cut_the_ids(file: TokenFile) -> None:
    os.truncate(file.path, 3)


def overwrite_the_ids(file: TokenFile) -> None:
    file.path.write_bytes(bytes(file.path.stat().st_size))


def leave_what_a_kill_leaves(file: TokenFile) -> None:
    leave_out_the_record(file)
    room = file.path.with_name(f".{file.path.name}.writing")
    (room / "new").mkdir(parents=True)
    (room / "lock").touch()
    (room / "new" / file.path.name).write_bytes(b"x" * 1000)


@pytest.mark.parametrize(
    ("damage", "again"),
    [
        (damage_nothing, 0),
        (leave_out_the_record, 1),
        (cut_the_record, 1),
        (cut_the_ids, 1),
        (overwrite_the_ids, 1),
        (leave_what_a_kill_leaves, 1),
    ],
)
def test_what_is_not_whole_is_made_again(
    text: str, tokenizer: Tokenizer, cache: Path, monkeypatch, damage, again: int
):
    first = tokenise(Source(text), tokenizer, tiny_config(), cache)
    ids = first.path.read_bytes()
    damage(first)
    calls, reader = [], readers.READERS[".txt"]
    monkeypatch.setitem(readers.READERS, ".txt", lambda path: calls.append(path) or reader(path))
    assert tokenise(Source(text), tokenizer, tiny_config(), cache) == first
    assert first.path.read_bytes() == ids
    assert len(calls) == again
    assert sorted(p.suffix for p in cache.iterdir()) == [".ids", ".json"]


def test_a_corpus_is_never_in_memory(text: str, tokenizer: Tokenizer, cache: Path, monkeypatch):
    """4 MB of text and 2 MB of tokens in less than 1 MB; batches are made small for it."""
    document, count = "The mouse sat beside the cake. " * 64, 2000

    def generated(path: Path):
        for number in range(count):
            yield f"{number} {document}"

    monkeypatch.setitem(readers.READERS, ".txt", generated)
    monkeypatch.setattr(token_cache, "BATCH", 4)
    tracemalloc.start()
    file = tokenise(Source(text), tokenizer, tiny_config(), cache)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert file.path.stat().st_size > 2e6
    assert count * len(document) > 3.9e6
    assert peak < 1e6


def test_batches_are_full_by_documents_or_by_characters(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_cache, "BATCH", 3)
    monkeypatch.setattr(token_cache, "BATCH_CHARACTERS", 10)
    texts = ["a", "b", "c", "d", "e" * 10, "f" * 9, "g", "h"]
    assert [len(batch) for batch in token_cache._batches(iter(texts))] == [3, 2, 2, 1]


def test_a_tokenizer_that_does_not_fit(text: str, tokenizer: Tokenizer, cache: Path):
    with pytest.raises(ValueError, match="the tokenizer has 304 entries, the model only 300"):
        tokenise(Source(text), tokenizer, tiny_config(vocab_size=300), cache)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written(text: str, tokenizer: Tokenizer, cache: Path, monkeypatch):
    cache.write_text("a file")
    with pytest.raises(ValueError, match=r"cannot be kept in .*cache \(.*\); name another .*--data-cache"):
        tokenise(Source(text), tokenizer, tiny_config(), cache)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    cache.unlink()
    monkeypatch.setattr(token_cache.os, "fsync", full)
    with pytest.raises(ValueError, match=r"cannot be kept in .* \(No space left on device\)"):
        tokenise(Source(text), tokenizer, tiny_config(), cache)
    assert not cache.exists() or not list(cache.iterdir())


def tokenise_slowly(text: str, tokenizer: Tokenizer, cache: Path, log: Path, start: Event, results: Queue):
    def slowly(path: Path):
        with log.open("a") as file:
            file.write("begun ")
        yield "the cake"
        time.sleep(1)

    readers.READERS[".txt"] = slowly
    start.wait()
    results.put(tokenise(Source(text), tokenizer, tiny_config(), cache))


def test_of_two_processes_one_tokenises_and_the_other_waits(
    text: str, tokenizer: Tokenizer, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    start, results = context.Event(), context.Queue()
    what = (text, tokenizer, cache, log, start, results)
    processes = [context.Process(target=tokenise_slowly, args=what) for _ in range(2)]
    for process in processes:
        process.start()
    start.set()
    first, second = (results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    assert first == second
    assert log.read_text() == "begun "
    assert capfd.readouterr().err.count("waiting for another process that writes") == 1
