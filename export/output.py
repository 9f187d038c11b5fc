"""Write an export's directory, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.checkpoints.write import swap_in
from edge.cli import refuse_unwritable
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
    if found and not {MANIFEST_NAME} <= found <= {MANIFEST_NAME, PROGRAM_NAME, *TOKENIZER_FILES}:
        raise ValueError(f"--output {output} exists and is not an earlier export; choose another directory")
    if output in (Path.cwd(), *Path.cwd().parents):
        raise ValueError(f"--output {output} is the directory this runs in; choose another one")
    return output


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """A directory that replaces ``output`` at the end; after a failure nothing of it is left.

    Raises:
        ValueError: see ``checked_output``; or writing failed.
    """
    output = checked_output(output)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an interrupted export
    try:
        partial.mkdir(parents=True)
        yield partial
        swap_in(partial, output)
    except OSError as error:
        raise ValueError(
            f"--output {output} could not be written ({error}); what was there is unchanged"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
