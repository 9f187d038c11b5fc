"""Formats of a report's figures, for Markdown, page and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from edge.latency.report.figures import Spread
from edge.latency.schema import ProgramRecord

DASH = "\N{EN DASH}"
#: Stands for a missing figure.
NOTHING = DASH


def number(value: float) -> str:
    """Format with three significant digits, and all digits before the point."""
    decimals = next((d for d, least in enumerate((99.95, 9.995, 0.9995)) if abs(value) >= least), 3)
    return f"{value:.{decimals}f}"


def times(ratio: float) -> str:
    return f"{ratio:.2f}x"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def count(amount: int, what: str) -> str:
    """Format a count: "1 thread", "2 threads"."""
    return f"{amount} {what}{'s' * (amount != 1)}"


def least_most(values: Iterable[float], write: str = "x") -> str:
    """Format a range: "1.41 to 1.52x", or "1.41x" where both ends read the same."""
    known = sorted(values)
    least, most = (f"{value:.2f}" for value in (known[0], known[-1]))
    return f"{least}{write}" if least == most else f"{least} to {most}{write}"


def spread_words(spread: Spread, write: Callable[[float], str]) -> str:
    """Format a spread: "(296-351)", or nothing where both ends read the same."""
    least, most = write(spread.least), write(spread.most)
    return "" if least == most else f"({least}{DASH}{most})"


def listed(words: Sequence[str]) -> str:
    """Join words: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def weights_words(programs: Sequence[ProgramRecord]) -> str:
    """Describe weights: "random weights", or with exceptions "trained weights; random: llama.cpp"."""
    groups: dict[str, list[ProgramRecord]] = {}
    for program in programs:
        groups.setdefault(program.weights, []).append(program)
    most, *others = sorted(groups, key=lambda weights: -len(groups[weights]))
    first = f"weights {most}" if most.endswith("after training") else f"{most} weights"
    return "; ".join([first, *(f"{weights}: {_names(groups[weights], programs)}" for weights in others)])


def _names(some: Sequence[ProgramRecord], programs: Sequence[ProgramRecord]) -> str:
    """Labels of some programs, or their recipe where they are all of that recipe."""
    recipes = {program.recipe for program in some}
    whole = len(recipes) == 1 and sum(program.recipe in recipes for program in programs) == len(some)
    return recipes.pop() if whole else ", ".join(program.label for program in some)


def weights_tag(programs: Sequence[ProgramRecord]) -> str:
    """Describe weights where there is little room."""
    return weights_words(programs) if len({program.weights for program in programs}) == 1 else "mixed weights"
