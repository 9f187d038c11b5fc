"""Predicted bytes of programs, against programs that were exported."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge.latency
from edge.formats import grid_for_bits
from edge.latency.schema import read_report
from edge.model.config import NAMED_MODELS
from edge.model.shapes import parse_shape
from edge.runtime.manifest import read_manifest
from edge.scaling.plan.sizes import kv_bytes_per_position, program_size
from export.to_pte import main as export

REPORTS = Path(edge.latency.__file__).parent / "reports"
#: Bytes that the graph of a program may be off by: strings of other lengths, and padding.
GRAPH_BOUND = 1024
#: Odd head counts and widths that no block of the layout divides.
SMALL = [
    "dim=64,layers=2,heads=1,kv_heads=1,ffn_dim=176,vocab_size=1000",
    "dim=192,layers=5,heads=3,kv_heads=1,ffn_dim=512,vocab_size=512",
    "dim=320,layers=3,heads=5,kv_heads=5,ffn_dim=832,vocab_size=4096",
]


@pytest.mark.parametrize("name", ["epyc-zen3", "epyc-zen5"])
def test_programs_of_the_kept_reports_have_the_predicted_bytes(name):
    own = [program for program in read_report(REPORTS / name / "report.json").programs if program.is_own]
    assert len(own) >= 15
    for program in own:
        config = NAMED_MODELS[program.model]
        size = program_size(
            config,
            grid_for_bits(program.bits),
            min(config.max_seq_len, 2048),
            program.kv_cache,
            has_equal_norms=program.weights == "random",
        )
        assert program.linear_bits_per_weight * config.linear_parameters == pytest.approx(8 * size.linears)
        assert abs(program.file_bytes - size.total) <= GRAPH_BOUND, program.name
        assert program.kv_bytes_per_position == kv_bytes_per_position(config, program.kv_cache)


@pytest.mark.parametrize(
    ("shape", "bits", "kv_cache", "embedding_bits"),
    [
        (SMALL[0], "1", "fp32", 8),
        (SMALL[0], "1.58", "int8", 16),
        (SMALL[1], "2", "int8", 8),
        (SMALL[1], "3", "int4", 4),
        (SMALL[2], "4", "int8", 8),
        (SMALL[2], "16", "fp32", 8),
    ],
)
def test_an_export_has_the_predicted_bytes(tmp_path, shape, bits, kv_cache, embedding_bits):
    words = f"--bits={bits} --model={shape} --kv-cache={kv_cache} --embedding-bits={embedding_bits}"
    export([*words.split(), "--random-weights", "--max-seq-len=256", f"--output={tmp_path / 'program'}"])
    manifest = read_manifest(tmp_path / "program")
    grid = grid_for_bits(bits)
    size = program_size(parse_shape(shape), grid, 256, kv_cache, embedding_bits, has_equal_norms=True)
    assert size.linears == manifest.part_bytes["linears"]
    assert size.head == manifest.part_bytes["embedding"]
    assert abs(size.total - manifest.program.bytes) <= GRAPH_BOUND
    assert kv_bytes_per_position(parse_shape(shape), kv_cache) * 256 == manifest.kv_cache_bytes


def test_trained_norms_are_all_counted():
    config = NAMED_MODELS["125M"]
    trained, random = (
        program_size(config, grid_for_bits(2), 2048, has_equal_norms=equal).total for equal in (False, True)
    )
    assert trained - random == 4 * 576 * 60
