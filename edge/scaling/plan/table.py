"""Show a plan in a terminal: what it stands on, the best choices, warnings, and the commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from edge.latency.report.words import DASH, count, number, percent
from edge.scaling.plan.fit import LeftOut
from edge.scaling.plan.law import amount
from edge.scaling.plan.schema import ChoiceRecord, Plan

#: Rows of the table, and of them of one width and way to train: neighbours in shape differ little.
ROWS, ALIKE = 15, 3
#: Letters of a row with intervals; a narrower terminal wraps lines, and nothing is cut.
WIDTH = 100


def show(plan: Plan, console: Console) -> None:
    """Print a plan."""
    law, costs = plan.law, plan.costs
    threads = count(costs.threads, "thread")
    console.print(f"Device: {plan.device.name}, {plan.device.cpu}, {threads}; {costs.report}")
    console.print("Predicted from the report's other programs, each left out once:")
    for what, error in costs.errors.items():
        console.print(f"  {what}: {_error_words(error)}")
    console.print("Predicted from its other shapes, each between the smallest and the largest left out once:")
    for what, error in costs.shape_errors.items():
        console.print(f"  {what}: {_error_words(error)}")
    console.print(f"Losses: {law.source}; fitted to {law.range}")
    for note in law.notes:
        console.print(f"  {note}")
    console.print("  They compare with no other law's: each was fitted to texts of its own.")
    console.print(_table(plan))
    console.print(
        f"{len(plan.choices)} fit, all in plan.json; at most {ALIKE} of a width and training are shown. "
        "*: no other has both fewer bytes and less loss. ?: extrapolated. MB: the file; memory in MB."
    )
    for warning in plan.warnings:
        console.print(f"Warning: {warning}", style="yellow")
    console.print("To train and export the first:")
    for command in plan.commands:
        console.print(f"  {command}")


def _error_words(error: LeftOut | None) -> str:
    if error is None:
        return "unknown, because too few are left"
    return (
        f"{percent(error.usual)} off in the median, nine of ten within {percent(error.wide)}, "
        f"{percent(error.largest)} at most, of {error.figures}"
    )


def shown(choices: Sequence[ChoiceRecord]) -> list[ChoiceRecord]:
    """The best rows, few of one width and way to train."""
    rows: list[ChoiceRecord] = []
    counts: Counter[tuple[float, str]] = Counter()
    for choice in choices:
        kind = (choice.bits, choice.training)
        if counts[kind] < ALIKE:
            counts[kind] += 1
            rows.append(choice)
    return rows[:ROWS]


def _table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("layers x width", no_wrap=True)
    for head in ("N", "bits"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("trained", no_wrap=True)
    for head in ("loss", "MB", "tok/s", "first, s", "memory"):
        table.add_column(head, justify="right", no_wrap=True)
    for choice in shown(plan.choices):
        table.add_row(*_cells(choice))
    return table


def _cells(choice: ChoiceRecord) -> list[str]:
    loss, doubt = f"{choice.loss:.3f}", "?" * bool(choice.cost_outside)
    if choice.loss_low is not None and choice.loss_high is not None:
        loss += f" ({choice.loss_low:.2f}{DASH}{choice.loss_high:.2f})"
    return [
        f"{choice.config.n_layers} x {choice.config.dim}{' *' * choice.on_front}",
        amount(choice.parameters), f"{choice.bits:g}", choice.training,
        loss + "?" * bool(choice.loss_outside), number(choice.file_bytes / 1e6),
        number(choice.decode_tokens_per_second) + doubt, number(choice.first_token_seconds) + doubt,
        number(choice.memory_bytes / 1e6) + doubt,
    ]  # fmt: skip
