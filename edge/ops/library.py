"""Find, check and load the native library: one loader, one canonical path.

The library registers the ops with ExecuTorch when it is loaded, and two copies in one process
abort it, so nothing else may load it.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
from functools import lru_cache
from pathlib import Path

from edge.formats.encoding import cpp_table
from edge.ops.source_hash import source_hash

DISTRIBUTION = "edge-lowbit"
CURE = 'run "pip install ." in the repository'
_HERE = Path(__file__).resolve().parent
_ENCODINGS = "csrc/core/encodings.inc"
_LIBRARY = "lib/liblowbit_ops.so"
_RUNNER = "bin/lowbit_runner"
_KERNEL_BENCH = "bin/lowbit_kernel_bench"
_KERNEL_CHECK = "bin/lowbit_kernel_check"


@lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL:
    """Load the op library once per process and register its ops with ExecuTorch.

    Raises:
        ImportError: the library is missing, cannot be loaded, or was built from other sources or another
            table of encodings; the message says what to do.
    """
    path = _built_file(_LIBRARY)
    if (_HERE / _ENCODINGS).read_text() != cpp_table():
        raise ImportError(
            f"edge/ops/{_ENCODINGS} differs from edge/formats/encoding.py: run "
            '"python -m edge.formats", then "pip install ."'
        )
    # Loads libexecutorch.so first, so that the op library registers with this process's copy. The extension
    # needs torch; its usual wrapper, portable_lib, would also import the exporter.
    import torch  # noqa: F401
    from executorch.extension.pybindings import _C as runtime

    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ImportError(f"cannot load {path} ({error}); {CURE}") from None
    library.edge_source_hash.restype = ctypes.c_char_p
    if library.edge_source_hash().decode() != source_hash():
        raise ImportError(f"{path} was built from other sources than {_HERE / 'csrc'}; {CURE}")
    if "lowbit::linear.out" not in runtime._get_operator_names():
        raise ImportError(
            f"{path} registered its ops with another copy of ExecuTorch than Python uses; {CURE} "
            "in the environment that runs it"
        )
    return library


def library_path() -> Path:
    """Return the path of the op library; if it was not built, an ImportError says what to do."""
    return _built_file(_LIBRARY)


def runner_path() -> Path:
    """Return the path of the C++ runner ``lowbit_runner``; if not built, an ImportError says what to do."""
    return _built_file(_RUNNER)


def kernel_bench_path() -> Path:
    """Return the path of ``lowbit_kernel_bench``; if it was not built, an ImportError says what to do."""
    return _built_file(_KERNEL_BENCH)


def kernel_check_path() -> Path:
    """Return the path of ``lowbit_kernel_check``; if it was not built, an ImportError says what to do."""
    return _built_file(_KERNEL_CHECK)


def runner_environment() -> dict[str, str]:
    """Return an environment in which the runner finds ExecuTorch's libraries."""
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"executorch is not installed; {CURE}")
    folders = [str(Path(spec.submodule_search_locations[0]) / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(f for f in folders if f)}


def _built_file(relative: str) -> Path:
    """Find a built file: beside this one (an installed package), else in the installed distribution."""
    candidates = [_HERE / relative]
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
        candidates.append(Path(str(distribution.locate_file(f"edge/ops/{relative}"))))
    except importlib.metadata.PackageNotFoundError:
        pass
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise ImportError(f"edge/ops/{relative} has not been built; {CURE}")
