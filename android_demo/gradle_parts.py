"""Gather what Gradle's build takes from elsewhere: ``python -m android_demo.gradle_parts FOLDER``.

Makes ``assets`` (the page, its libraries and the programs that come with the app), ``jniLibs`` and
``executorch`` (headers and libraries of ExecuTorch for Android) there, by the code of build.py and its cache.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from android_demo.build import default_cache, gather_assets, tell
from android_demo.parts.family import export_family
from android_demo.parts.native import CPUS
from android_demo.parts.npm import EXECUTORCH, node_modules
from edge.cli import main_guard

#: The name by which the app's library loads ExecuTorch's, whose file is called otherwise.
_LOADED_NAME = "libexecutorch_jni.so"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m android_demo.gradle_parts", description=__doc__)
    parser.add_argument("folder", type=Path)
    return gather(parser.parse_args().folder)


def gather(folder: Path) -> int:
    cache = default_cache().resolve()
    parts = node_modules(cache)
    executorch = parts / EXECUTORCH
    gather_assets(folder / "assets", parts, export_family(cache, tell))
    shutil.rmtree(folder / "jniLibs", ignore_errors=True)
    for abi in CPUS:
        target = folder / "jniLibs" / abi / _LOADED_NAME
        target.parent.mkdir(parents=True)
        shutil.copyfile(executorch / "android" / "libs" / "executorch" / abi / "libexecutorch.so", target)
    link = folder / "executorch"
    link.unlink(missing_ok=True)
    link.symlink_to(executorch)
    return 0


if __name__ == "__main__":
    main_guard(main)
