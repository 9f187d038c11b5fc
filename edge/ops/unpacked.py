"""The ternary tables that programs hold unpacked in this process (``csrc/core/unpacked_ternary.h``)."""

from __future__ import annotations

import ctypes
import weakref

from edge.ops.library import load_library


def watch_program(program: object) -> None:
    """Tell the ops that a program was opened, and again when the object that holds it is freed.

    Call it before the program runs. The ops find tables by their addresses, which a program leaves to others
    when it is closed.
    """
    changed = load_library().edge_programs_changed
    changed()
    weakref.finalize(program, changed)


def unpacked_bytes() -> int:
    """Count the bytes of ternary weights that programs hold as 2-bit codes beside their files."""
    function = load_library().edge_unpacked_ternary_bytes
    function.restype = ctypes.c_int64
    return int(function())
