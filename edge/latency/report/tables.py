"""Tables of a report, as text in cells, for Markdown and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from edge.latency.report import figures
from edge.latency.report.answers import choice
from edge.latency.report.figures import Metric, Spread
from edge.latency.report.notes import kernels
from edge.latency.report.words import NOTHING, count, number, spread_words, times, weights_words
from edge.latency.schema import ProgramRecord, Report


@dataclass(frozen=True)
class Cell:
    """A figure, and its spread or another aside."""

    text: str = NOTHING
    aside: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table; a program that failed has its reason in place of cells."""

    name: str
    cells: list[Cell]
    failure: str | None = None
    is_choice: bool = False


@dataclass(frozen=True)
class Table:
    """A table. ``of`` heads the first column, which holds the rows' names; ``prose`` columns hold words."""

    title: str
    of: str
    heads: list[str]
    rows: list[Row]
    prose: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Column:
    head: str
    cell: Callable[[ProgramRecord], Cell]


def widths(report: Report) -> Table | None:
    """Our widths of the headline's model: quality, bytes, decoding speed, and that over the 4 bits'."""
    chosen = figures.headline(report)
    own = [program for program in chosen.programs if program.is_own]
    threads, metric = report.settings.threads[0], figures.decode(report.settings.contexts[0])

    base, best = figures.own_4bit(own), choice(report)

    def cells(program: ProgramRecord) -> list[Cell]:
        quality = program.quality if chosen.has_quality else None
        rate = figures.figure(program, threads, metric)
        ratio = base and figures.speed_up(program, base, threads, metric)
        return [
            Cell(f"{quality.perplexity:.2f}" if quality else NOTHING),
            _FILE.cell(program),
            Cell(number(rate.median) if rate else NOTHING),
            Cell(times(ratio.median) if ratio else NOTHING),
        ]

    rows = [Row(p.label, cells(p), is_choice=p is best) for p in own]
    title = f"{chosen.model}, {weights_words(own)}" if own else ""
    heads = ["perplexity", _FILE.head, "decode, tok/s", "over 4 bits"]
    return replace(_told(title, heads, rows), of="width") if own else None


def answers(report: Report) -> Table | None:
    """Table of every model's widths beside its 4 bits; None where fewer than two models have any."""
    metric, threads = figures.decode(report.settings.contexts[0]), report.settings.threads[0]
    rows: list[tuple[str, dict[str, Cell]]] = []
    for model, programs in figures.by_model(report).items():
        alive = figures.measured(programs)
        base = figures.own_4bit(alive)
        cells = {}
        for program in alive:
            ratio = base and figures.speed_up(program, base, threads, metric)
            if base and ratio and program.is_own and program is not base:
                size = f"{figures.size_ratio(program, base):.2f}x the bytes"
                cells[program.label] = Cell(times(ratio.median), size)
        if cells:
            own = [program for program in programs if program.is_own]
            rows.append((f"{model}, {weights_words(own)}", cells))
    heads = list(dict.fromkeys(label for _, cells in rows for label in cells))
    title = f"{metric.name} over our 4 bits, {count(threads, 'thread')}".capitalize()
    filled = [Row(name, [cells.get(head, Cell()) for head in heads]) for name, cells in rows]
    return Table(title, "model", heads, filled) if len(rows) > 1 else None


def speeds(report: Report, programs: Sequence[ProgramRecord], threads: int) -> list[Table]:
    """Tables of one model at one thread count: every figure of its runs, and all speed-ups."""
    settings = report.settings
    rates = [
        _figure(metric(context), threads)
        for context in settings.contexts
        for metric in (figures.decode, figures.decode_p50, figures.decode_p90)
    ]
    whole = [*(figures.prefill(p) for p in settings.prompts), figures.LOAD, figures.FIRST_TOKEN]
    others = [*(_figure(metric, threads) for metric in whole), _memory(threads)]
    shares = [_read_share(report, threads, context) for context in settings.contexts]
    tables = [
        _table("Decode", programs, [*rates, *shares]),
        _table("Prefill, start and memory", figures.measured(programs), others),
        _speed_ups(report, programs, threads),
    ]
    return [table for table in tables if table.heads]


def summary(report: Report, programs: Sequence[ProgramRecord], threads: int) -> list[Table]:
    """Short tables of a model at one thread count: the headlines and the speed-ups."""
    settings = report.settings
    rates = [figures.decode(context) for context in settings.contexts]
    rates += [figures.prefill(prompt) for prompt in settings.prompts]
    columns = [
        _FILE,
        *(_figure(metric, threads) for metric in rates),
        _memory(threads),
        _read_share(report, threads, settings.contexts[0]),
    ]
    tables = [_table("Speed", programs, columns), _speed_ups(report, programs, threads)]
    return [table for table in tables if table.heads]


