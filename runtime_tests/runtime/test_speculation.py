"""Self-speculation gives the tokens of greedy decoding at 8 bits, whatever the draft."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.checkpoints.slices import elastic_checkpoint
from edge.quantizers.nested import PARENT
from edge.runtime.load import Program
from edge.runtime.speculation import greedy, main, speculate
from export.lower import Options
from runtime_tests.export.lowered import write_checkpoint
from runtime_tests.tiny import tiny_parent

PROMPT, COUNT = [1, 40, 7, 299], 20


def written(path: Path, all_logits: bool) -> Program:
    options = Options(PARENT, 48, all_logits=all_logits, widths=(8, 4, 2))
    write_checkpoint(elastic_checkpoint(tiny_parent(5, tied_embedding=False)), options, path)
    return Program(path, 1)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return written(tmp_path_factory.mktemp("speculation") / "model.pte", all_logits=True)


@pytest.mark.parametrize("length", [1, 3, 7])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_tokens_are_those_of_the_parent(program: Program, bits: int, length: int):
    program.set_width(8)
    expected = greedy(program, PROMPT, COUNT)
    assert len(set(expected)) > 2
    found = speculate(program, PROMPT, COUNT, bits, length)
    assert found.tokens == expected
    assert 0 <= found.kept <= found.drafted
    if bits == 8:  # a draft by the parent itself
        assert found.kept == found.drafted > 0


def test_two_bits_draft_tokens_that_the_parent_refuses(program: Program):
    found = speculate(program, PROMPT, COUNT, 2, 3)
    assert found.kept < found.drafted


def test_a_program_with_the_last_logits_only(tmp_path: Path):
    with pytest.raises(ValueError, match="export it with --all-logits"):
        speculate(written(tmp_path / "model.pte", all_logits=False), PROMPT, COUNT, 2, 3)


def test_a_directory_that_is_no_program(tmp_path: Path):
    with pytest.raises(ValueError, match="not an exported program"):
        main(["--program", str(tmp_path)])
