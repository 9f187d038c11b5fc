"""The estimate of decode on ARM cores: a trace holds exactly one block, and what the estimate says of it. The
build also shows that kernels define nothing that the linker may share."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.ops import arm_cost, arm_trace
from edge.ops.__main__ import main
from edge.ops.arm_cost import CORES, SHAPES, WIDTHS, CostError, Estimate, find_mca
from edge.ops.arm_trace import BLOCK_ROWS, PROBE, QEMU, Product, TraceError, Tracer, build_probe
from edge.ops.cross_build import missing_tools
from runtime_tests.native_builds import made_once

KERNELS = sorted({core.kernel for core in CORES})
# Multiplications without dot products: 8 products each, or at 1 bit a sum of 16 activations.
MULTIPLICATIONS = {"neon": r"[su]ml[as]?l2?\s+\S+8h|smull2?\s+\S+8h", "dotprod": "sdot", "i8mm": "usdot|sdot"}


def _lacking() -> str:
    lines = missing_tools()
    if shutil.which(QEMU) is None:
        lines.append(f"{QEMU} is missing")
    try:
        find_mca()
    except CostError as error:
        lines.append(str(error))
    return "; ".join(lines)


needs_tools = pytest.mark.skipif(bool(_lacking()), reason=_lacking())


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "arm-probe", build_probe) / PROBE


@pytest.fixture(scope="module")
def block_of(probe: Path) -> arm_cost.BlockOf:
    """Trace what a kernel runs for a block of a product, once each."""
    return functools.cache(Tracer(probe).block)


def count(pattern: str, block: list[str]) -> int:
    return sum(re.match(pattern, instruction) is not None for instruction in block)


@needs_tools
@pytest.mark.parametrize("group", [0, 128])
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_block_multiplies_each_weight_once(block_of, kernel, bits, group):
    """The trace counts multiplications and, by the prefetches, lines of 64 bytes: neither more nor fewer."""
    for columns, gate_up in SHAPES:
        product = Product(bits, columns, group, gate_up)
        block = block_of(kernel, product)
        tables = 2 if gate_up else 1
        lines_of_scales = tables * -(-columns // group) if group else 0
        assert count("prfm", block) == product.weights * bits // 8 // 64 + lines_of_scales
        if kernel == "neon" and bits == 1:
            assert count(r"sadalp\s+\S+8h, \S+16b", block) == product.weights // 16
        else:
            products = 8 if kernel == "neon" else 16
            assert count(MULTIPLICATIONS[kernel], block) == product.weights // products


@needs_tools
def test_a_block_ends_with_its_scales_and_its_residual(block_of):
    """Rows are four vectors: each is converted and scaled once, and takes its residual or SiLU."""
    row = block_of("dotprod", Product(4, 576, 0, gate_up=False))
    assert count(r"scvtf\s+\S+4s", row) == BLOCK_ROWS // 4
    assert count(r"fadd\s+\S+4s", row) == BLOCK_ROWS // 4
    silu = block_of("dotprod", Product(4, 576, 0, gate_up=True))
    assert count("fdiv", row) == 0
    assert count("fdiv", silu) == BLOCK_ROWS // 4
    grouped = block_of("dotprod", Product(4, 512, 128, gate_up=False))
    assert count(r"fcvtl\s+\S+4s", grouped) == 2 * BLOCK_ROWS  # of 4 groups, scales and zeros, four vectors


@pytest.mark.parametrize("passes", [2, 4])
def test_a_loop_over_other_than_the_blocks_is_refused(passes):
    steps = [("0400", "main"), *[("0404", "multiply_token"), ("0408", "multiply_token")] * passes]
    with pytest.raises(TraceError, match="once for each block"):
        arm_trace._block_of(steps)


def test_a_block_is_what_runs_between_two_passes():
    block = [("04", "multiply_token"), ("20", "gemv"), ("20", "gemv"), ("08", "multiply_token")]
    steps = [("00", "linear_blocks"), *block * 3, ("0c", "multiply_token")]
    assert arm_trace._block_of(steps) == [0x04, 0x20, 0x20, 0x08]


@needs_tools
def test_kernels_define_nothing_that_the_linker_may_share(probe):
    """As in test_csrc_build.py, which looks at this machine's kernels."""
    for kernel in KERNELS:
        (built,) = probe.parent.rglob(f"kernel_{kernel}.cc.o")
        command = ["aarch64-linux-gnu-nm", "--defined-only", str(built)]
        symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert re.search(r" t \S*multiply_token", symbols)
        assert not re.search(r" [VvWwu] ", symbols)


