"""musl for both CPUs, from Debian: its headers to compile with, its loader to test with."""

from __future__ import annotations

import shutil
from pathlib import Path

from android_demo.parts.command import PartsError, run
from edge.files import replace_directory, sha256_of

#: Debian's name of each ABI's CPU.
ARCHITECTURES = {"arm64-v8a": "arm64", "x86_64": "amd64"}

_VERSION = "1.2.3-1"
_HASHES = {
    "musl_1.2.3-1_amd64.deb": "4fc1e3d9b579f5c682ca99a4d45aec08d72a2e6b82b4c2e1bbcb7095466ae96d",
    "musl_1.2.3-1_arm64.deb": "6ccf2bf0f479b00411cb8e1eeb048e648718170db5d63bbb4bf4a89350b81468",
    "musl-dev_1.2.3-1_amd64.deb": "7c34f29a0c1aa12f6da1d25ed6de6fe6bbd9e048ee76b3dcb88c5e51fb65507f",
    "musl-dev_1.2.3-1_arm64.deb": "55c2ca4bc3041c8ed8ac7dc3ef6080d9551a21650568b2fd7610b59eaf98a4f4",
}


def musl(cache: Path) -> Path:
    """Return a folder with musl of both architectures unpacked, ``arm64`` and ``amd64``.

    Uses lists of packages of its own, so it needs no rights and changes nothing of the system.

    Raises:
        PartsError: Debian's tools are missing, or its mirror lacks that version.
    """
    folder = cache / f"musl-{_VERSION}"
    if not folder.is_dir():
        with replace_directory(folder, wait=True) as partial:
            _fetch(partial)
    return folder


def _fetch(folder: Path) -> None:
    state = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={state}/lists", "-o", f"Dir::Cache={state}/cache"]
    apt += ["-o", "APT::Sandbox::User=", "-o", "APT::Architecture=amd64"]
    for architecture in ARCHITECTURES.values():
        apt += ["-o", f"APT::Architectures::={architecture}"]
    wanted = [f"{name}:{cpu}={_VERSION}" for name in ("musl", "musl-dev") for cpu in ARCHITECTURES.values()]
    failure = f"apt-get cannot fetch musl {_VERSION}, which Debian 12 has"
    run([*apt, "update"], failure, cwd=folder)
    run([*apt, "download", *wanted], failure, cwd=folder)
    for name, expected in _HASHES.items():
        if sha256_of(folder / name) != expected:
            raise PartsError(f"{name} of Debian's mirror is not the one whose hash is pinned in {__file__}")
        architecture = name.removesuffix(".deb").rsplit("_")[-1]
        run(["dpkg-deb", "-x", name, architecture], f"cannot unpack {name}", cwd=folder)
    shutil.rmtree(state)
