"""What every command line of the project shares: a user's mistake is one sentence and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
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


def _refuse_broken_text(arguments: list[str]) -> None:
    """ValueError for bytes that are not UTF-8, which Python passes on as text that no library takes."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the argument {argument!r} is not UTF-8 text") from error
