"""What quantisation-aware training does to each layer: codes that changed, weights and scales that moved.

ParetoQ (arXiv 2502.02631) finds two regimes. At 3 bits and more training moves the weights by 10-20 %
("compensation"), at 2 bits and fewer by about 40 % ("reconstruction"). A layer of which no code ever
changes, or which has one code only, is dead.

Everything goes to ``monitor.jsonl`` beside the checkpoints: one JSON object per log, per evaluation and
per reading of the layers. TensorBoard gets the same where ``--report_to tensorboard`` asks for it.

Cost: of the computer's memory a byte per quantised weight and 64 rows of each layer, and one pass every
``--monitor-steps`` steps.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

from edge.formats import WeightFormat
from edge.model.decoder import Decoder
from edge.quantizers.paretoq import effective_alpha, quantize_codes
from edge.quantizers.prepare import qat_linears
from edge.text import first_of
from edge.training.monitor_picture import draw
from edge.training.progress import say

RECORD = "monitor.jsonl"
PICTURE = "monitor.png"
#: Weights that are read at a time: the steps in between stay in the cache and take no layer-sized buffers.
BLOCK = 1 << 18
#: A byte holds two codes: linears are trained at 4 bits at most.
NIBBLE = 16
#: Rows of each linear of which the weights at the start are kept.
SAMPLED_ROWS = 64
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class LayerReading:
    """One quantised linear at one step. All are fractions (0.1 is 10 %).

    Attributes:
        changed: share of the codes that differ from the start.
        changed_since_last: share of the codes that differ from the reading before.
        weights_moved: |W - W0| / |W0| in L1 norms, W and W0 the weights before rounding, now and at the
            start: the movement ParetoQ speaks of. Of ``SAMPLED_ROWS`` rows, evenly from first to last.
        alpha_moved: mean over the rows of |alpha - alpha0| / alpha0.
        codes: share of each code, from the lowest level to the highest.
    """

    changed: float
    changed_since_last: float
    weights_moved: float
    alpha_moved: float
    codes: list[float]


class LayerHistory:
    """What a quantised linear was at the start and at the last reading: a byte a weight, and some rows."""

    def __init__(self, weight: Tensor, alpha: Tensor, fmt: WeightFormat) -> None:
        """Weight [out, in] and alpha [out, 1] at the start."""
        self.fmt = fmt
        self.alpha = effective_alpha(alpha.detach().float()).cpu().clone()  # [out, 1]
        self.every = math.ceil(weight.shape[0] / SAMPLED_ROWS)
        self.sample = self._sampled(weight)
        codes = quantize_codes(weight.detach(), alpha.detach(), fmt).cpu()
        self.codes = codes + codes * NIBBLE  # [out, in] uint8: the start below, the last reading above

    def read(self, weight: Tensor, alpha: Tensor) -> LayerReading:
        """Compares weight [out, in] and alpha [out, 1] with what was, and remembers their codes."""
        weight, alpha = weight.detach(), effective_alpha(alpha.detach().float())
        first_alpha = self.alpha.to(alpha.device)
        moved = (self._sampled(weight) - self.sample).abs().sum() / self.sample.abs().sum().clamp_min(TINY)
        table = torch.zeros(NIBBLE**3, dtype=torch.int64, device=weight.device)
        rows = max(1, BLOCK // weight.shape[1])
        for at in range(0, weight.shape[0], rows):
            block = slice(at, at + rows)
            before = self.codes[block].to(weight.device)
            codes = quantize_codes(weight[block], alpha[block], self.fmt)
            table += torch.bincount((codes.int() * NIBBLE**2 + before).flatten(), minlength=NIBBLE**3)
            self.codes[block] = (before % NIBBLE + codes * NIBBLE).cpu()
        counts, total = table.cpu().view(NIBBLE, NIBBLE, NIBBLE), weight.numel()  # counts [now, last, start]
        return LayerReading(
            changed=1 - int(counts.diagonal(dim1=0, dim2=2).sum()) / total,
            changed_since_last=1 - int(counts.diagonal(dim1=0, dim2=1).sum()) / total,
            weights_moved=float(moved),
            alpha_moved=float(((alpha - first_alpha) / first_alpha).abs().mean()),
            codes=[count / total for count in counts.sum(dim=(1, 2)).tolist()[: self.fmt.levels]],
        )

    def _sampled(self, weight: Tensor) -> Tensor:
        """[sampled, in] float32, a copy."""
        return weight.detach()[:: self.every].to("cpu", torch.float32, copy=True)


class Monitor(TrainerCallback):
    """Reads every quantised layer at each ``steps``-th step and at the last, and writes it all down.

    Under DDP the first process reads; under FSDP2 the others take part by handing it their shards.
    """

    def __init__(self, model: Decoder, directory: Path, steps: int, main_process: bool) -> None:
        """Args: model as it starts (before a checkpoint is resumed); directory of the checkpoints."""
        self.directory = directory
        self.steps = steps
        self.linears = qat_linears(model)
        self.history = {
            name: LayerHistory(linear.weight, linear.weight_clip_val, linear.fmt)
            for name, linear in self.linears.items()
            if main_process
        }
        self.tensorboard: TensorBoardCallback | None = None
        self.last_step = 0
        self.warned: set[tuple[str, str]] = set()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.last_step = state.global_step
        if state.global_step:
            self._read()  # "since the last reading" counts from the checkpoint
        if state.is_world_process_zero:
            records = [r for r in read_records(self.directory) if r["step"] <= state.global_step]
            partial = self.directory / (RECORD + ".partial")
            partial.write_text("".join(json.dumps(record) + "\n" for record in records))
            os.replace(partial, self.directory / RECORD)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and logs and logs.keys() & {"loss", "eval_loss"}:
            self._append({"step": state.global_step, **{name: _json(value) for name, value in logs.items()}})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
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

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            draw(read_records(self.directory), self.directory / PICTURE)

    def _read(self) -> dict[str, LayerReading]:
        """Empty but on the first process."""
        readings = {}
        for name, linear in self.linears.items():
            weight, alpha = _whole(linear.weight), _whole(linear.weight_clip_val)
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
        """Says so once for each layer."""
        new = [name for name in names if (what, name) not in self.warned]
        self.warned |= {(what, name) for name in new}
        if new:
            say(f"warning: step {step}: dead layer, {what}: {first_of(new)}")

    def _append(self, record: dict[str, Any]) -> None:
        with (self.directory / RECORD).open("a") as file:
            file.write(json.dumps(record) + "\n")


def read_records(directory: Path) -> list[dict[str, Any]]:
    """The lines of ``monitor.jsonl``, oldest first; what a kill left half written is left out."""
    path = directory / RECORD
    records = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def _whole(parameter: Tensor) -> Tensor:
    """A parameter as one process would hold it; FSDP2's shards are gathered, which takes every process."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def _json(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _to_tensorboard(writer: Any, step: int, readings: dict[str, LayerReading]) -> None:
    for name, reading in readings.items():
        for field in ("changed", "changed_since_last", "weights_moved", "alpha_moved"):
            writer.add_scalar(f"{field}/{name}", getattr(reading, field), step)
        values = range(len(reading.codes))
        writer.add_histogram_raw(
            f"codes/{name}",
            min=0,
            max=len(reading.codes) - 1,
            num=1,
            sum=sum(v * share for v, share in zip(values, reading.codes, strict=True)),
            sum_squares=sum(v * v * share for v, share in zip(values, reading.codes, strict=True)),
            bucket_limits=[v + 0.5 for v in values],
            bucket_counts=reading.codes,
            global_step=step,
        )
