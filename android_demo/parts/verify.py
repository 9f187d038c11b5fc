"""Checks of a finished APK, by the tools that a phone's installer corresponds to."""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path

from android_demo.parts import bionic
from android_demo.parts.command import PartsError, run
from android_demo.parts.native import CPUS, LIBRARIES
from android_demo.parts.package import PAGE_BYTES, Identity

_EXECUTORCH = "libexecutorch_jni.so"
_LOG = "__android_log_"  # of liblog, which has no versions; its functions are as old as Android


def verify(apk: Path, app: Identity) -> None:
    """Raise PartsError, which says what is wrong, if the APK is not what it should be."""
    check_badging(apk, app)
    run(["apksigner", "verify", "--min-sdk-version", app.min_api, apk], "the signature does not verify")
    run(["zipalign", "-c", PAGE_BYTES, apk], "the APK is not aligned")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(apk) as archive:
        libraries = {abi: extract_libraries(archive, abi, Path(folder)) for abi in CPUS}
        known = bionic.names(paths[_EXECUTORCH] for paths in libraries.values())
        for abi, paths in libraries.items():
            check_libraries(abi, list(paths.values()), set().union(*known.values()))


def check_badging(apk: Path, app: Identity) -> None:
    """Compare what aapt reads in the APK with what was asked for."""
    badging = run(["aapt", "dump", "badging", apk], "aapt cannot read the APK")
    wanted = (
        f"package: name='{app.name}' versionCode='{app.version_code}' versionName='{app.version}'",
        f"sdkVersion:'{app.min_api}'",
        f"targetSdkVersion:'{app.target_api}'",
        "launchable-activity:",
        f"native-code: {' '.join(repr(abi) for abi in sorted(CPUS))}",
    )
    for line in wanted:
        if line not in badging:
            raise PartsError(f"{apk} lacks {line!r} among what aapt reads in it")
    if permissions := re.findall(r"uses-permission.*", badging):
        raise PartsError(f"{apk} asks for permissions: {', '.join(permissions)}")


def extract_libraries(archive: zipfile.ZipFile, abi: str, folder: Path) -> dict[str, Path]:
    """Unpack the libraries of an ABI, which must be stored uncompressed so that a phone can map them."""
    for name in LIBRARIES:
        if archive.getinfo(f"lib/{abi}/{name}").compress_type != zipfile.ZIP_STORED:
            raise PartsError(f"lib/{abi}/{name} is compressed, so a phone cannot map it")
    return {name: Path(archive.extract(f"lib/{abi}/{name}", folder)) for name in LIBRARIES}


def check_libraries(abi: str, paths: list[Path], known: set[str]) -> None:
    """Check that a loader finds every name that the libraries of an ABI need, in them or in Android."""
    provided = {name for path in paths for name in symbols(path, defined=True)}
    for path in paths:
        check_segments(path)
        missing = symbols(path, defined=False) - provided - known
        if missing := {name for name in missing if not name.startswith(_LOG)}:
            raise PartsError(f"{path.name} ({abi}) needs what Android {bionic.MIN_API} lacks: {missing}")


def symbols(path: Path, defined: bool) -> set[str]:
    """Names that a library exports, or that it needs from others (weak ones may be missing)."""
    table = run(["readelf", "-W", "--dyn-syms", path], f"cannot read {path}")
    found = re.findall(r"(GLOBAL|WEAK) +DEFAULT +(\w+) (\w+)", table)
    if defined:
        return {name for _, section, name in found if section != "UND"}
    return {name for binding, section, name in found if section == "UND" and binding == "GLOBAL"}


def check_segments(path: Path) -> None:
    """Check what older and newer phones' loaders ask for: pages of 16 KB, and no thread-local storage."""
    headers = run(["readelf", "-W", "-l", path], f"cannot read {path}")
    for alignment in re.findall(r"^ +LOAD .* 0x(\w+)$", headers, re.MULTILINE):
        if int(alignment, 16) % PAGE_BYTES:
            raise PartsError(f"{path.name} is not aligned to pages of {PAGE_BYTES} bytes")
    if re.search(r"^ +TLS ", headers, re.MULTILINE):
        raise PartsError(f"{path.name} has thread-local storage, which Android knows since API 29")
