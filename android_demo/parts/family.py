"""The programs that come with the app: the embedded story model at every width, and XNNPACK's as opponent."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from android_demo.parts.command import run
from edge.runtime.manifest import MANIFEST_NAME, Manifest, read_manifest

_ROOT = Path(__file__).resolve().parents[2]
_EXPORTER = ("edge", "export")
_UNUSED = _ROOT / "edge" / "latency"  # by the exporter
_SUFFIXES = {".py", ".cc", ".h", ".inc", ".json", ".safetensors"}

#: Bits and recipe of each program, as the exporter takes them, by its folder's name in the app.
FAMILY = {
    "story-1bit": ("1", "lowbit"),
    "story-1.58bit": ("1.58", "lowbit"),
    "story-2bit": ("2", "lowbit"),
    "story-3bit": ("3", "lowbit"),
    "story-4bit": ("4", "lowbit"),
    "story-4bit-xnnpack": ("4", "xnnpack-8da4w"),
}


def export_family(cache: Path, tell: Callable[[str], None]) -> list[Path]:
    """Return the programs' folders below ``cache``, exporting those that this exporter has not made yet."""
    folder = cache / f"programs-{_exporter_hash()[:12]}"
    for name, (bits, recipe) in FAMILY.items():
        target = folder / name
        if not target.is_dir():
            tell(f"exporting {name}")
            options = ["--bits", bits, "--recipe", recipe, "--output", target]
            command = [sys.executable, "-m", "export.to_pte", *options]
            run(command, f"{name} cannot be exported", cwd=_ROOT)  # written whole or not at all
    return [folder / name for name in FAMILY]


def copy_program(source: Path, target: Path) -> Manifest:
    """Copy what the manifest of an exported program names. Raises ValueError for one that was altered."""
    manifest = read_manifest(source)
    target.mkdir(parents=True)
    shutil.copyfile(source / MANIFEST_NAME, target / MANIFEST_NAME)
    for record in filter(None, (manifest.program, manifest.tokenizer, manifest.chat_template)):
        shutil.copyfile(source / record.name, target / record.name)
    return manifest


def _exporter_hash() -> str:
    """SHA-256 over the exporter's sources and the embedded model."""
    digest = sha256()
    for name in _EXPORTER:
        for path in sorted((_ROOT / name).rglob("*")):
            if path.suffix in _SUFFIXES and _UNUSED not in path.parents:
                digest.update(f"{path.relative_to(_ROOT)}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
