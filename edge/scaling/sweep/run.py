"""Do one task of a sweep, in a process of its own, by the functions behind the project's commands."""

from __future__ import annotations

import hashlib
import math
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.files import write_text
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder
from edge.quantize.__main__ import main as quantize
from edge.quantize.table.cells import measure_perplexity
from edge.quantizers.prepare import weights_of
from edge.scaling.records import SCHEMA, UNIT, PostQuantization, Record, Shape
from edge.scaling.sweep.plan import Plan
from edge.scaling.sweep.tasks import PostTask, Task, TrainTask, embedding_parameters, parameters
from edge.training.arguments import parse
from edge.training.checkpoints import checkpoints_dir
from edge.training.train import train

#: Samples that a method of edge.quantize calibrates on, each as long as a training example.
CALIBRATION_SAMPLES = 32
#: File in a model's directory with its held-out loss: a model that is trained anew may have another than its
#: record, which another machine made.
_LOSS = "held_out_loss.txt"


@dataclass(frozen=True)
class Room:
    """What all tasks of a sweep share.

    Attributes:
        text: name and hash of the tokens, as records give it.
        loss_tokens: predicted of the held-out text.
    """

    plan: Plan
    directory: Path
    tokenizer: Path
    text: str
    loss_tokens: int
    machine: str
    commit: str

    def model(self, task: TrainTask) -> Path:
        return self.directory / "models" / task.name

    def is_trained(self, task: TrainTask) -> bool:
        """Tell whether the model is there, its loss with it."""
        return (self.model(task) / _LOSS).is_file()


def run(task: Task, room: Room) -> Record:
    """Train or quantise, measure, and return the record.

    Raises:
        ValueError: the run diverged, or what its command says.
    """
    torch.set_num_threads(1)
    log = room.directory / "logs" / f"{task.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        loss = _train(task, room) if isinstance(task, TrainTask) else _quantize(task, room)
    if not math.isfinite(loss):
        raise ValueError(f"{task.title}: the loss is {loss}; see {log}")
    training = task.training if isinstance(task, TrainTask) else task.parent.training
    post = None
    if isinstance(task, PostTask):
        trained_loss = float((room.model(task.parent) / _LOSS).read_text())
        post = PostQuantization(**task.quantizer.model_dump(), trained_loss=trained_loss)
    return Record(
        schema_version=SCHEMA, unit=UNIT, text=room.text, shape=task.shape, parameters=parameters(task.shape),
        embedding_parameters=embedding_parameters(task.shape), training=training, post=post, loss=loss,
        loss_tokens=room.loss_tokens, seconds=round(time.monotonic() - started, 3), machine=room.machine,
        commit=room.commit,
    )  # fmt: skip


def _train(task: TrainTask, room: Room) -> float:
    training, plan, output = task.training, room.plan, room.model(task)
    _remove(output)  # finished, but killed before it was recorded
    start = _untrained(task, room) if task.parent is None else room.model(task.parent)
    rate = training.learning_rate if task.parent is None else training.low_bit_learning_rate
    skipped = 0 if task.parent is None else task.parent.steps * plan.batch_size
    words = [
        f"--model={start}", f"--output={output}", "--data", *plan.text.data,
        f"--eval-data={plan.text.held_out}", f"--bits={training.weight_bits:g}", f"--steps={task.steps}",
        f"--save-steps={task.save_steps}", f"--batch-size={plan.batch_size}", f"--context={plan.context}",
        f"--learning-rate={rate}", f"--warmup-steps={task.steps // 10}", f"--seed={training.seed}",
        f"--skip-examples={skipped}", f"--lr_scheduler_type={training.schedule}", "--save_total_limit=1",
    ]  # fmt: skip
    if training.weight_bits < 16:
        words.append(f"--method={training.method}")
    if training.low_bit_tokens:
        words += [f"--activation-bits={training.activation_bits:g}", f"--kv-bits={training.kv_bits:g}"]
    config, rest = parse(words)
    torch.manual_seed(training.seed)
    perplexity = train(config, rest)
    assert perplexity is not None
    _remove(checkpoints_dir(str(output)))
    loss = math.log(perplexity)
    if training.low_bit_tokens:
        _remove(output)  # nothing starts from it
    else:
        write_text(output / _LOSS, f"{loss!r}\n")
    return loss


def _remove(directory: Path) -> None:
    """Remove a directory so that a killed run leaves all of it or nothing under its name."""
    if directory.is_dir():
        with TemporaryDirectory(dir=directory.parent, prefix=".removed-") as folder:
            directory.rename(Path(folder) / directory.name)


def _untrained(task: TrainTask, room: Room) -> Path:
    """Write the model with random weights that training starts from, once for a shape and seed."""
    shape, seed = task.shape, task.training.seed
    digest = hashlib.sha256(shape.model_dump_json().encode()).hexdigest()[:10]
    directory = room.directory / "models" / f"start-{digest}-{seed}"
    if not directory.is_dir():
        model = Decoder(model_config(shape, room.plan.context), room.plan.context)
        model.reset_parameters(seed)
        save_checkpoint(Checkpoint(model.config, weights_of(model), tokenizer=room.tokenizer), directory)
    return directory


def model_config(shape: Shape, context: int) -> ModelConfig:
    """Describe a shape to the decoder."""
    return ModelConfig(
        vocab_size=shape.vocab_size, dim=shape.dim, n_layers=shape.layers, n_heads=shape.heads,
        n_kv_heads=shape.kv_heads, ffn_dim=shape.ffn_dim, head_dim=shape.head_dim, max_seq_len=context,
    )  # fmt: skip


def _quantize(task: PostTask, room: Room) -> float:
    quantizer, plan = task.quantizer, room.plan
    with TemporaryDirectory() as folder:
        output = Path(folder) / "quantized"
        words = [
            f"--model={room.model(task.parent)}", f"--output={output}", f"--method={quantizer.method}",
            f"--bits={quantizer.weight_bits:g}", f"--calibration={plan.text.data[0]}",
            f"--samples={CALIBRATION_SAMPLES}", f"--length={plan.context}",
            f"--group={'row' if quantizer.group is None else quantizer.group}",
        ]  # fmt: skip
        quantize(words)
        return math.log(measure_perplexity(str(output), plan.text.held_out))
