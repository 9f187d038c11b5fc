"""The parts that come from npm, pinned by the hashes of package-lock.json."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

from android_demo.parts.command import run
from edge.files import replace_directory

_HERE = Path(__file__).resolve().parent
_FILES = ("package.json", "package-lock.json", ".npmrc")

#: Where each part lies in node_modules.
EXECUTORCH = Path("react-native-executorch/third-party")
DEXER = Path("@nativescript/android/framework/build-tools/android-metadata-generator.jar")
FRAMEWORK_TYPES = Path("@nativescript/types-android/lib/android/android-platform-21-37-merged.d.ts")
#: Modules of the page and their licences, by their name in assets/vendor.
PAGE_MODULES = {
    "tokenizers.js": Path("@huggingface/tokenizers/dist/tokenizers.min.mjs"),
    "tokenizers.LICENSE": Path("@huggingface/tokenizers/LICENSE"),
    "jinja.js": Path("@huggingface/jinja/dist/index.js"),
    "jinja.LICENSE": Path("@huggingface/jinja/LICENSE"),
}


def node_modules(cache: Path) -> Path:
    """Return the folder of the parts below ``cache``; the first call downloads 80 MB.

    Raises:
        PartsError: npm is missing, or cannot fetch the parts as their hashes say.
    """
    lock = sha256(b"".join((_HERE / name).read_bytes() for name in _FILES)).hexdigest()
    folder = cache / f"npm-{lock[:12]}"
    if not folder.is_dir():
        with replace_directory(folder, wait=True) as partial:
            for name in _FILES:
                shutil.copyfile(_HERE / name, partial / name)
            run(["npm", "ci"], "npm cannot fetch the parts that package-lock.json names", cwd=partial)
    return folder / "node_modules"
