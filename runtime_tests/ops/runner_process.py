"""Runs lowbit_runner as a process, for its tests."""

from __future__ import annotations

import subprocess

import edge.ops


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(edge.ops.runner_path()), *map(str, arguments)]
    return subprocess.run(
        command,
        env=edge.ops.runner_environment(),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )


def ids(result: subprocess.CompletedProcess[str]) -> list[int]:
    """The token ids that a generation printed."""
    assert result.returncode == 0, result.stderr
    return [int(word) for word in result.stdout.split(",")]


def refused(*arguments: object) -> str:
    """The one line that a refusal prints."""
    result = run(*arguments)
    assert result.returncode == 2, result.stdout
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("lowbit_runner: ")
    return lines[-1]
