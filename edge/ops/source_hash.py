"""The hash that ties a built library to the sources it was built from.

CMake runs this file as a script and bakes the result in; ``library.py`` compares it at load time,
so that a library older than the sources is refused instead of giving other numbers. It imports
nothing but the standard library and ``edge/formats.py``, by path, because the package cannot be
imported before the library exists.
"""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path

_OPS = Path(__file__).resolve().parent
_SUFFIXES = {".h", ".cc", ".txt", ".cmake"}


def source_hash() -> str:
    """SHA-256 (hex) over the C++ sources, their build files and the C++ constants of the formats."""
    digest = hashlib.sha256()
    csrc = _OPS / "csrc"
    for path in sorted(p for p in csrc.rglob("*") if p.suffix in _SUFFIXES):
        digest.update(path.relative_to(csrc).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    constants = runpy.run_path(str(_OPS.parent / "formats.py"))["cpp_header"]()
    digest.update(constants.encode())
    return digest.hexdigest()


if __name__ == "__main__":
    print(f'inline constexpr char kSourceHash[] = "{source_hash()}";')
