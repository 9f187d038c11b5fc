"""Check where an export is written."""

from __future__ import annotations

from pathlib import Path

from edge.cli import refuse_unwritable
from edge.model.chat_template import TEMPLATE_NAME
from edge.model.tokenizer import TOKENIZER_FILES
from edge.runtime.manifest import MANIFEST_NAME, PROGRAM_NAME


def checked_output(output: Path) -> Path:
    """Check that an export may be written there, and resolve links.

    Raises:
        ValueError: it cannot be made, or is neither an earlier export nor an empty directory.
    """
    output = output.resolve()
    refuse_unwritable(output)
    found = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if found and not {MANIFEST_NAME} <= found <= {
        MANIFEST_NAME,
        PROGRAM_NAME,
        TEMPLATE_NAME,
        *TOKENIZER_FILES,
    }:
        raise ValueError(f"--output {output} exists and is not an earlier export; choose another directory")
    if output in (Path.cwd(), *Path.cwd().parents):
        raise ValueError(f"--output {output} is the directory this runs in; choose another one")
    return output
