"""Make the models of the table by the commands that a user would type, and measure them.

Each function is called in a process of its own, which has these imports already.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge.checkpoints.packed import open_model
from edge.checkpoints.slices import sliced_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.formats.slices import PARENT_BITS
from edge.quantize.__main__ import main as quantize
from edge.quantize.nested.others import main as others
from edge.quantize.nested.rows import OTHERS, QUANTIZE, TRAINING, Run
from edge.quantize.table.cells import measure_perplexity
from edge.training.train import main as training

_COMMANDS = {TRAINING: training, QUANTIZE: quantize, OTHERS: others}


def make(run: Run, flags: Sequence[str]) -> None:
    """Run its command with more flags.

    Raises:
        ValueError: what the command says.
    """
    words = [*run.flags, *flags]
    print(f"--- python -m {run.command} {' '.join(words)}", flush=True)
    _COMMANDS[run.command](words)


def perplexity_at(bits: int, model: Path, is_parent: bool, text: str) -> float:
    """Measure perplexity on held-out text of a model, or of the slice of a parent.

    The slice is that of ``python -m edge.checkpoints --bits``, but the embedding is left in float32, as in
    models of one width; the command rounds it to 8 bits.
    """
    if not is_parent or bits == PARENT_BITS:
        return measure_perplexity(str(model), text)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "slice"
        save_checkpoint(sliced_checkpoint(open_model(model), bits), part)
        return measure_perplexity(str(part), text)
