"""The estimate of the ARM decode loops: which instructions it takes and what its table says. The assembly
also shows that kernels define nothing that the linker may share."""

from __future__ import annotations

import re
import shutil

import pytest

from edge.ops import arm_cost
from edge.ops.__main__ import main
from edge.ops.arm_cost import CORES, CostError, Loop, compile_kernels, decode_loops, find_mca
from edge.ops.cross_build import missing_tools


def _lacking() -> str:
    lines = missing_tools()
    try:
        find_mca()
    except CostError as error:
        lines.append(str(error))
    return "; ".join(lines)


needs_tools = pytest.mark.skipif(bool(_lacking()), reason=_lacking())


@pytest.fixture(scope="module")
def assemblies() -> dict[str, str]:
    """The ARM kernels as assembly, by name."""
    return compile_kernels({core.kernel for core in CORES})


ASSEMBLY = """\
.L2:
\tmov\tx1, 0
.L3:
// 5 "neon_dot.h" 1
\t// EDGE_LOOP 2 bits 16
\tldr\tq0, [x0], 16
\t.loc 1 7
\tbic\tv0.16b, v0.16b, v1.16b
\tbhi\t.L3
\tb\t.L2
"""


def test_a_loop_is_what_lies_between_its_label_and_the_branch_back():
    assert decode_loops(ASSEMBLY) == {
        "2 bits": Loop("2 bits", 16, "\tldr\tq0, [x0], 16\n\tbic\tv0.16b, v0.16b, v1.16b\n\tbhi\t.L3")
    }


def test_a_mark_outside_a_loop_is_refused():
    with pytest.raises(CostError, match="stands in no loop"):
        decode_loops(ASSEMBLY.replace("\tbhi\t.L3\n", ""))


@needs_tools
def test_kernels_define_nothing_that_the_linker_may_share(assemblies):
    """As in test_csrc_build.py, which looks at this machine's kernels."""
    for assembly in assemblies.values():
        assert "\t.text" in assembly
        assert not re.search(r"\.weak|\.gnu\.linkonce|\.gnu_unique|,comdat", assembly)


@needs_tools
def test_the_table_has_every_kernel_and_bit_width(assemblies, monkeypatch):
    monkeypatch.setattr(arm_cost, "compile_kernels", lambda names: {name: assemblies[name] for name in names})
    text = arm_cost.report()
    assert "not timings" in text
    _, *tables = text.split("\n\n")
    assert len(tables) == len(CORES)
    for core, table in zip(CORES, tables, strict=True):
        title, *rows = [line for line in table.splitlines() if not line.startswith("  (")]
        assert core.name in title
        assert core.kernel in title
        cells = {row[:9].strip(): [float(cell) for cell in row[9:].split()] for row in rows[1:]}
        assert list(cells) == ["1 bit", "2 bits", "3 bits", "4 bits", "8 bits"]
        for cycles, _, bytes_per_cycle, gigabytes in cells.values():
            # 1000 weights are at least 125 bytes, and no core here loads more than 64 bytes a cycle.
            assert cycles > 0
            assert 0 < bytes_per_cycle < 64
            assert gigabytes == pytest.approx(bytes_per_cycle * core.clock_ghz, rel=0.1, abs=0.05)


@pytest.mark.parametrize("missing", ["llvm-mca", "aarch64-linux-gnu-g++"])
def test_a_missing_tool_is_named_with_its_cure(monkeypatch, capsys, missing):
    if missing == "llvm-mca":
        monkeypatch.setattr(shutil, "which", lambda tool, **_: None)
    else:
        monkeypatch.setattr(arm_cost, "find_mca", lambda: "llvm-mca")
        monkeypatch.setattr("edge.ops.cross_build._which", lambda tool: None)
    assert main(["arm-cost"]) == 2
    message = capsys.readouterr().err
    assert f"{missing} is missing: apt-get install" in message
    assert message.count("\n") == 1
