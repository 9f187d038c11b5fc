"""What every command line of the project shares: a user's mistake is one sentence and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def main_guard(main: Callable[[], int]) -> NoReturn:
    """Runs ``main``; ValueError and OSError become one line on stderr and exit code 2, Ctrl-C becomes 130."""
    try:
        _refuse_broken_text(sys.argv[1:])
        sys.exit(main())
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def refuse_unwritable(output: Path) -> None:
    """ValueError when a directory cannot be made at ``output``, or a file is there; writes nothing."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a directory")
    parent = next((p for p in output.absolute().parents if p.exists()), Path("/"))
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"--output {output} cannot be written: {parent} is not a writable directory")


def _refuse_broken_text(arguments: list[str]) -> None:
    """ValueError for bytes that are not UTF-8, which Python passes on as text that no library takes."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the argument {argument!r} is not UTF-8 text") from error
