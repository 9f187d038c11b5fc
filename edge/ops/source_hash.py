"""Compute the hash that ties a built library to its C++ sources.

CMake computes the same hash (``csrc/cmake/source_hash.cmake``) and builds it into the library;
``library.py`` compares the two and refuses a library that was built from other sources.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

_CSRC = Path(__file__).resolve().parent / "csrc"
_SUFFIXES = {".h", ".cc", ".inc", ".txt", ".cmake"}


def source_hash() -> str:
    """Return the SHA-256 (hex) over the paths and contents of the C++ sources and their build files."""
    paths = {p.relative_to(_CSRC).as_posix(): p for p in _CSRC.rglob("*") if p.suffix in _SUFFIXES}
    lines = [f"{sha256(paths[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(paths)]
    return sha256("".join(lines).encode()).hexdigest()
