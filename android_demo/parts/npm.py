"""The parts that come from npm, pinned by the hashes of package-lock.json."""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from edge.files import replace_directory

HERE = Path(__file__).resolve().parent
_FILES = ("package.json", "package-lock.json", ".npmrc")

#: Where each part lies in node_modules.
EXECUTORCH = Path("react-native-executorch/third-party")
DEXER = Path("@nativescript/android/framework/build-tools/android-metadata-generator.jar")
FRAMEWORK_TYPES = Path("@nativescript/types-android/lib/android-21-37-merged.d.ts")
#: Modules of the page, by their name in assets/vendor.
PAGE_MODULES = {
    "tokenizers.js": Path("@huggingface/tokenizers/dist/tokenizers.mjs"),
    "jinja.js": Path("@huggingface/jinja/dist/index.js"),
}


class PartsError(Exception):
    """Error whose message says what is missing or failed, and what to do."""


def node_modules(cache: Path) -> Path:
    """Return the folder of the parts below ``cache``; the first call downloads 80 MB.

    Raises:
        PartsError: npm is missing, or cannot fetch the parts as their hashes say.
    """
    lock = sha256(b"".join((HERE / name).read_bytes() for name in _FILES)).hexdigest()
    folder = cache / f"npm-{lock[:12]}"
    if not folder.is_dir():
        if shutil.which("npm") is None:
            raise PartsError("npm is missing: apt-get install npm, or install Node.js")
        with replace_directory(folder, wait=True) as partial:
            _install(partial)
    return folder / "node_modules"


def default_cache() -> Path:
    """The folder in which downloads and builds are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-lowbit" / "android"


def _install(folder: Path) -> None:
    for name in _FILES:
        shutil.copyfile(HERE / name, folder / name)
    result = subprocess.run(["npm", "ci", "--silent"], cwd=folder, capture_output=True, text=True)
    if result.returncode != 0:
        reason = (result.stderr + result.stdout).strip() or "no reason given"
        raise PartsError(f"npm cannot fetch the parts that package-lock.json names: {reason[-500:]}")
