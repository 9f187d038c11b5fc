"""Plan a model for a device: shapes, widths and ways to train that fit it, the least predicted loss first.

Times and memory come from a latency report of the device (python -m edge.latency), fitted to the programs
that it measured; bytes are counted as the exporter lays them out; losses come from one law, and compare with
no other law's. Writes plan.json and plan.svg, and ends with the commands that train and export the first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from edge.cli import flag, main_guard, parse_flags, refuse_unwritable
from edge.files import write_text
from edge.latency.report.svg import as_file
from edge.latency.schema import read_report
from edge.model.config import MOBILELLM
from edge.scaling.plan.commands import commands
from edge.scaling.plan.device import fit_device
from edge.scaling.plan.laws import LAWS, open_law
from edge.scaling.plan.limits import Limits, parse_bytes, parse_seconds
from edge.scaling.plan.picture import picture
from edge.scaling.plan.schema import Plan, choice_record, costs_record, law_record
from edge.scaling.plan.search import Work, fitting, programs, ranked
from edge.scaling.plan.shapes import candidate_shapes
from edge.scaling.plan.table import WIDTH, show
from edge.scaling.plan.warnings import warnings

_VOCAB_SIZE = MOBILELLM["125M"].vocab_size


@dataclass(frozen=True)
class PlanFlags:
    """Flags of ``python -m edge.scaling.plan``."""

    device: Path = flag("report.json of edge.latency, measured on the device")
    train_tokens: float = flag("tokens to train on, such as 2e10")
    law: str = flag(f"what predicts losses: {', '.join(LAWS)}")
    max_bytes: str | None = flag("the program's file at most, such as 60MB", default=None)
    max_memory: str | None = flag("peak memory at most, such as 200MB", default=None)
    min_decode: float | None = flag("tokens per second at least", default=None)
    max_first_token: str | None = flag("time of a prompt's first token at most, such as 1s", default=None)
    prompt: int = flag("tokens of that prompt", default=128)
    context: int = flag("positions that are filled when a token is decoded", default=256)
    threads: int | None = flag("of the report's; default: its first", default=None)
    vocab_size: int = flag("entries of the tokenizer; default: MobileLLM's", default=_VOCAB_SIZE)
    reading: str | None = flag(
        "of a paper's constants, such as 'without biases' for --law precision; default: its first",
        default=None,
    )
    fit: Path | None = flag(
        "fit of edge.scaling.fit, for --law ours; default: the project's own", default=None
    )
    output: Path = flag("directory for plan.json and plan.svg", default=Path("plan"))

    def __post_init__(self) -> None:
        for name in ("train_tokens", "min_decode"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"--{name.replace('_', '-')} must be positive, not {value:g}")

    @property
    def limits(self) -> Limits:
        """Raises ValueError for malformed amounts."""
        return Limits(
            None if self.max_bytes is None else parse_bytes(self.max_bytes, "--max-bytes"),
            None if self.max_memory is None else parse_bytes(self.max_memory, "--max-memory"),
            self.min_decode,
            None
            if self.max_first_token is None
            else parse_seconds(self.max_first_token, "--max-first-token"),
        )


def make_plan(flags: PlanFlags) -> Plan:
    """Find what fits, and rank it.

    Raises:
        ValueError: the report lacks figures, the law has no fit, or nothing fits.
    """
    limits, work, law = (
        flags.limits,
        Work(flags.prompt, flags.context),
        open_law(flags.law, flags.reading, flags.fit),
    )
    report, source = read_report(flags.device), str(flags.device)
    device = fit_device(report, source, flags.threads)
    found = fitting(programs(device, candidate_shapes(flags.vocab_size), work), limits)
    choices = ranked(found, law, flags.train_tokens)
    return Plan(
        device=report.device,
        costs=costs_record(device, source),
        limits=asdict(limits),
        prompt=work.prompt,
        context=work.context,
        train_tokens=flags.train_tokens,
        law=law_record(law),
        warnings=warnings(choices, device, limits, work),
        choices=[choice_record(choice) for choice in choices],
        commands=commands(choices[0], device.kv_cache),
    )


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(PlanFlags, argv, "edge.scaling.plan", str(__doc__))
    refuse_unwritable(flags.output)
    plan = make_plan(flags)
    flags.output.mkdir(parents=True, exist_ok=True)
    write_text(flags.output / "plan.json", plan.model_dump_json(indent=1) + "\n")
    write_text(flags.output / "plan.svg", as_file(picture(plan)))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    show(plan, console)
    return 0


if __name__ == "__main__":
    main_guard(main)
