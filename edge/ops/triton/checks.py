"""Refuse what the kernels cannot compute, in one sentence, before anything runs."""

from __future__ import annotations

from functools import cache

import torch
import triton
from torch import Tensor

from edge.formats.weight import GROUP_SIZES
from edge.ops.triton.kernels import linear_kernel
from edge.ops.triton.layout import PLANES, row_words

#: Triton runs the kernels in Python, on tensors of the CPU.
INTERPRETED = not isinstance(linear_kernel, triton.JITFunction)
#: Tensor cores multiply bfloat16 and int8, and loads bypass registers, from this compute capability on.
CAPABILITY = (8, 0)
_MOST_COLUMNS = 65536  # as in packed tables: keeps int32 sums in range


def check_arguments(
    x: Tensor, words: Tensor, scale: Tensor, zeros: Tensor | None, zero: float, k: int, bits: int, group: int
) -> None:
    """Raise ValueError unless shapes, dtypes and devices fit each other; reads no values."""
    if bits not in PLANES:
        raise ValueError(f"the GPU kernels take codes of 1 to 4 bits, not {bits}")
    if not 1 <= k <= _MOST_COLUMNS:
        raise ValueError(f"a weight has 1 to {_MOST_COLUMNS} columns, not {k}")
    if group and group not in GROUP_SIZES:
        raise ValueError(f"a scale is shared by 32, 64, 128 or 256 columns or a whole row (0), not {group}")
    if not 0 <= zero < 1 << bits or not float(2 * zero).is_integer():
        raise ValueError(f"a zero of the whole table must be a multiple of 1/2 among the codes, not {zero}")
    if words.dtype != torch.int16 or words.dim() != 2 or words.shape[1] != row_words(k, bits):
        raise ValueError(
            f"words of {k} columns at {bits} bits are int16 [n, {row_words(k, bits)}], not {words.dtype} "
            f"{list(words.shape)}; make them with GpuWeight"
        )
    _check_scales(words.shape[0], -(-k // group) if group else 1, scale, zeros, group)
    if x.dim() < 1 or x.shape[-1] != k:
        raise ValueError(f"the input must end with {k} columns, as the weight has, not {list(x.shape)}")
    for name, tensor in (("words", words), ("scale", scale), ("zero", zeros)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(
                f"the weight's {name} lie on {tensor.device} and the input on {x.device}; move one of them"
            )
        if tensor is not None and not tensor.is_contiguous():
            raise ValueError(f"the weight's {name} must be contiguous; make the weight with GpuWeight")


def _check_scales(n: int, groups: int, scale: Tensor, zeros: Tensor | None, group: int) -> None:
    allowed = (torch.float16, torch.bfloat16, torch.float32) if group else (torch.float32,)
    if scale.dtype not in allowed or tuple(scale.shape) != (n, groups):
        raise ValueError(
            f"scales must be [{n}, {groups}] of {' or '.join(map(str, allowed))}, not {list(scale.shape)} of "
            f"{scale.dtype}"
        )
    if zeros is not None and (zeros.dtype != torch.float32 or tuple(zeros.shape) != (n, groups)):
        raise ValueError(f"zeros must be float32 [{n}, {groups}], not {zeros.dtype} {list(zeros.shape)}")


def check_device(device: torch.device) -> None:
    """Raise ValueError unless the kernels can run there."""
    if device.type == "cuda":
        refusal = _refusal(torch.cuda.get_device_capability(device), torch.cuda.get_device_name(device))
        if refusal:
            raise ValueError(refusal)
    elif not (device.type == "cpu" and INTERPRETED):
        raise ValueError(
            f"the Triton kernels run on a GPU, not on {device.type}: move weight and input there, use "
            "torch.ops.lowbit.linear on the CPU, or set TRITON_INTERPRET=1 to run them slowly in Python"
        )


def can_run(device: torch.device) -> bool:
    """Tell whether the kernels can run there."""
    try:
        check_device(device)
    except ValueError:
        return False
    return True


@cache
def _refusal(capability: tuple[int, int], name: str) -> str:
    """Say why a GPU is too old, or nothing."""
    if capability >= CAPABILITY:
        return ""
    return (
        f"{name} has compute capability {capability[0]}.{capability[1]}, and the kernels need "
        f"{CAPABILITY[0]}.{CAPABILITY[1]}, whose tensor cores multiply bfloat16; multiply dequantised weights"
    )
