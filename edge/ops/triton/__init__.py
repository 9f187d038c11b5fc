"""Low-bit kernels for GPUs, in Triton: ``linear`` and ``linear_int8`` of a ``GpuWeight``.

Importing this package defines ``torch.ops.lowbit.gpu_linear`` and ``gpu_linear_int8``; importing ``packed``
defines ``gpu_linear_packed``, which takes tables of the CPU's layout. README.md says how weights lie in
memory, and what is measured: nothing yet.
"""

try:
    import triton as _triton  # noqa: F401
except ImportError:
    raise ImportError(  # with a name, python -m ends in one line
        "the GPU kernels need Triton: pip install 'edge-lowbit[gpu]'", name=__name__
    ) from None

from edge.ops.triton.linear import linear, linear_int8, quantize_tokens
from edge.ops.triton.weight import GpuWeight

__all__ = ["GpuWeight", "linear", "linear_int8", "quantize_tokens"]
