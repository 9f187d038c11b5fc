"""What every command line of the project shares: a user's mistake is one sentence and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn


def main_guard(main: Callable[[], int]) -> NoReturn:
    """Runs ``main``; ValueError and OSError become one line on stderr and exit code 2, Ctrl-C becomes 130."""
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
