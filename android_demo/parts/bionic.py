"""The names that Android's C library (bionic) has at the app's lowest API level, derived without the NDK.

Libraries that the NDK linked for that level or a lower one, which a note in them says, can import no others:
the NDK's linker would have refused. A few names more, which they happen not to need, come from bionic's own
lists, ``libc/libc.map.txt`` and ``libm/libm.map.txt`` of Android's platform/bionic, where a name without
``introduced=`` above 26 is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from android_demo.parts.command import PartsError, run

MIN_API = 26
_START = Path(__file__).resolve().parent / "libc" / "start.c"
_FROM_THE_LIST = {
    "libc.so": {"__libc_init", "fgets", "fscanf", "isupper", "pthread_atfork", "puts", "tolower"},
    "libm.so": {"ceilf"},
}


def names(linked_by_ndk: Iterable[Path]) -> dict[str, set[str]]:
    """Return the names that each of bionic's libraries has, by its file's name.

    Raises:
        PartsError: a library was linked for a level above MIN_API, or not by the NDK.
    """
    found = {library: set(more) for library, more in _FROM_THE_LIST.items()}
    for path in linked_by_ndk:
        if not 0 < api_level(path) <= MIN_API:
            raise PartsError(f"{path} was not linked by the NDK for API {MIN_API} or lower")
        for library, imported in imports(path).items():
            found.setdefault(library, set()).update(imported)
    return found


def api_level(path: Path) -> int:
    """The level of Android that a library was linked for; 0 without the NDK's note."""
    note = run(["readelf", "-nW", path], f"cannot read {path}")
    level = re.search(r"Android\s.*?description data: (\w\w) (\w\w)", note, re.DOTALL)
    return int(level[2] + level[1], 16) if level else 0


def imports(path: Path) -> dict[str, set[str]]:
    """The names that a library imports with a version, by the library that has the version."""
    text = run(["readelf", "-VW", "--dyn-syms", path], f"cannot read {path}")
    owners: dict[str, str] = {}
    needs = text[text.index("Version needs section") :] if "Version needs section" in text else ""
    for line in needs.splitlines():
        if file := re.search(r"File: (\S+)", line):
            owner = file[1]
        elif version := re.search(r"Name: \S+.*Version: (\d+)", line):
            owners[version[1]] = owner
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r" UND (\w+)@\w+ \((\d+)\)", text):
        found.setdefault(owners[version], set()).add(name)
    return found


def write_stand_ins(folder: Path, known: dict[str, set[str]], compiler: Path, cpu: str) -> None:
    """Write libraries of these names and nothing else, so that the linker refuses any that Android lacks.

    ``start.o`` beside them starts an executable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = f"--target={cpu}-linux-musl"
    start = [compiler, target, "-O2", "-fPIE", "-Wall", "-Wextra", "-Werror", "-c", _START]
    run([*start, "-o", folder / "start.o"], "cannot make the start of an executable")
    for library, symbols in known.items():
        source = folder / f"{library}.s"
        source.write_text("".join(f".globl {name}\n{name}:\n" for name in sorted(symbols)))
        options = [
            target,
            "-fuse-ld=lld",
            "-nostdlib",
            "-shared",
            f"-Wl,-soname,{library}",
        ]
        run([compiler, *options, source, "-o", folder / library], f"cannot make the stand-in of {library}")
