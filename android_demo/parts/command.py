"""Running the tools that a build needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class PartsError(ValueError):
    """Error whose message says what is missing or failed, and what to do."""


def find_tool(name: str) -> str | None:
    """Find a program, beside the interpreter first: a distribution's own cmake may be too old."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def run(command: Sequence[object], failure: str, cwd: Path | None = None) -> str:
    """Run a command and return what it prints. Raises PartsError, which ends with what the command said."""
    words = [str(word) for word in command]
    tool = find_tool(words[0])
    if tool is None:
        raise PartsError(f"{words[0]} is missing: {cure(words[0])}")
    result = subprocess.run([tool, *words[1:]], cwd=cwd, capture_output=True, text=True)
    if result.returncode != 0:
        said = " ".join((result.stdout + result.stderr).split())
        raise PartsError(f"{failure}: {said[-1000:] or 'no reason given'}")
    return result.stdout


#: Debian's package of each tool that has another name.
_PACKAGES = {
    "javac": "openjdk-17-jdk-headless",
    "java": "openjdk-17-jdk-headless",
    "keytool": "openjdk-17-jdk-headless",
    "readelf": "binutils",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}


def cure(tool: str) -> str:
    """Return the command that installs a tool."""
    if tool in ("cmake", "ninja"):
        return f"pip install {tool}"
    return f"apt-get install {_PACKAGES.get(tool, tool)}"
