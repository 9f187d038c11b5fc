"""Damaged packed tables: one altered byte is refused, or changes what comes out."""

from __future__ import annotations

import ctypes
import mmap

import pytest
import torch

from edge.formats.encoding import BASE3
from edge.formats.weight import QuantizedWeight
from edge.ops import native
from edge.ops.library import load_library
from edge.ops.packed_header import HEADER_BYTES
from edge.ops.packing import read_header, unpack, unpack_half
from runtime_tests.ops.tables import (
    FORMS,
    INT2,
    INT4,
    RUNS_BASE3,
    TERNARY,
    name_of,
    random_rows,
    random_table,
)

N, K = 17, 70
K_FIELD = 12  # byte of the header where k starts
DIGEST_FIELD = range(56, 64)
SCALE_TYPE_FIELD, FLAGS_FIELD, ZERO_FIELD = 28, 30, range(32, 36)  # other values may be tables too


def outputs(packed: torch.Tensor) -> torch.Tensor:
    """Everything that the native ops can see of a table."""
    rows = torch.ops.lowbit.embedding(torch.arange(N), packed, K)
    return torch.cat([rows, torch.ops.lowbit.linear(random_rows(1, K), packed, N).expand(K, N).T], dim=1)


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_an_altered_header_byte_is_refused(form):
    """By the ops always. `read_header` cannot know k, which the layout pads, nor the true format.

    A kernel that runs base 3 as it is has no use for the digest; others and `read_header` check it.
    """
    packed = random_table(N, K, form)
    for byte in range(HEADER_BYTES):
        if byte in DIGEST_FIELD and form.encoding is BASE3:
            continue
        for bit in (0, 7):
            damaged = packed.clone()
            damaged[byte] ^= 1 << bit
            if byte in (SCALE_TYPE_FIELD, FLAGS_FIELD, *ZERO_FIELD) and not _ops_refuse(damaged):
                assert not torch.equal(outputs(damaged), outputs(packed))
                continue
            with pytest.raises(ValueError, match="packed"):
                torch.ops.lowbit.linear(torch.ones(1, K), damaged, N)
            with pytest.raises(ValueError, match="packed"):
                torch.ops.lowbit.embedding(torch.tensor([N - 1]), damaged, K)
            if byte != K_FIELD:
                with pytest.raises(ValueError, match="packed"):
                    read_header(damaged)


@pytest.mark.parametrize("byte", [56, 63, 64 + 4 * 32, -1])
def test_altered_ternary_is_found_by_its_digest(byte):
    """A wrong digest and altered codes alike; the op checks when it unpacks a table."""
    packed = random_table(N, K, TERNARY, seed=abs(byte))
    packed[byte] ^= 0x40
    with pytest.raises(ValueError, match="packed table"):
        read_header(packed)
    if native.selected_kernel() not in RUNS_BASE3:
        with pytest.raises(ValueError, match="do not match its digest; it was altered"):
            torch.ops.lowbit.linear(torch.ones(1, K), packed, N)


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_every_altered_byte_shows(form):
    """In the ops' output, or in `unpack`: zeros that pad codes, a scale moved by less than it rounds to."""
    packed = random_table(N, K, form)
    clean, header = (outputs(packed), content(packed)), read_header(packed)
    step = 1 if form.encoding.code_bits == 1 else 5  # every byte at 1 bit, else a stride
    for byte in range(HEADER_BYTES, header.total_bytes, step):
        damaged = packed.clone()
        damaged[byte] ^= 1
        assert (
            _refused(damaged)
            or not torch.equal(outputs(damaged), clean[0])
            or _unpacks_differently(damaged, clean[1])
        )  # form: skip


def content(packed: torch.Tensor) -> QuantizedWeight | torch.Tensor:
    return unpack(packed) if read_header(packed).encoding.codes else unpack_half(packed)