def facts(programs: Sequence[ProgramRecord]) -> Table:
    """Table of a model's programs as files, those that failed too."""
    columns = [
        Column("format", lambda p: Cell(p.format)),
        Column("bits per weight", _bits_per_weight),
        _FILE,
        Column("parameters, millions", lambda p: Cell(_millions(p.parameters))),
        Column("KV cache", lambda p: Cell(p.kv_cache, f"{p.kv_bytes_per_position} B a position")),
        Column("perplexity", _perplexity),
        Column("kernel", lambda p: Cell(", ".join(kernels([p])) or NOTHING)),
        Column("weights", lambda p: Cell(p.weights)),
        Column("verified", lambda p: Cell(p.verified or NOTHING)),
        Column("note", _note),
        Column("SHA-256", lambda p: Cell(p.sha256[:12])),
    ]
    rows = [Row(p.label, [column.cell(p) for column in columns]) for p in programs]
    return _told("The programs", [column.head for column in columns], rows, prose=("verified", "note"))


def traces(programs: Iterable[ProgramRecord], threads: int) -> Table | None:
    """Table of a traced token's milliseconds by group of ops."""
    traced = [p for p in figures.measured(programs) if figures.trace_at(p, threads)]
    if not traced:
        return None
    groups = list(dict.fromkeys(group for p in traced for t in p.traces for group in t.group_ms))

    def row(program: ProgramRecord) -> Row:
        trace = figures.trace_at(program, threads)
        assert trace is not None
        cells = [Cell(f"{trace.group_ms[g]:.3f}") if g in trace.group_ms else Cell() for g in groups]
        return Row(program.label, [Cell(f"{trace.token_ms:.3f}"), *cells])

    heads = ["a token, ms", *(f"{group}, ms" for group in groups)]
    return Table("Time of a traced token", "program", heads, [row(program) for program in traced])


def emulated(programs: Sequence[ProgramRecord]) -> Table:
    """Table of the programs that an emulator checked."""
    columns = [
        Column("format", lambda p: Cell(p.format)),
        _FILE,
        Column("weights", lambda p: Cell(p.weights)),
        Column("verified", lambda p: Cell(p.verified or "not yet")),
    ]
    return _table("Checked programs", programs, columns, prose=("verified",))


def _speed_ups(report: Report, programs: Sequence[ProgramRecord], threads: int) -> Table:
    settings, alive = report.settings, figures.measured(programs)
    headlines = figures.decode(settings.contexts[0]), figures.prefill(settings.prompts[0])
    columns = [_ratio(metric, base, threads) for base in figures.opponents(alive) for metric in headlines]
    return _table("Speed-up", alive, columns)


def _table(
    title: str, programs: Sequence[ProgramRecord], columns: Sequence[Column], prose: Sequence[str] = ()
) -> Table:
    """A table with the reason in place of figures for programs that failed."""
    rows = [
        Row(p.label, [] if p.failure else [column.cell(p) for column in columns], p.failure) for p in programs
    ]
    return _told(title, [column.head for column in columns], rows, prose)


def _told(title: str, heads: Sequence[str], rows: Sequence[Row], prose: Sequence[str] = ()) -> Table:
    """A table without the columns that are empty for every program."""
    told = [{i for i, cell in enumerate(row.cells) if cell.text != NOTHING} for row in rows]
    kept = sorted(set().union(*told))
    shown = [replace(row, cells=[row.cells[i] for i in kept if row.cells]) for row in rows]
    return Table(title, "program", [heads[i] for i in kept], shown, frozenset(prose))


_FILE = Column("file, MB", lambda program: Cell(_millions(program.file_bytes)))


def _figure(metric: Metric, threads: int) -> Column:
    def cell(program: ProgramRecord) -> Cell:
        return _spread(figures.figure(program, threads, metric), number)

    return Column(f"{metric.name}, {metric.unit}", cell)


def _memory(threads: int) -> Column:
    def cell(program: ProgramRecord) -> Cell:
        return _spread(figures.figure(program, threads, figures.PEAK_MEMORY), _millions)

    return Column("peak memory, MB", cell)


def _read_share(report: Report, threads: int, context: int) -> Column:
    def cell(program: ProgramRecord) -> Cell:
        share = figures.roofline_share(program, threads, context, report.settings)
        return _spread(share, lambda value: f"{100 * value:.0f}", " %")

    return Column(f"read share at {context}", cell)


def _ratio(metric: Metric, base: ProgramRecord, threads: int) -> Column:
    def cell(program: ProgramRecord) -> Cell:
        return _spread(figures.speed_up(program, base, threads, metric), "{:.2f}".format, "x")

    return Column(f"{metric.name} over {'our ' * base.is_own}{base.label}", cell)


def _spread(spread: Spread | None, write: Callable[[float], str], unit: str = "") -> Cell:
    return Cell(write(spread.median) + unit, spread_words(spread, write)) if spread else Cell()


def _millions(amount: float) -> str:
    return number(amount / 1e6)


def _note(program: ProgramRecord) -> Cell:
    failure = f"failed: {program.failure}" if program.failure else ""
    return Cell("; ".join(filter(None, [failure, program.note])) or NOTHING)


def _bits_per_weight(program: ProgramRecord) -> Cell:
    bits = program.linear_bits_per_weight
    return Cell() if bits is None else Cell(number(bits))


def _perplexity(program: ProgramRecord) -> Cell:
    quality = program.quality
    if quality is None:
        return Cell()
    of = f"{quality.tokens} tokens of {quality.text}, blocks of {quality.block}"
    return Cell(f"{quality.perplexity:.2f}", of)
