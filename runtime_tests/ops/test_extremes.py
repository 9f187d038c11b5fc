"""Sizes and positions that 64 bits cannot hold are refused with a sentence, by eager ops and C API alike."""

from __future__ import annotations

import ctypes

import pytest
import torch

from edge.ops import native
from edge.ops.library import load_library
from runtime_tests.ops.attention_case import Case
from runtime_tests.ops.tables import INT4, random_table

HUGE = [2**31 * 64, 2**60, 2**63 - 1]
BEYOND = [2**63, 2**64, 2**64 + 3, -(2**63) - 1, 10**30]


def c_call(name: str, *arguments: object) -> str:
    """Call the C API with buffers that it must not touch; return the sentence that it refuses them with."""
    error, buffer = ctypes.create_string_buffer(256), ctypes.create_string_buffer(64)
    converted = []
    for argument in arguments:
        if argument is Ellipsis:
            converted.append(buffer)
        elif isinstance(argument, float):
            converted.append(ctypes.c_float(argument))
        else:
            converted.append(ctypes.c_int64(argument) if isinstance(argument, int) else argument)
    assert getattr(load_library(), name)(*converted, error, ctypes.c_size_t(256)) == 1
    return error.value.decode()


def attention_call(name: str, **changes: int) -> str:
    sizes = {
        "tokens": 1,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 8,
        "capacity": 64,
        "positions": 64,
        "start_pos": 0,
        "window": 0,
    }
    assert set(changes) <= set(sizes)
    buffers = [...] * (5 if name == "edge_attention" else 7)
    return c_call(name, *buffers, *{**sizes, **changes}.values(), 0.0, b"scalar", 1, ...)


@pytest.mark.parametrize("name", ["edge_attention", "edge_attention_int8", "edge_attention_int4"])
@pytest.mark.parametrize(
    "size", ["tokens", "heads", "kv_heads", "head_dim", "capacity", "start_pos", "window"]
)
@pytest.mark.parametrize("value", [*HUGE, -1, -(2**63)])
def test_attention_refuses_sizes_out_of_range(name, size, value):
    assert attention_call(name, **{size: value}).startswith("attention")


@pytest.mark.parametrize("start", [2**63 - 1, 2**63 - 5, -(2**63), 2**40])
def test_the_sentence_names_the_tokens_and_where_they_start(start):
    sentence = attention_call("edge_attention", tokens=5, start_pos=start)
    assert sentence == f"attention: 5 tokens from position {start} on do not fit a cache of 64"


@pytest.mark.parametrize("tokens", [2**41, 2**60, 2**63 - 1, -1, -(2**63)])
def test_other_ops_refuse_counts_out_of_range(tokens):
    packed = random_table(16, 8, INT4)
    table = (ctypes.c_void_p(packed.data_ptr()), packed.numel())
    assert "linear: " in c_call(
        "edge_linear", ..., tokens, 8, *table, 16, None, 0.0, None, 0, 0, b"scalar", 1, ...
    )
    assert "embedding: " in c_call("edge_embedding", ..., tokens, *table, 8, ...)
    assert "rms_norm: " in c_call("edge_rms_norm", ..., ..., 1e-5, tokens, 8, b"scalar", 1, ...)
    assert "rms_norm: " in c_call("edge_rms_norm", ..., ..., 1e-5, 1, -abs(tokens), b"scalar", 1, ...)
    assert "gate_mul: " in c_call("edge_gate_mul", ..., ..., tokens, 0, b"scalar", 1, ...)
    for sizes in ((tokens, 8, 64), (1, tokens, 64), (1, 8, tokens), (1, 2**17, 2**17), (1, 8, 7)):
        assert "quantize_activations: " in c_call(
            "edge_quantize_activations", ..., *sizes, b"scalar", ..., ..., ...
        )


@pytest.mark.parametrize("threads", [0, -1, 4097, 2**31 - 1])
def test_threads_out_of_range_are_refused(threads):
    sentence = f"threads must lie in 1..4096, not {threads}"
    assert c_call("edge_gate_mul", ..., ..., 1, 0, b"scalar", threads, ...) == sentence
    with pytest.raises(ValueError, match=sentence.replace(".", r"\.")):
        native.linear(torch.ones(1, 8), random_table(16, 8, INT4), 16, threads=threads)


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("start", BEYOND)
def test_positions_beyond_64_bits_are_refused(start, bits):
    """ctypes would drop the upper bits: 2**64 would be position 0."""
    case, untouched = Case(5, 2, 1, 8, bits), Case(5, 2, 1, 8, bits)
    with pytest.raises(ValueError, match=f"{start} does not fit 64 bits"):
        case.run(at=start)
    assert case.same_caches(untouched)


@pytest.mark.parametrize("count", [*HUGE, *BEYOND, 0, -1, 2**32 + 16])
def test_rows_and_columns_that_no_table_has_are_refused(count):
    packed, x = random_table(16, 8, INT4), torch.ones(1, 8)
    for call in (
        lambda: native.linear(x, packed, count),
        lambda: native.norm_gate_up(x, torch.ones(8), 1e-5, packed, count),
        lambda: native.embedding(torch.tensor([0]), packed, count),
    ):
        with pytest.raises(ValueError, match="a packed table has 1 to"):
            call()
