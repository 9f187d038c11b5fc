"""One question of the analysis, its answer and its evidence, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge.latency.report.svg import Drawing


@dataclass(frozen=True)
class Table:
    """Cells of text; the first row is the head."""

    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        head, *rest = self.rows
        return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rest])


@dataclass(frozen=True)
class Section:
    """A question and its answer.

    Attributes:
        name: of its pictures' files.
        answer: its parts, sentences whose figures were computed from the records.
    """

    name: str
    question: str
    answer: Sequence[str]
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = field(default=())

    def pictures(self) -> dict[str, Drawing]:
        """The drawings by file name."""
        return {f"{self.name}-{index}.svg": drawing for index, drawing in enumerate(self.drawings, 1)}

    def markdown(self) -> str:
        pictures = [f"![{drawing.title}]({name})" for name, drawing in self.pictures().items()]
        parts = [
            f"## {self.question}",
            self.answer[0] if len(self.answer) == 1 else "\n".join(f"- {each}" for each in self.answer),
            *(t.markdown().rstrip() for t in self.tables),
            *pictures,
        ]
        return "\n\n".join(parts) + "\n"
