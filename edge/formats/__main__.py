"""Write the encodings for C++: ``python -m edge.formats`` rewrites ``edge/ops/csrc/core/encodings.inc``."""

from __future__ import annotations

from pathlib import Path

from edge.cli import main_guard
from edge.formats.encoding import cpp_table

CPP_TABLE = Path(__file__).resolve().parents[1] / "ops" / "csrc" / "core" / "encodings.inc"


def main() -> int:
    CPP_TABLE.write_text(cpp_table())
    print(f"wrote {CPP_TABLE}")
    return 0


if __name__ == "__main__":
    main_guard(main)
