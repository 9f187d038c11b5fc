"""Gather what Gradle's build takes from elsewhere: ``python -m android_demo.gradle_parts FOLDER``.

Makes ``assets`` (the libraries of the page and the programs that come with the app), ``jniLibs`` and
``executorch`` (headers and libraries of ExecuTorch for Android) there, by the code of build.py and its cache.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from android_demo.build import default_cache, tell
from android_demo.parts.family import copy_program, export_family
from android_demo.parts.native import CPUS
from android_demo.parts.npm import EXECUTORCH, PAGE_MODULES, node_modules
from edge.cli import main_guard

#: The name by which the app's library loads ExecuTorch's, whose file is called otherwise.
_LOADED_NAME = "libexecutorch_jni.so"


def main() -> int:
    (folder,) = map(Path, sys.argv[1:])
    cache = default_cache().resolve()
    parts = node_modules(cache)
    executorch = parts / EXECUTORCH
    for name in ("assets", "jniLibs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    _gather_assets(folder / "assets", parts, export_family(cache, tell))
    for abi in CPUS:
        target = folder / "jniLibs" / abi / _LOADED_NAME
        target.parent.mkdir(parents=True)
        shutil.copyfile(executorch / "android" / "libs" / "executorch" / abi / "libexecutorch.so", target)
    link = folder / "executorch"
    link.unlink(missing_ok=True)
    link.symlink_to(executorch)
    return 0


def _gather_assets(folder: Path, parts: Path, programs: list[Path]) -> None:
    (folder / "vendor").mkdir(parents=True)
    for name, path in PAGE_MODULES.items():
        shutil.copyfile(parts / path, folder / "vendor" / name)
    for program in programs:
        copy_program(program, folder / "programs" / program.name)


if __name__ == "__main__":
    main_guard(main)
