"""Build the Android app without Android's SDK and NDK: ``python android_demo/build.py``.

Needs Debian 12 with
  apt-get install openjdk-17-jdk-headless aapt zipalign apksigner android-framework-res npm clang-19 lld-19 \\
      libc++-19-dev ninja-build cmake
and this repository installed (pip install .). Everything else is downloaded, checked against pinned hashes
and kept in a cache, as is what was built; a second build takes seconds.

The APK has the libraries for arm64-v8a and x86_64 and the story model at 1, 1.58, 2, 3 and 4 bits, beside
XNNPACK's program of 4 bits, and is signed with a debug key. Install it with
  adb install android_demo/build/lowbit-demo.apk

With --tools it makes no APK, but what `python -m edge.latency --device adb` puts on a phone: lowbit_runner
for Android's shell with the libraries of the APK. That needs openjdk-17-jdk-headless, npm, clang-19, lld-19,
libc++-19-dev, ninja-build and cmake.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))  # `python android_demo/build.py` looks for modules in android_demo only

from android_demo.parts.family import copy_program, export_family  # noqa: E402
from android_demo.parts.java import write_dex  # noqa: E402
from android_demo.parts.native import CPUS, NativeBuild  # noqa: E402
from android_demo.parts.npm import PAGE_MODULES, node_modules  # noqa: E402
from android_demo.parts.package import MAIN, identity, package  # noqa: E402
from android_demo.parts.verify import verify  # noqa: E402
from edge.cli import flag, main_guard, parse_flags  # noqa: E402
from edge.files import only_writer, staged_file  # noqa: E402


def default_cache() -> Path:
    """The folder in which downloads and builds are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-lowbit" / "android"


@dataclass(frozen=True)
class BuildFlags:
    """Flags of ``python android_demo/build.py``."""

    output: Path = flag(
        "the APK to write (default: %(default)s)", default=_ROOT / "android_demo/build/lowbit-demo.apk"
    )
    cache: Path = flag("keeps downloads and builds (default: %(default)s)", default=default_cache())
    tools: Path | None = flag("write the tools for a phone's shell there, and no APK", default=None)
    key: Path | None = flag(
        "keystore of a debug key; made where there is none (default: in the cache)", default=None
    )


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(BuildFlags, argv, "android_demo.build", str(__doc__))
    cache = flags.cache.resolve()
    with only_writer(cache / "build", wait=True):
        if flags.tools:
            native = NativeBuild(cache, node_modules(cache), "arm64-v8a")
            native.build()
            native.write_tools(flags.tools)
            print(f"{flags.tools}: the tools with the libraries of the APK")
            return 0
        apk = build(cache, flags.key or cache / "debug.keystore")
        with staged_file(flags.output) as staged:
            shutil.copyfile(apk, staged)
    print(f"{flags.output}: {flags.output.stat().st_size / 1e6:.1f} MB, verified")
    return 0


def build(cache: Path, key: Path) -> Path:
    """Make and verify the APK below ``cache`` and return its path. Raises PartsError."""
    app = identity()
    tell("npm's parts")
    parts = node_modules(cache)
    native = {}
    for abi in CPUS:
        tell(f"native libraries for {abi}")
        native[abi] = NativeBuild(cache, parts, abi).build()
    programs = export_family(cache, tell)
    tell("classes")
    dex = write_dex(cache / "java", parts)
    tell("package")
    assets = gather_assets(cache / "assets", parts, programs)
    apk = package(cache / "package", assets, dex, native, key)
    tell("verification")
    verify(apk, app)
    return apk


def gather_assets(folder: Path, parts: Path, programs: list[Path]) -> Path:
    """Put the page, its libraries and the programs in one folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(MAIN / "assets", folder)
    (folder / "vendor").mkdir()
    for name, path in PAGE_MODULES.items():
        shutil.copyfile(parts / path, folder / "vendor" / name)
    for program in programs:
        copy_program(program, folder / "programs" / program.name)
    return folder


_START = time.monotonic()


def tell(what: str) -> None:
    print(f"[{time.monotonic() - _START:5.1f} s] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main_guard(main)
