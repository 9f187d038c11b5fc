"""The low-bit CPU ops. Importing this package is all a process needs for them.

It loads the native library, which registers ``lowbit::*`` with ExecuTorch's runtime, and defines
``torch.ops.lowbit.*`` for eager PyTorch and for ``torch.export``. ``schema.py`` lists the ops.
"""

from edge.ops.library import (
    kernel_bench_path,
    library_path,
    load_library,
    runner_environment,
    runner_path,
)

load_library()

from edge.ops import schema as schema  # noqa: E402  (defines torch.ops.lowbit, which needs the library)
from edge.ops.native import kernel_names, selected_kernel  # noqa: E402

__all__ = [
    "kernel_bench_path",
    "kernel_names",
    "library_path",
    "runner_environment",
    "runner_path",
    "selected_kernel",
]
