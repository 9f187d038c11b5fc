"""Watch every quantised layer while a run trains.

Writes ``monitor.jsonl`` beside the checkpoints, one JSON object per log, evaluation and reading of the
layers, and at the end a picture of it. ``--report_to tensorboard`` shows the same. A layer is dead if none of
its codes ever changes, or if it has only one code.

Reading all layers costs one pass over the weights every ``--monitor-steps`` steps.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerState
from transformers.integrations import TensorBoardCallback

from edge.files import write_text
from edge.model.decoder import Decoder
from edge.quantizers.prepare import qat_linears
from edge.text import first_of
from edge.training.layer_history import LayerHistory, LayerReading
from edge.training.monitor_picture import draw
from edge.training.progress import say

RECORD = "monitor.jsonl"
PICTURE = "monitor.png"


class Monitor(TrainerCallback):
    """Read every quantised layer at each ``steps``-th step and at the last.

    Under DDP the first rank reads; under FSDP2 the other ranks take part by handing it their shards.
    """

    def __init__(self, model: Decoder, directory: Path, steps: int, main_process: bool) -> None:
        """Take the model before a checkpoint is loaded, and the directory of the checkpoints."""
        self.directory = directory
        self.steps = steps
        self.linears = qat_linears(model)
        self.history = {
            name: LayerHistory(linear.weight, linear.weight_clip_val, linear.grid)
            for name, linear in self.linears.items()
            if main_process
        }
        self.tensorboard: TensorBoardCallback | None = None
        self.last_step = 0
        self.warned: set[tuple[str, str]] = set()

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        self.last_step = state.global_step
        if state.global_step:
            self._read()  # "since the last reading" counts from the checkpoint
        if state.is_world_process_zero:
            records = [r for r in read_records(self.directory) if r["step"] <= state.global_step]
            write_text(self.directory / RECORD, "".join(json.dumps(r) + "\n" for r in records))

    def on_log(self, args: Any, state: TrainerState, *_: Any, logs: Any = None, **__: Any) -> None:
        if state.is_world_process_zero and logs and logs.keys() & {"loss", "eval_loss"}:
            finite = {name: value if math.isfinite(value) else None for name, value in logs.items()}  # JSON
            self._append({"step": state.global_step, **finite})

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        step = state.global_step
        if not self.linears or (step % self.steps and step < state.max_steps):
            return
        readings = self._read()
        if state.is_world_process_zero:
            layers = {name: dataclasses.asdict(reading) for name, reading in readings.items()}
            self._append({"step": step, "layers": layers})
            self._show(step, readings)
            if self.tensorboard is not None:
                _to_tensorboard(self.tensorboard.tb_writer, step, readings)
        self.last_step = step

    def on_train_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        if state.is_world_process_zero:
            draw(read_records(self.directory), self.directory / PICTURE)

    def _read(self) -> dict[str, LayerReading]:
        """Read all layers; the result is empty on all ranks but the first."""
        readings = {}
        for name, linear in self.linears.items():
            weight, alpha = _gathered(linear.weight), _gathered(linear.weight_clip_val)
            if self.history:
                readings[name] = self.history[name].read(weight, alpha)
        return readings

    def _show(self, step: int, readings: dict[str, LayerReading]) -> None:
        sizes = [self.history[name].codes.numel() for name in readings]

        def mean(field: str) -> str:
            values = (getattr(reading, field) for reading in readings.values())
            return f"{sum(v * n for v, n in zip(values, sizes, strict=True)) / sum(sizes):.1%}"

        say(
            f"step {step}: {mean('changed')} of codes changed since the start, "
            f"{mean('changed_since_last')} since step {self.last_step}; "
            f"weights moved {mean('weights_moved')}, alpha {mean('alpha_moved')}"
        )
        still = [name for name, reading in readings.items() if reading.changed == 0]
        self._warn(step, "no code has changed since the start", still)
        uniform = [name for name, reading in readings.items() if max(reading.codes) == 1]
        self._warn(step, "all weights have one code", uniform)

    def _warn(self, step: int, what: str, names: list[str]) -> None:
        """Print a warning, once for each layer."""
        new = [name for name in names if (what, name) not in self.warned]
        self.warned |= {(what, name) for name in new}
        if new:
            say(f"warning: step {step}: dead layer, {what}: {first_of(new)}")

    def _append(self, record: dict[str, Any]) -> None:
        with (self.directory / RECORD).open("a") as file:
            file.write(json.dumps(record) + "\n")


def read_records(directory: Path) -> list[dict[str, Any]]:
    """Read the lines of ``monitor.jsonl``, oldest first, without one that a kill left half written."""
    path = directory / RECORD
    records = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def _gathered(parameter: Tensor) -> Tensor:
    """Return a whole parameter; gathering FSDP2's shards takes every rank."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def _to_tensorboard(writer: Any, step: int, readings: dict[str, LayerReading]) -> None:
    for name, reading in readings.items():
        for field in ("changed", "changed_since_last", "weights_moved", "alpha_moved"):
            writer.add_scalar(f"{field}/{name}", getattr(reading, field), step)
        levels = range(len(reading.codes))
        writer.add_histogram_raw(
            f"codes/{name}",
            min=0,
            max=len(levels) - 1,
            num=1,
            sum=sum(v * share for v, share in zip(levels, reading.codes, strict=True)),
            sum_squares=sum(v * v * share for v, share in zip(levels, reading.codes, strict=True)),
            bucket_limits=[v + 0.5 for v in levels],
            bucket_counts=reading.codes,
            global_step=step,
        )
