"""The ops' CPU implementations for eager PyTorch: ctypes calls into the native library.

Each function takes and returns dense CPU tensors, copies a tensor only when it is not contiguous,
and raises ValueError with the library's own sentence.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from edge.ops.kv_layout import KEY_BLOCK, cache_shapes
from edge.ops.library import load_library
from edge.ops.packed_header import K_MULTIPLE, MAX_K, MAX_ROWS

_ERROR_BYTES = 256
_PROGRAM_ERROR_BYTES = 1024  # names of many operators
_LACKS_OPERATORS = 2  # EDGE_PROGRAM_LACKS_OPERATORS of csrc/executorch/c_api.h
_MAX_THREADS = 4096  # csrc/core/limits.h


def linear(
    x: Tensor, packed: Tensor, n: int, kernel: str | None = None, threads: int | None = None
) -> Tensor:
    """x float32 [..., k] times a packed [n, k] table -> [..., n].

    Args:
        kernel: a name from ``kernel_names``; by default the selected one. The same holds for every op here.
        threads: by default PyTorch's number.
    """
    return _linear(x, packed, n, Fusion(), kernel, threads)


def norm_linear(
    x: Tensor,
    norm_weight: Tensor,
    eps: float,
    packed: Tensor,
    n: int,
    kernel: str | None = None,
    threads: int | None = None,
) -> Tensor:
    """``linear(rms_norm(x, norm_weight, eps), packed, n)``: x float32 [..., k] -> [..., n]."""
    return _linear(x, packed, n, Fusion(norm_weight=norm_weight, eps=eps), kernel, threads)


def norm_gate_up(
    x: Tensor,
    norm_weight: Tensor,
    eps: float,
    packed: Tensor,
    n: int,
    gelu: bool = False,
    kernel: str | None = None,
    threads: int | None = None,
) -> Tensor:
    """SiLU(gate h) * (up h) of h = rms_norm(x), the table [gate; up] of 2n rows -> [..., n]; or GELU."""
    return _linear(x, packed, 2 * n, Fusion(norm_weight, eps, gate_up=True, gelu=gelu), kernel, threads)


def linear_add(
    x: Tensor, packed: Tensor, residual: Tensor, kernel: str | None = None, threads: int | None = None
) -> Tensor:
    """``residual + linear(x)``: x float32 [..., k], residual float32 [..., n] -> [..., n]."""
    if residual.shape[:-1] != x.shape[:-1]:
        raise ValueError(f"linear_add: residual {list(residual.shape)} does not go with x {list(x.shape)}")
    return _linear(x, packed, residual.shape[-1], Fusion(residual=residual), kernel, threads)


@dataclass(frozen=True)
class Fusion:
    """Operations fused with a product (``csrc/core/linear.h``)."""

    norm_weight: Tensor | None = None  # float32 [k]
    eps: float = 0.0
    residual: Tensor | None = None  # float32 [..., n]
    gate_up: bool = False
    gelu: bool = False


def _linear(
    x: Tensor, packed: Tensor, n: int, fusion: Fusion, kernel: str | None, threads: int | None
) -> Tensor:
    x, packed = _dense(x, torch.float32, "x"), _dense(packed, torch.uint8, "packed")
    if not 1 <= n <= MAX_ROWS:
        raise ValueError(f"linear: a packed table has 1 to {MAX_ROWS} rows, not {n}")
    k = x.shape[-1]
    norm, residual = fusion.norm_weight, fusion.residual
    if norm is not None:
        norm = _dense(norm, torch.float32, "norm_weight")
        if norm.shape != (k,):
            raise ValueError(f"norm_weight {list(norm.shape)} does not fit x {list(x.shape)}")
    if residual is not None:
        residual = _dense(residual, torch.float32, "residual")
    y = x.new_empty([*x.shape[:-1], n // 2 if fusion.gate_up else n])
    _call(
        "edge_linear", _pointer(x), x.numel() // max(k, 1), k, _pointer(packed), packed.numel(), n,
        _pointer(norm), ctypes.c_float(fusion.eps), _pointer(residual), int(fusion.gate_up),
        int(fusion.gelu), _name(kernel), _threads(threads), _pointer(y),
    )  # fmt: skip
    return y


def embedding(tokens: Tensor, packed: Tensor, dim: int) -> Tensor:
    """Rows of a packed [vocabulary, dim] table: tokens int64 [...] -> float32 [..., dim]."""
    tokens, packed = _dense(tokens, torch.int64, "tokens"), _dense(packed, torch.uint8, "packed")
    if not 1 <= dim <= MAX_K:
        raise ValueError(f"embedding: a packed table has 1 to {MAX_K} columns, not {dim}")
    out = torch.empty([*tokens.shape, dim], dtype=torch.float32)
    _call(
        "edge_embedding",
        _pointer(tokens),
        tokens.numel(),
        _pointer(packed),
        packed.numel(),
        dim,
        _pointer(out),
    )
    return out


def rms_norm(x: Tensor, weight: Tensor, eps: float, kernel: str | None = None) -> Tensor:
    """x float32 [..., dim], weight float32 [dim] -> [..., dim]."""
    x, weight = _dense(x, torch.float32, "x"), _dense(weight, torch.float32, "weight")
    if weight.dim() != 1 or x.shape[-1:] != weight.shape or weight.numel() == 0:
        raise ValueError(f"rms_norm: weight {list(weight.shape)} does not fit x {list(x.shape)}")
    y, dim = torch.empty_like(x), weight.numel()
    _call(
        "edge_rms_norm", _pointer(x), _pointer(weight), ctypes.c_float(eps), x.numel() // dim, dim,
        _name(kernel), _threads(None), _pointer(y),
    )  # fmt: skip
    return y


def gate_mul(gate: Tensor, up: Tensor, gelu: bool = False, kernel: str | None = None) -> Tensor:
    """SiLU(gate) * up, or GELU(gate) * up by its tanh form; float32 of one shape."""
    gate, up = _dense(gate, torch.float32, "gate"), _dense(up, torch.float32, "up")
    if gate.shape != up.shape:
        raise ValueError(f"gate_mul: gate {list(gate.shape)} and up {list(up.shape)} differ in shape")
    y = torch.empty_like(gate)
    _call(
        "edge_gate_mul", _pointer(gate), _pointer(up), gate.numel(), int(gelu), _name(kernel), _threads(None),
        _pointer(y),
    )  # fmt: skip
    return y


def attention(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    start_pos: int,
    heads: int,
    window: int = 0,
    cap: float = 0.0,
    kernel: str | None = None,
    threads: int | None = None,
) -> Tensor:
    """RoPE, cache write and causal attention; shapes as in ``edge/ops/schema.py``."""
    return _attention(32, qkv, cos, sin, [k_cache, v_cache], start_pos, heads, window, cap, kernel, threads)


def attention_int8(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k_scales: Tensor,
    v_scales: Tensor,
    start_pos: int,
    heads: int,
    window: int = 0,
    cap: float = 0.0,
    kernel: str | None = None,
    threads: int | None = None,
) -> Tensor:
    """``attention`` over int8 caches with one scale per kv head and position, for K and for V."""
    caches = [k_cache, v_cache, k_scales, v_scales]
    return _attention(8, qkv, cos, sin, caches, start_pos, heads, window, cap, kernel, threads)


def attention_int4(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k_scales: Tensor,
    v_scales: Tensor,
    start_pos: int,
    heads: int,
    window: int = 0,
    cap: float = 0.0,
    kernel: str | None = None,
    threads: int | None = None,
) -> Tensor:
    """``attention_int8`` with caches of two 4-bit codes a byte, and with Hadamard transforms of q and k."""
    caches = [k_cache, v_cache, k_scales, v_scales]
    return _attention(4, qkv, cos, sin, caches, start_pos, heads, window, cap, kernel, threads)


def _attention(
    bits: int,
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    caches: list[Tensor],
    start_pos: int,
    heads: int,
    window: int,
    cap: float,
    kernel: str | None,
    threads: int | None,
) -> Tensor:
    inputs = {"qkv": qkv, "cos": cos, "sin": sin}
    qkv, cos, sin = (_dense(tensor, torch.float32, name) for name, tensor in inputs.items())
    sizes = attention_sizes(qkv, cos, sin, caches, heads, bits)
    for index, cache in enumerate(caches):
        dtype = sizes.dtype if index < 2 else torch.float32
        if cache.dtype != dtype or not cache.is_contiguous() or cache.device.type != "cpu":
            raise ValueError(
                f"attention: caches must be contiguous CPU tensors, this one {dtype}, to be written in place"
            )
    out = qkv.new_empty([1, qkv.shape[1], heads * sizes.head_dim])
    _call(
        "edge_attention" if bits == 32 else f"edge_attention_int{bits}",
        *(_pointer(t) for t in (qkv, cos, sin, *caches)), qkv.shape[1], heads, sizes.kv_heads,
        sizes.head_dim, sizes.capacity, cos.shape[0], start_pos, window, ctypes.c_float(cap),
        _name(kernel), _threads(threads), _pointer(out),
    )  # fmt: skip
    return out


@dataclass(frozen=True)
class AttentionSizes:
    kv_heads: int
    head_dim: int
    capacity: int  # positions that the caches have room for
    dtype: torch.dtype  # of keys and values in the caches


def attention_sizes(
    qkv: Tensor, cos: Tensor, sin: Tensor, caches: list[Tensor], heads: int, bits: int
) -> AttentionSizes:
    """Derive the sizes from the shapes; ValueError unless all agree. The number of tokens may be symbolic.

    Args:
        caches: K and V, and their scales unless ``bits`` is 32.
    """
    k_cache, v_cache, *scales = caches
    if qkv.dim() != 3 or qkv.shape[0] != 1 or cos.dim() != 2 or cos.shape != sin.shape:
        raise ValueError("attention: qkv is [1, T, (H + 2 Hkv) D], cos and sin are [max_seq, D/2]")
    if k_cache.dim() != (4 if bits == 32 else 5) or v_cache.dim() < 2:
        raise ValueError("attention: the caches have other shapes than kv_layout.cache_shapes gives")
    kv_heads, room, head_dim = k_cache.shape[0], k_cache.shape[1] * KEY_BLOCK, 2 * cos.shape[1]
    shapes = cache_shapes(kv_heads, room, head_dim, bits)
    scales_fit = all(s.shape == shapes.scales for s in scales)
    if k_cache.shape != shapes.keys or v_cache.shape != shapes.values or not scales_fit:
        raise ValueError(
            f"attention: caches of {kv_heads} kv heads, {room} positions and head size {head_dim} have "
            "other shapes than kv_layout.cache_shapes gives"
        )
    if heads < 1 or kv_heads < 1 or heads % kv_heads != 0:
        raise ValueError(f"attention: {heads} heads cannot share {kv_heads} kv heads")
    if qkv.shape[2] != (heads + 2 * kv_heads) * head_dim:
        raise ValueError(
            f"attention: qkv {list(qkv.shape)} is not [1, T, ({heads} + 2 * {kv_heads}) * {head_dim}]"
        )
    return AttentionSizes(kv_heads, head_dim, room, shapes.dtype)


def kernel_names() -> list[str]:
    """The kernels in this build, best first, whether or not this CPU supports them."""
    return (_text("edge_kernel_names")() or b"").decode().split(",")


def selected_kernel() -> str:
    """The kernel that ``lowbit::linear`` uses; ValueError when EDGE_FORCE_KERNEL cannot be met."""
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    name = _text("edge_selected_kernel")(error, ctypes.c_size_t(_ERROR_BYTES))
    if name is None:
        raise ValueError(error.value.decode())
    return name.decode()


def quantize_activations(x: Tensor, kernel: str | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """x float32 [tokens, k] -> q int8 [tokens, k up to 64], scales float32 [tokens], sums int32 [tokens]."""
    x = _dense(x, torch.float32, "x")
    tokens, k = x.shape
    k_padded = -(-k // K_MULTIPLE) * K_MULTIPLE
    q = torch.empty(tokens, k_padded, dtype=torch.int8)
    scales, sums = torch.empty(tokens), torch.empty(tokens, dtype=torch.int32)
    _call(
        "edge_quantize_activations", _pointer(x), tokens, k, k_padded, _name(kernel), _pointer(q),
        _pointer(scales), _pointer(sums),
    )  # fmt: skip
    return q, scales, sums


class MissingOperators(ValueError):
    """A program calls operators that nobody registered; the message names them."""


def check_program(file: BinaryIO, max_planned_bytes: int) -> None:
    """Check a program's file before ExecuTorch loads it (``csrc/executorch/program_check.h``).

    Args:
        max_planned_bytes: that the program's planned buffers may take together.

    Raises:
        MissingOperators: it calls operators that are not registered.
        ValueError: it is damaged, or no program; says what is wrong.
    """
    if os.fstat(file.fileno()).st_size == 0:
        raise ValueError("it is empty")
    data = np.memmap(file, np.uint8, "r")
    error = ctypes.create_string_buffer(_PROGRAM_ERROR_BYTES)
    status = load_library().edge_check_program(
        ctypes.c_void_p(data.ctypes.data),
        ctypes.c_size_t(data.size),
        ctypes.c_int64(max_planned_bytes),
        error,
        ctypes.c_size_t(_PROGRAM_ERROR_BYTES),
    )
    if status != 0:
        raise (MissingOperators if status == _LACKS_OPERATORS else ValueError)(error.value.decode())


def _call(name: str, *arguments: object) -> None:
    """Call a C function that returns a status; integers are passed as int64, which every C int accepts."""
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    converted = [_int64(name, a) if isinstance(a, int) else a for a in arguments]
    if getattr(load_library(), name)(*converted, error, ctypes.c_size_t(_ERROR_BYTES)) != 0:
        raise ValueError(error.value.decode())


def _int64(function: str, value: int) -> ctypes.c_int64:
    if not -(2**63) <= value < 2**63:  # ctypes would drop the upper bits
        raise ValueError(f"{function.removeprefix('edge_')}: {value} does not fit 64 bits")
    return ctypes.c_int64(value)


def _threads(threads: int | None) -> int:
    number = torch.get_num_threads() if threads is None else threads
    if not 1 <= number <= _MAX_THREADS:
        raise ValueError(f"threads must lie in 1..{_MAX_THREADS}, not {number}")
    return number


def _text(name: str) -> Callable[..., bytes | None]:
    function = getattr(load_library(), name)
    function.restype = ctypes.c_char_p
    return function


def _name(kernel: str | None) -> bytes | None:
    return None if kernel is None else kernel.encode()


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _dense(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        raise ValueError(f"{name} must be {dtype} on the CPU, not {tensor.dtype} on {tensor.device}")
    return tensor.contiguous()
