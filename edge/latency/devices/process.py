"""Processes on this computer: the tools, or ``adb``."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from edge.latency.devices.device import TIMEOUT_SECONDS, Ended


def run_process(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Ended:
    """Run a command to its end, without input.

    Raises:
        TimeoutError: it did not end in time, and was killed.
    """
    try:
        result = subprocess.run(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"did not end within {timeout_seconds:g} seconds") from None
    return Ended(result.returncode, result.stdout, result.stderr)
