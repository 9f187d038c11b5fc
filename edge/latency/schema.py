"""Schema of a latency report, one JSON file: every sample with its circumstances, nothing derived.

It is written after every sample, so an interrupted run loses nothing and can go on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.files import write_text
from edge.latency.devices.device import DeviceKind, DeviceRecord
from edge.latency.devices.open import DEVICES
from edge.model.config import ModelConfig
from edge.runtime.manifest import Weights
from edge.schema import read_json

SCHEMA_VERSION = 1
#: The exporter's recipe for our own programs.
OWN_RECIPE = "lowbit"

#: Groups of ops that a token's time is split into.
OpGroup = Literal["linears", "attention", "head", "rest"]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Settings(_Record):
    """Settings that every program is measured at; the first of each list is the headline.

    Attributes:
        threads: of the runtime; every program runs at each.
        prompts: tokens of a prefill that starts from an empty cache.
        contexts: positions filled before the first of the ``generated`` tokens is decoded.
        rounds: how often every program is measured, in turns.
    """

    threads: list[Count]
    prompts: list[Count]
    contexts: list[Count]
    generated: Count
    rounds: Count

    @model_validator(mode="after")
    def _check_lists(self) -> Settings:
        for name in ("threads", "prompts", "contexts"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must name at least one value, and none twice")
        return self

    def within(self, positions: int) -> Settings | None:
        """Settings that fit a KV cache of so many positions; None where no prompt or no context does."""
        prompts = [prompt for prompt in self.prompts if prompt <= positions]
        contexts = [context for context in self.contexts if context + self.generated <= positions]
        if not prompts or not contexts:
            return None
        return self.model_copy(update={"prompts": prompts, "contexts": contexts})


class DecodeSample(_Record):
    """One context of one run; the percentiles are over its tokens, None where only the mean is known."""

    tokens_per_second: Positive
    ms_p50: Positive | None = None
    ms_p90: Positive | None = None


class Run(_Record):
    """One process that measured one program once; None where a runtime does not tell a figure.

    Attributes:
        round: counted from 0; all programs of a round ran in turns, so that they compare.
        kernel: of the low-bit ops, as dispatch picked it.
        load_ms: from the start of loading until the program can run; its file is in the page cache.
        first_token_ms: from the start of loading until the first prompt's next token.
        prefill: tokens/s by prompt length.
        decode: by context.
        peak_resident_bytes: of the whole process.
        read_seconds: a pure read of the program's bytes with as many threads, just after the run.
        khz: highest frequency among the used cores, just after the run.
        temperature_c: of a phone's battery, just after the run.
        battery_percent, charging: of a phone, just after the run.
    """

    round: Annotated[int, Field(ge=0)]
    threads: Count
    kernel: str | None = None
    load_ms: Positive | None = None
    first_token_ms: Positive | None = None
    prefill: dict[int, Positive]
    decode: dict[int, DecodeSample]
    peak_resident_bytes: Count | None = None
    read_seconds: Positive | None = None
    khz: int | None = None
    temperature_c: float | None = None
    battery_percent: int | None = None
    charging: bool | None = None


class Trace(_Record):
    """Time of one token by group of ops, from a run of its own: tracing slows a program by some percent.

    Attributes:
        token_ms: median over the decoded tokens of the whole step, without the choice of the token.
        group_ms: the same by group of ops; they add up to token_ms, ``rest`` holding the remainder.
    """

    threads: Count
    context: Count
    token_ms: Positive
    group_ms: dict[OpGroup, float]


class Quality(_Record):
    """Perplexity of the program itself on a text, token by token.

    Attributes:
        tokens: number of predicted tokens, in blocks of ``block`` that are predicted independently.
    """

    text: str
    tokens: Count
    block: Count
    perplexity: Positive


class ProgramRecord(_Record):
    """A program and what was measured of it.

    Attributes:
        name: unique in the report: the model's and the label.
        model: programs of one model have the same shape, and speed-ups stay among them.
        label: what tells it from the model's other programs.
        recipe: the exporter's, or the name of another runtime.
        format: of the linears' weights, by the runtime's own name.
        bits: nominal, of those weights; the mean where a program mixes formats.
        linear_bits_per_weight: stored, scales and padding included; None where a file does not tell.
        parameters: of the model.
        config: shape of the model; None for other runtimes, and in reports from before it was kept.
        head_bytes: of the table that a token's logits are computed from; None where config is.
        sha256: of the program's file.
        kv_cache: format of keys and values.
        kv_bytes_per_position: of all layers.
        quality: on the text that was given, else on the exporter's; None for random weights.
        note: what a reader must know about it, or nothing.
        verified: how it was checked on this device before it was timed.
        failure: why it could not be measured to the end; it is not tried again.
    """

    name: str
    model: str
    label: str
    recipe: str
    format: str
    bits: float
    weights: Weights
    parameters: Count
    config: ModelConfig | None = None
    head_bytes: Count | None = None
    file_bytes: Count
    sha256: str
    linear_bits_per_weight: float | None = None
    kv_cache: str
    kv_bytes_per_position: Count
    quality: Quality | None = None
    note: str = ""
    verified: str = ""
    failure: str | None = None
    runs: list[Run] = []
    traces: list[Trace] = []

    @property
    def is_own(self) -> bool:
        """True for programs of our low-bit ops, False for opponents."""
        return self.recipe == OWN_RECIPE


class Report(_Record):
    """One device, one session of measuring.

    Attributes:
        started: UTC, ISO 8601.
        finished: whether every program that could be measured was, and there was one.
        stopped: why the app ended the measurement early, as the end of a sentence; else empty.
        versions: of this project and the packages it stands on; "commit" where a checkout tells.
    """

    schema_version: Literal[1] = 1
    started: str
    finished: bool = False
    stopped: str = ""
    versions: dict[str, str]
    device: DeviceRecord
    settings: Settings
    programs: list[ProgramRecord]

    @model_validator(mode="after")
    def _check_programs(self) -> Report:
        names = [program.name for program in self.programs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two programs are called {twice[0]}")
        if self.device.kind not in DEVICES:
            raise ValueError(f"{self.device.kind!r} is no kind of device; choose from {', '.join(DEVICES)}")
        if not self.device_kind.has_speed and any(p.runs or p.traces for p in self.programs):
            raise ValueError("an emulated device has no speeds")
        return self

    @property
    def all_failed(self) -> bool:
        """True if no program could be measured to the end."""
        return all(program.failure is not None for program in self.programs)

    @property
    def device_kind(self) -> DeviceKind:
        return DEVICES[self.device.kind]


def read_report(path: Path) -> Report:
    """Read and validate a report.

    Raises:
        ValueError: it is missing, of another version, or not a report.
    """
    return read_json(Report, path, f"latency report of version {SCHEMA_VERSION}")


def write_report(report: Report, path: Path) -> None:
    """Write a report to ``path`` in one step, so that the file is whole at every moment.

    Raises:
        OSError: it cannot be written; what was there is unchanged.
    """
    write_text(path, report.model_dump_json(indent=1) + "\n")
