"""The packed form of GPUs holds what the CPU's packed table holds, where README.md says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("triton", reason="needs Triton: pip install '.[gpu]'")

from edge.ops.packing import pack, pack_half
from edge.ops.triton import GpuWeight
from edge.ops.triton.layout import PLANES, codes_from_words, padded_columns, row_words, words_from_codes
from runtime_tests.ops.triton.cases import FORMS_AND_GROUPS, make_weight


@pytest.mark.parametrize(("encoding", "zero", "group"), FORMS_AND_GROUPS)
def test_the_cpu_table_comes_back(encoding: str, zero: float | None, group: int | None) -> None:
    weight = make_weight(encoding, zero, 19, 300, group)
    held = GpuWeight.from_packed(pack(weight), "cpu")
    assert held.quantized().equals(weight)
    assert torch.equal(pack(held.quantized()), pack(weight))


@given(st.sampled_from(sorted(PLANES)), st.integers(1, 5), st.integers(1, 1100), st.integers(0, 99))
def test_codes_come_back(bits: int, n: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 1 << bits, (n, k), generator=generator, dtype=torch.uint8)
    words = words_from_codes(codes, bits)
    assert words.shape == (n, row_words(k, bits))
    assert torch.equal(codes_from_words(words, k, bits), codes)


@pytest.mark.parametrize("bits", sorted(PLANES))
def test_a_code_lies_where_the_readme_says(bits: int) -> None:
    k = padded_columns(1, bits)
    for column in (0, 31, 32, 100, k - 1):
        codes = torch.zeros(1, k, dtype=torch.uint8)
        codes[0, column] = (1 << bits) - 1
        words = words_from_codes(codes, bits)[0].to(torch.int32) & 0xFFFF
        wanted = torch.zeros_like(words)
        start = 0
        for plane in PLANES[bits]:
            chunk, rest = divmod(column, 32 * 16 // plane)
            wanted[start + 32 * chunk + rest % 32] = (1 << plane) - 1 << plane * (rest // 32)
            start += k * plane // 16
        assert torch.equal(words, wanted)


def test_sizes() -> None:
    assert [padded_columns(k, 2) for k in (1, 256, 257)] == [256, 256, 512]
    assert [row_words(2048, bits) * 16 for bits in (1, 2, 3, 4)] == [2048, 4096, 6144, 8192]
    assert [padded_columns(576, bits) for bits in (1, 2, 3, 4)] == [1024, 768, 1024, 640]


def test_what_it_cannot_hold_is_said() -> None:
    with pytest.raises(ValueError, match="1 to 4 bits, not bits8"):
        GpuWeight.of(make_weight("bits8", 128.0, 2, 64), "cpu")
    with pytest.raises(ValueError, match="1 to 4 bits, not bits5"):
        GpuWeight.from_packed(pack(make_weight("bits5", 16.0, 2, 64)), "cpu")
    with pytest.raises(ValueError, match="holds halves"):
        GpuWeight.from_packed(pack_half(torch.ones(2, 64)), "cpu")
    with pytest.raises(ValueError, match="meta device"):
        GpuWeight.from_packed(torch.empty(100, dtype=torch.uint8, device="meta"), "cpu")
    damaged = pack(make_weight("bits2", 1.5, 2, 64))
    damaged[8] += 1
    with pytest.raises(ValueError, match="packed table"):
        GpuWeight.from_packed(damaged, "cpu")
