"""Tests that tokens are packed into the same blocks from every kind of file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from edge.data import PackedBlocks, Source, TokenStream, load_blocks, token_stream
from edge.data.token_cache import TokenFile
from edge.model.tokenizer import Tokenizer
from runtime_tests.tiny import tiny_config, tiny_tokenizer


def token_file(path: Path, ids: list[int]) -> TokenFile:
    np.array(ids, "<u2").tofile(path)
    return TokenFile(path, "<u2", len(ids), sha256=path.name)


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tiny_tokenizer())


def test_blocks_are_consecutive_and_the_rest_is_dropped():
    blocks = PackedBlocks(np.arange(23, dtype=np.int32), context=4)
    assert len(blocks) == 4
    wanted = [[*range(5 * i, 5 * i + 5)] for i in range(4)]
    assert [block["tokens"].tolist() for block in blocks] == wanted
    assert blocks.blocks.tolist() == wanted
    assert blocks.predicted == 16
    with pytest.raises(IndexError):
        blocks[4]


def test_a_text_shorter_than_a_block_is_refused():
    assert len(PackedBlocks(np.arange(5, dtype=np.int32), context=4)) == 1
    with pytest.raises(ValueError, match="4 tokens, fewer than one block of 5"):
        PackedBlocks(np.arange(4, dtype=np.int32), context=4)


def test_a_stream_is_its_files_repeated_or_cut(tmp_path: Path):
    """Every slice, also across several ends of files, is that of the tokens written out."""
    files = [token_file(tmp_path / "a", [0, 1, 2]), token_file(tmp_path / "b", [10, 11, 12, 13])]
    stream = TokenStream([(files[0], 8), (files[1], 2), (files[0], 3)])
    wanted = np.array([0, 1, 2, 0, 1, 2, 0, 1, 10, 11, 0, 1, 2])
    assert len(stream) == 13
    for start in range(13):
        for stop in range(start + 1, 14):
            assert stream[start:stop].tolist() == wanted[start:stop].tolist()
    blocks = PackedBlocks(stream, context=3)  # 13 tokens: of three blocks of 4, one token is lost in all
    assert [block["tokens"].tolist() for block in blocks] == wanted[:12].reshape(3, 4).tolist()


def test_the_fingerprint_is_of_tokens_and_counts(tmp_path: Path):
    a, b = token_file(tmp_path / "a", [0, 1]), token_file(tmp_path / "b", [2, 3])
    (tmp_path / "moved").mkdir()
    moved = token_file(tmp_path / "moved" / "a", [0, 1])
    fingerprints = [
        TokenStream(pieces).fingerprint
        for pieces in ([(a, 2), (b, 2)], [(moved, 2), (b, 2)], [(b, 2), (a, 2)], [(a, 2), (b, 1)], [(a, 2)])
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 4


def test_a_worker_is_sent_the_name_of_the_file_and_not_its_content(tmp_path: Path):
    file = token_file(tmp_path / "a", [7] * 100_000)
    blocks = PackedBlocks(TokenStream([(file, 100_000)]), context=9)
    assert blocks[3]["tokens"].tolist() == [7] * 10  # the file is open
    sent = pickle.dumps(blocks)
    assert len(sent) < 1000
    assert pickle.loads(sent)[3]["tokens"].tolist() == [7] * 10


def test_a_count_takes_the_beginning_and_repeats_a_short_source(tmp_path: Path, tokenizer: Tokenizer):
    name = write(tmp_path / "a.txt", "<|endoftext|>".join(f"the cake {i}" for i in range(900)))
    whole = token_stream([Source(name)], tokenizer, tiny_config())[:]
    assert len(whole) > 5000
    for count in (1, 7, 5000, len(whole), 2 * len(whole) + 5):
        stream = token_stream([Source(name, count)], tokenizer, tiny_config())
        assert np.array_equal(stream[:], np.tile(whole, 3)[:count])


def test_sources_follow_each_other(tmp_path: Path, tokenizer: Tokenizer):
    first, second = write(tmp_path / "a.txt", "the cake"), write(tmp_path / "b.txt", "the ants")
    streams = [token_stream([Source(n)], tokenizer, tiny_config())[:] for n in (first, second)]
    blocks = load_blocks([Source(first), Source(second)], tokenizer, tiny_config(), context=1)
    together = np.concatenate(streams)
    assert blocks.blocks.ravel().tolist() == together[: len(together) // 2 * 2].tolist()
