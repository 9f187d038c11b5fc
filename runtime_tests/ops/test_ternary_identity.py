"""Ternary tables that are unpacked are known by their bytes: no table runs with the weights of another.

Programs run in processes of their own, with a kernel that unpacks (csrc/core/unpacked_ternary.h) forced.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edge.ops import kernel_names, native, reference
from edge.ops.packed_header import HEADER_BYTES
from edge.ops.packing import read_header, unpack
from runtime_tests.ops.attention_case import supported
from runtime_tests.ops.forged import forge_digest
from runtime_tests.ops.programs import TinyBlock
from runtime_tests.ops.tables import RUNS_BASE3, TERNARY, random_rows, random_table

N, K = 32, 100
UNPACKING = [name for name in kernel_names() if name not in RUNS_BASE3 and supported(name)]
pytestmark = pytest.mark.skipif(not UNPACKING, reason="this CPU has no kernel that unpacks ternary tables")


def altered(packed: torch.Tensor) -> torch.Tensor:
    """One of the last codes changed; the digest stays in the header."""
    damaged = packed.clone()
    damaged[-300] ^= 0x40
    return damaged


def rescaled(packed: torch.Tensor) -> torch.Tensor:
    """The same codes with other scales."""
    other = packed.clone()
    scales = other[HEADER_BYTES : read_header(packed).codes_offset].view(torch.float32)
    scales *= 2
    return other


def test_a_forged_table_has_the_digest_of_another():
    packed = random_table(N, K, TERNARY)
    forged = forge_digest(packed)
    assert read_header(forged) == read_header(packed)  # and read_header compares the codes with the digest
    assert not torch.equal(unpack(forged).codes, unpack(packed).codes)


@pytest.mark.parametrize("kernel", UNPACKING)
def test_eager_calls_know_tables_by_their_bytes(kernel):
    """Also those at the address of another: each is written over the one before."""
    packed, x = random_table(N, K, TERNARY), random_rows(2, K)
    place = packed.clone()
    for table in (packed, forge_digest(packed), forge_digest(packed, at=0), packed):
        place.copy_(table)
        for where in (table, place):
            assert torch.equal(native.linear(x, where, N, kernel=kernel), reference.linear(x, table))
    place.copy_(altered(packed))
    with pytest.raises(ValueError, match="do not match its digest; it was altered"):
        native.linear(x, place, N, kernel=kernel)


PROGRAMS = """
import gc, sys
from pathlib import Path
import torch
from executorch.extension.pybindings import _C  # the runtime without the exporter, which loads slowly
import edge.ops
from edge.ops.unpacked import unpacked_bytes, watch_program

class Opened:
    def __init__(self, path):
        self.program = _C._load_program(path)
        self.method = self.program.load_method("forward")
        watch_program(self)
        maps = Path("/proc/self/maps").read_text().splitlines()
        self.place = next(line.split("-")[0] for line in maps if line.endswith(path))
    def __call__(self):
        return self.method((torch.tensor([[3, 14, 15]]), torch.tensor([0])))[0].clone()

original, forged, altered, rescaled, expected = sys.argv[1:]
want = torch.load(expected)

def refused(path):
    try:
        Opened(path)()
    except RuntimeError:
        return True
    return False
"""


@pytest.fixture(scope="module")
def programs(tiny_program, tmp_path_factory) -> list[str]:
    """Paths of a program, of three with another table in its place, and of their eager logits."""
    folder, qkv = tmp_path_factory.mktemp("programs"), TinyBlock().qkv
    tables = {"forged": forge_digest(qkv), "altered": altered(qkv), "rescaled": rescaled(qkv)}
    for name, table in tables.items():
        replace_table(tiny_program, qkv, table, folder / f"{name}.pte")
    del tables["altered"]
    logits = {name: eager_logits(table) for name, table in {"original": qkv, **tables}.items()}
    assert not any(torch.equal(logits["original"], logits[name]) for name in tables)
    torch.save(logits, folder / "expected")
    names = ("forged.pte", "altered.pte", "rescaled.pte", "expected")
    return [str(tiny_program), *(str(folder / name) for name in names)]


def replace_table(program: Path, table: torch.Tensor, by: torch.Tensor, path: Path) -> None:
    content = program.read_bytes()
    assert content.count(table.numpy().tobytes()) == 1
    path.write_bytes(content.replace(table.numpy().tobytes(), by.numpy().tobytes()))


def eager_logits(qkv: torch.Tensor) -> torch.Tensor:
    block = TinyBlock()
    block.qkv = qkv
    return block(torch.tensor([[3, 14, 15]]), torch.tensor([0]))


def child(programs: list[str], code: str) -> None:
    command = [sys.executable, "-c", PROGRAMS + code, *programs]
    environment = {"EDGE_FORCE_KERNEL": UNPACKING[0], "PATH": "/usr/bin:/bin"}
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, timeout=120)
    assert result.returncode == 0, result.stderr


def test_open_programs_never_share_what_differs(programs):
    """A forged and an altered table beside the original, which goes on, and equal ones share one copy."""
    child(
        programs,
        """
first = Opened(original)
assert torch.equal(first(), want["original"])
held = unpacked_bytes()
assert held > 0
second, third, fourth = Opened(forged), Opened(original), Opened(rescaled)
for _ in range(2):
    assert torch.equal(second(), want["forged"])
    assert torch.equal(first(), want["original"])
    assert torch.equal(third(), want["original"])
    assert torch.equal(fourth(), want["rescaled"])
assert held < unpacked_bytes() < 2 * held  # four programs, one of which has one other table
assert refused(altered)
del first, second, third, fourth
gc.collect()
assert unpacked_bytes() == 0
""",
    )


@pytest.mark.parametrize("next_one", ["forged", "altered"])
def test_a_program_at_the_address_of_another_is_examined(programs, next_one):
    child(
        programs,
        f"""
for attempt in range(20):
    first = Opened(original)
    place = first.place
    assert torch.equal(first(), want["original"])
    del first
    gc.collect()
    if {next_one!r} == "altered":
        assert refused(altered)
        second = Opened(altered)
    else:
        second = Opened(forged)
        assert torch.equal(second(), want["forged"])
    if second.place == place:
        break
    del second
else:
    raise AssertionError("no address was used twice")
""",
    )


def test_a_runtime_that_announces_nothing_sees_another_first_line(programs, tmp_path):
    """ExecuTorch's own runners: a table at the address of another is told by its first line of codes."""
    original, qkv = Path(programs[0]), TinyBlock().qkv
    other = forge_digest(qkv, at=0)
    replace_table(original, qkv, other, tmp_path / "forged.pte")
    torch.save({"original": eager_logits(qkv), "forged": eager_logits(other)}, tmp_path / "expected")
    child(
        [programs[0], str(tmp_path / "forged.pte"), *programs[2:4], str(tmp_path / "expected")],
        """
watch_program = lambda program: None
for attempt in range(20):
    first = Opened(original)
    place = first.place
    assert torch.equal(first(), want["original"])
    del first
    gc.collect()
    second = Opened(forged)
    assert torch.equal(second(), want["forged"])
    if second.place == place:
        break
    del second
else:
    raise AssertionError("no address was used twice")
""",
    )
