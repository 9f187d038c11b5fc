"""Make what is measured: our kernels, cuBLAS, and the 4-bit kernels of torchao and gemlite if they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from edge.formats.grid import grid_for_bits
from edge.formats.weight import QuantizedWeight
from edge.ops.triton import GpuWeight, linear, linear_int8, quantize_tokens

BASELINE = "cuBLAS"
_OPPONENT_GROUP = 128
_CHECKED_ROWS = 256


@dataclass(frozen=True)
class Candidate:
    """One product of a weight [n, k].

    Attributes:
        prepare: what is done to x [m, k] before the clock starts.
        run: prepared input -> [m, n].
        weight_bytes: that a product reads of the weight.
        rows, weights: some rows, and what their weights are: float64 [rows, k].
        tolerance: allowed norm of the error over the norm of the result.
    """

    name: str
    prepare: Callable[[Tensor], tuple[Tensor, ...]]
    run: Callable[..., Tensor]
    weight_bytes: int
    rows: Tensor
    weights: Tensor
    tolerance: float

    def verify(self, x: Tensor) -> None:
        """Compare with a product in float64; RuntimeError if they differ."""
        out = self.run(*self.prepare(x))[:, self.rows].double()
        wanted = x.double() @ self.weights.T
        error = float((out - wanted).norm() / wanted.norm())
        if not error <= self.tolerance:
            raise RuntimeError(f"{self.name} is wrong by {error:.2g}, and {self.tolerance:g} is allowed")


def random_weight(bits: float, n: int, k: int, group_size: int | None, device: str) -> QuantizedWeight:
    """Make a random weight [n, k] on the grid of a width."""
    grid = grid_for_bits(bits)
    assert grid.zero is not None
    groups = 1 if group_size is None else -(-k // group_size)
    codes = torch.randint(0, grid.levels, (n, k), dtype=torch.uint8, device=device)
    scale = (torch.rand(n, groups, device=device) + 0.5).half().float() / 64
    return QuantizedWeight(codes, scale, grid.zero, grid.encoding_of(group_size), group_size)


def make_ours(
    bits: float, n: int, k: int, group_size: int | None, dtype: torch.dtype, device: str
) -> Candidate:
    """A random weight on the grid of a width, which our kernel multiplies by inputs of ``dtype``."""
    weight = random_weight(bits, n, k, group_size, device)
    held, rows = GpuWeight.of(weight, device), _some_rows(n, device)
    name, weights = f"ours, {bits:g} bits", weight.dequantize()[rows].double()
    if dtype == torch.int8:
        return Candidate(
            name,
            quantize_tokens,
            lambda q, s: linear_int8(q, s, held, torch.float16),
            held.nbytes,
            rows,
            weights,
            0.02,
        )
    return Candidate(name, _as(dtype), lambda x: linear(x, held), held.nbytes, rows, weights, 0.005)


def make_cublas(weight: Tensor) -> Candidate:
    """torch.matmul by a weight [n, k] of 16 bits."""
    rows = _some_rows(weight.shape[0], weight.device)
    return Candidate(
        BASELINE,
        _as(weight.dtype),
        lambda x: torch.matmul(x, weight.T),
        weight.nbytes,
        rows,
        weight[rows].double(),
        0.005,
    )


def make_torchao(weight: Tensor) -> Candidate:
    """torchao's 4 bits in groups of 128, bfloat16, as its own quantiser rounds the weight."""
    from torchao.quantization import Int4WeightOnlyConfig, quantize_
    from torchao.quantization.quantize_.workflows import Int4PackingFormat

    layer = torch.nn.Linear(
        weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=torch.bfloat16
    )
    layer.weight.data.copy_(weight)
    packing = Int4PackingFormat.TILE_PACKED_TO_4D
    quantize_(layer, Int4WeightOnlyConfig(group_size=_OPPONENT_GROUP, int4_packing_format=packing))
    rows = _some_rows(weight.shape[0], weight.device)
    return Candidate(
        "torchao, 4 bits",
        _as(torch.bfloat16),
        layer,
        _grouped_bytes(weight),
        rows,
        weight[rows].double(),
        0.2,
    )


def make_gemlite(weight: Tensor) -> Candidate:
    """gemlite's 4 bits in groups of 128, float16, rounded between the least and largest of each group."""
    from gemlite.helper import A16Wn

    groups = weight.float().reshape(-1, _OPPONENT_GROUP)
    least = groups.amin(1, keepdim=True)
    scale = (groups.amax(1, keepdim=True) - least).clamp(min=1e-6) / 15
    codes = ((groups - least) / scale).round().clamp(0, 15).to(torch.uint8).reshape(weight.shape)
    layer = A16Wn(device=str(weight.device), dtype=torch.float16).from_weights(
        codes, scale.half(), (-least / scale).half(), 4, _OPPONENT_GROUP
    )
    rows = _some_rows(weight.shape[0], weight.device)
    return Candidate(
        "gemlite, 4 bits",
        _as(torch.float16),
        layer,
        _grouped_bytes(weight),
        rows,
        weight[rows].double(),
        0.2,
    )


#: By the package that must be installed.
OPPONENTS = {"torchao": make_torchao, "gemlite": make_gemlite}


def make_opponents(weight: Tensor) -> tuple[list[Candidate], dict[str, str]]:
    """Make those that are installed and take the shape; also why others are left out."""
    made, left_out = [], {}
    for package, make in OPPONENTS.items():
        if find_spec(package) is None:
            left_out[package] = "not installed"
            continue
        try:
            made.append(make(weight))
        except Exception as error:  # another project's code; its own words are the reason
            left_out[package] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return made, left_out


def _some_rows(n: int, device: str | torch.device) -> Tensor:
    return torch.linspace(0, n - 1, min(n, _CHECKED_ROWS), device=device).long()


def _as(dtype: torch.dtype) -> Callable[[Tensor], tuple[Tensor, ...]]:
    return lambda x: (x.to(dtype),)


def _grouped_bytes(weight: Tensor) -> int:
    """Bytes of 4-bit codes, and of a scale and a zero of 16 bits for each group."""
    return weight.numel() // 2 + weight.numel() // _OPPONENT_GROUP * 4
