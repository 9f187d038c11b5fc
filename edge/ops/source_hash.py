"""The hash that ties a built library to the sources it was built from.

CMake runs this file as a script and bakes the result in; ``library.py`` compares it at load time,
so that a library older than the sources is refused instead of giving other numbers. It imports
nothing but the standard library, because the package cannot be imported before the library exists.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_OPS = Path(__file__).resolve().parent
_SUFFIXES = {".h", ".cc", ".inc", ".txt", ".cmake"}


def source_hash() -> str:
    """SHA-256 (hex) over the C++ sources and their build files."""
    digest = hashlib.sha256()
    csrc = _OPS / "csrc"
    for path in sorted(p for p in csrc.rglob("*") if p.suffix in _SUFFIXES):
        digest.update(path.relative_to(csrc).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


if __name__ == "__main__":
    print(f'inline constexpr char kSourceHash[] = "{source_hash()}";')