@needs_tools
def test_fewer_bits_cost_fewer_cycles_without_dot_products(block_of):
    """On a Cortex-A53, with residual, SiLU, and scales for rows or 128 columns. Every LLVM has its table."""
    (core,) = (core for core in CORES if core.kernel == "neon")
    found = arm_cost.ratios(arm_cost.estimates(find_mca(), core, block_of))
    assert len(found) == len(WIDTHS) * len(SHAPES) * len(arm_cost.GROUPS)
    for product, ratio in found.items():
        if product.bits < 4 and product.group != 32:
            assert ratio < 1, product


@needs_tools
@pytest.mark.parametrize("kernel", ["dotprod", "i8mm"])
def test_fewer_bits_take_fewer_instructions_with_dot_products(block_of, kernel):
    """1 and 2 bits than 4, whatever the core; 3 bits take two more for eight codes."""
    for columns, gate_up in SHAPES:
        for group in (0, 128):
            count_of = [len(block_of(kernel, Product(bits, columns, group, gate_up))) for bits in WIDTHS]
            one, two, three, four, _ = count_of
            assert one < two < four < three < 1.1 * four


@needs_tools
@pytest.mark.parametrize("core", CORES, ids=lambda core: core.name)
def test_the_table_has_every_width(block_of, core):
    products = [Product(bits, 576, 0, gate_up=False) for bits in WIDTHS]
    results = [arm_cost.estimate(find_mca(), core, p, block_of(core.kernel, p)) for p in products]
    title, _, *rows, summary = arm_cost._core_table(core, core.model, results).strip().splitlines()
    assert core.name in title
    assert core.kernel in title
    assert "of 4 bits' cycles: 1 bits" in summary
    for bits, row in zip(WIDTHS, rows, strict=True):
        assert f" {bits} bits " in row
        instructions, cycles, ratio, bytes_per_cycle, gigabytes = map(float, row.split("bits")[1].split())
        # No core here runs more than 8 instructions or loads more than 64 bytes a cycle.
        assert 0 < instructions < 8 * cycles
        assert (ratio == 1) == (bits == 4) or abs(ratio - 1) < 0.1
        assert 0 < bytes_per_cycle < 64
        assert gigabytes == pytest.approx(bytes_per_cycle * core.clock_ghz, rel=0.1, abs=0.05)


def test_a_table_of_another_core_is_said():
    results = [Estimate(Product(bits, 576, 0, gate_up=False), 10, 10) for bits in WIDTHS]
    assert "by the model of A57" in arm_cost._core_table(CORES[0], "A57", results)
    assert "by the model of" not in arm_cost._core_table(CORES[0], CORES[0].model, results)


@pytest.mark.parametrize("missing", ["llvm-mca", "aarch64-linux-gnu-g++", QEMU])
def test_a_missing_tool_is_named_with_its_cure(monkeypatch, capsys, missing):
    if missing == "llvm-mca":
        monkeypatch.setattr(shutil, "which", lambda tool, **_: None)
    else:
        monkeypatch.setattr(arm_cost, "find_mca", lambda: "true")
        monkeypatch.setattr("edge.ops.cross_build._which", lambda tool: None if missing != QEMU else tool)
        monkeypatch.setattr(shutil, "which", lambda tool, **_: None)
    assert main(["arm-cost"]) == 2
    message = capsys.readouterr().err
    assert f"{missing} is missing: apt-get install" in message
    assert message.count("\n") == 1
