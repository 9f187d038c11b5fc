"""The tables that programs hold in memory in another form than their files have them.

They are ternary codes as 2 bits (``csrc/core/unpacked_ternary.h``) and slices of elastic weights
(``csrc/core/elastic.h``).
"""

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


def forget_slices() -> None:
    """Free the slices that elastic programs hold in memory; those that are needed are made again."""
    load_library().edge_forget_slices()


def unpacked_bytes() -> int:
    """Count the bytes of weights that programs hold in another form than their files have them."""
    function = load_library().edge_held_table_bytes
    function.restype = ctypes.c_int64
    return int(function())