def _refused(packed: torch.Tensor) -> bool:
    try:
        content(packed)
    except ValueError:
        return True
    return _ops_refuse(packed)


def _ops_refuse(packed: torch.Tensor) -> bool:
    try:
        outputs(packed)
    except ValueError:
        return True
    return False


def _unpacks_differently(packed: torch.Tensor, clean: QuantizedWeight | torch.Tensor) -> bool:
    found = content(packed)
    return not (found.equals(clean) if isinstance(clean, QuantizedWeight) else torch.equal(found, clean))


@pytest.mark.parametrize("row", [N - 1, N, 31])
def test_scales_must_end_with_the_rows(row):
    """A scale in a padding row, or none in the last real one: n and the table disagree."""
    packed = random_table(N, K, INT4)
    damaged = packed.clone()
    damaged[64 + 4 * row : 68 + 4 * row] = torch.tensor([0 if row < N else 1], dtype=torch.uint8)
    with pytest.raises(ValueError, match="it was altered"):
        torch.ops.lowbit.linear(torch.ones(1, K), damaged, N)
    with pytest.raises(ValueError, match="it was altered"):
        read_header(damaged)


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_truncated_or_longer_tables_are_refused(form):
    packed = random_table(N, K, form)
    longer = torch.cat([packed, torch.zeros(64, dtype=torch.uint8)])
    for damaged in (packed[:0], packed[:63], packed[:64], packed[:100], packed[:-1], packed[:-64], longer):
        with pytest.raises(ValueError, match="packed table"):
            read_header(damaged)
        with pytest.raises(ValueError, match="packed table"):
            torch.ops.lowbit.linear(torch.ones(1, K), damaged, N)
        with pytest.raises(ValueError, match="packed table"):
            torch.ops.lowbit.embedding(torch.tensor([0]), damaged, K)


@pytest.mark.parametrize(("n", "k"), [(N + 1, K), (N, K + 1), (0, K), (-1, K), (2**31, K), (2**32 + N, K)])
def test_another_shape_is_refused(n, k):
    packed = random_table(N, K, INT2)
    call = load_library().edge_linear  # the C face itself: shapes that PyTorch would not allocate
    error = ctypes.create_string_buffer(256)
    x = torch.ones(1, k)
    status = call(
        ctypes.c_void_p(x.data_ptr()),
        ctypes.c_int64(1),
        ctypes.c_int64(k),
        ctypes.c_void_p(packed.data_ptr()),
        ctypes.c_int64(packed.numel()),
        ctypes.c_int64(n),
        None,
        ctypes.c_float(0),
        None,
        0,
        0,
        None,
        1,
        None,
        error,
        ctypes.c_size_t(256),
    )  # form: skip
    assert status == 1
    assert b"the op asks for" in error.value


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_nothing_is_read_beyond_the_table(form):
    """The table ends where an unreadable page begins, at an odd address: reading on would crash."""
    packed = random_table(N, K, form)
    pages = -(-packed.numel() // mmap.PAGESIZE)
    area = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(base + pages * mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    start = pages * mmap.PAGESIZE - packed.numel()
    area[start : start + packed.numel()] = packed.numpy().tobytes()
    at_the_edge = torch.frombuffer(area, dtype=torch.uint8, count=packed.numel(), offset=start)
    assert torch.equal(outputs(at_the_edge), outputs(packed))
    for kept in (0, 1, 63, 64):
        with pytest.raises(ValueError, match="packed"):
            torch.ops.lowbit.linear(torch.ones(1, K), at_the_edge[packed.numel() - kept :], N)


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_unpack_finds_what_packing_cannot_write(form):
    """A scale that is not positive; a half's scale that is not 1."""
    packed = random_table(N, K, form)
    header = read_header(packed)
    at, width = (header.codes_offset, 2) if form.group_size else (HEADER_BYTES, 4)
    packed[at : at + width] = 0  # the first row's
    with pytest.raises(ValueError, match="altered after packing"):
        content(packed)
