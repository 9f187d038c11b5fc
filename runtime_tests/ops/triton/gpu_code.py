"""Compile kernels for GPUs, which needs none; run it with TRITON_INTERPRET=0."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from edge.ops.triton.kernels import add_splits_kernel, linear_kernel, sum_groups_kernel
from edge.ops.triton.tiles import choose_tiles, is_whole, loaded_bytes

#: Shared memory of a program by compute capability: consumer cards, and H100 and H200.
SHARED_BYTES = {86: 99 << 10, 90: 227 << 10}
_K = 1536
_POINTERS = {"words": "*i16", "scale": "*fp16", "zero": "*fp32", "x_sums": "*fp32", "x_scale": "*fp32"}
_TYPES = {tl.float16: "*fp16", tl.bfloat16: "*bf16", tl.int8: "*i8"}


def compile_linear(capability: int, m: int, bits: int, group: int, zeros: bool, dtype: tl.dtype) -> None:
    """Compile the kernel as a launch does; AssertionError if it takes more memory than the tiles say."""
    tiles = choose_tiles(m, 4096, _K, bits, group or None, 132, SHARED_BYTES[capability])
    constants = {
        "BITS": bits,
        "GROUP": group,
        "ZEROS": zeros,
        "TWICE_ZERO": 0 if zeros else 3,
        "WHOLE": is_whole(_K, bits, tiles.chunks),
        "dtype": dtype,
        "TOKENS": tiles.tokens,
        "ROWS": tiles.rows,
        "CHUNKS": tiles.chunks,
        "SPLITS": tiles.splits,
    }
    pointers = {**_POINTERS, "x": _TYPES[dtype], "out": "*fp32" if tiles.splits > 1 else "*fp16"}
    if not group:
        pointers["scale"] = "*fp32"
    if not group and not zeros and dtype == tl.int8:
        pointers["out"] = "*i32"
    compiled = _compile(linear_kernel, pointers, constants, capability, tiles.warps, tiles.stages)
    assert compiled.metadata.shared <= loaded_bytes(tiles, bits), (tiles, compiled.metadata.shared)
    assert "cubin" in compiled.asm
    print(f"{bits} bits, group {group}, {dtype}, {tiles}: {compiled.metadata.shared} bytes, fits")


def compile_add_splits(capability: int) -> None:
    pointers = {"sums": "*i32", "scale": "*fp32", "x_scale": "*fp32", "out": "*bf16"}
    constants = {"GROUP": 0, "TWICE_ZERO": 3, "dtype": tl.int8, "SPLITS": 5, "BLOCK": 1024}
    assert "cubin" in _compile(add_splits_kernel, pointers, constants, capability, 4, 1).asm


def compile_sum_groups(capability: int) -> None:
    pointers = {"x": "*bf16", "out": "*fp32"}
    assert "cubin" in _compile(sum_groups_kernel, pointers, {"BLOCK": 256}, capability, 4, 1).asm


def _compile(kernel, pointers, constants, capability: int, warps: int, stages: int):
    names = list(kernel.arg_names)
    kinds = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names}
    aligned = [name for name in names if name in pointers or name in ("k", "n", "low_words", "row_words")]
    source = ASTSource(
        fn=kernel,
        signature=kinds,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {"num_warps": warps, "num_stages": stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


if __name__ == "__main__":
    compile_linear(90, 1, 2, 0, False, tl.float16)
    compile_linear(90, 64, 3, 128, False, tl.bfloat16)
    compile_linear(86, 1, 1, 0, False, tl.int8)
    compile_linear(86, 4096, 4, 32, True, tl.bfloat16)
    compile_add_splits(90)
    compile_sum_groups(90)
