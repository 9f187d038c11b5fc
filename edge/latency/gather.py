"""Collect the programs of a report: found or exported, grouped by shape, and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edge.latency.candidate import Candidate
from edge.latency.exported import ExportedCandidate, ExportedProgram, Variant, export_named, open_exported
from edge.latency.opponents.llama_cpp.user_build import BENCH_PREFIX, UserBuild
from edge.latency.opponents.recipes import RECIPES
from edge.latency.opponents.runtime import Runtime
from edge.latency.opponents.table import RUNTIMES, default_opponents
from edge.latency.schema import OWN_RECIPE
from edge.model.config import MOBILELLM, ModelConfig
from edge.runtime.manifest import ELASTIC

Announce = Callable[[str], None]


def gather(
    directories: Sequence[Path],
    sizes: Sequence[str],
    bits: Sequence[float],
    opponents: Sequence[str] | None,
    cache: Path,
    announce: Announce,
    build: UserBuild | None = None,
) -> list[Candidate]:
    """Collect every program of a report, in its order.

    Args:
        directories: exported programs as they are.
        sizes: named models, exported at every bit width and as every opponent that is an exporter's recipe.
        opponents: of OPPONENTS; llama.cpp's types run on the shapes of all programs. None: as many of the
            defaults as can be had here.
        cache: where exported programs and llama.cpp are kept.
        announce: told what is about to take long, and what is left out.
        build: the user's llama.cpp; types of it that are opponents begin with BENCH_PREFIX.

    Raises:
        ValueError: a directory that is no intact program, or a program given twice; a shape that an opponent
            which was asked for cannot run.
        OSError: an export or llama.cpp's build failed.
    """
    programs = [open_exported(directory) for directory in directories]
    wanted = default_opponents() if opponents is None else list(opponents)
    runtimes: tuple[Runtime, ...] = RUNTIMES
    if build is not None:
        types = [name for name in wanted if name.startswith(BENCH_PREFIX)] or build.offered()
        wanted = [*(name for name in wanted if name not in types), *types]
        runtimes = (*RUNTIMES, build.runtime(types))
    for size in sizes:
        for width in bits:
            announce(f"preparing {size} at {width:g} bits")
            programs.append(export_named(size, Variant(width), cache / "programs"))
        for recipe in (RECIPES[name] for name in wanted if name in RECIPES):
            announce(f"preparing {size} as {recipe.name}")
            with _left_out_on_failure(opponents is None, f"{size} as {recipe.name}", announce):
                programs.append(export_named(size, Variant(recipe.bits, recipe.name), cache / "programs"))
    candidates: list[Candidate] = []
    for model, found in _by_shape(programs).items():
        members = sorted(found, key=_rank)
        labels = _labels(members)
        candidates += [ExportedCandidate(p, model, label) for p, label in zip(members, labels, strict=True)]
        config = members[0].config
        for runtime in runtimes:
            if types := [name for name in wanted if name in runtime.types]:
                announce(f"preparing {model} in {runtime.words}")
                with _left_out_on_failure(opponents is None, f"{model} in {runtime.words}", announce):
                    candidates += runtime.candidates(model, config, _file_name(config), types, cache)
    return candidates


@contextmanager
def _left_out_on_failure(is_optional: bool, what: str, announce: Announce) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if not is_optional:
            raise
        announce(f"{what} is left out: {error}")


def _rank(program: ExportedProgram) -> tuple[bool, float]:
    """Sort key: ours by bit width, then the others."""
    return (program.manifest.recipe != OWN_RECIPE, program.manifest.bits)


def _by_shape(programs: Sequence[ExportedProgram]) -> dict[str, list[ExportedProgram]]:
    """Group programs by shape, under the name that they agree on, else the published one, else a size."""
    shapes: dict[ModelConfig, list[ExportedProgram]] = {}
    for program in programs:
        shapes.setdefault(_shape(program.config), []).append(program)
    named: dict[str, list[ExportedProgram]] = {}
    for config, members in shapes.items():
        names = {member.manifest.model for member in members}
        name = names.pop() if len(names) == 1 else _file_name(config)
        named[name if name not in named else f"{name} ({config.dim} wide, {config.n_layers} layers)"] = (
            members
        )
    return named


def _shape(config: ModelConfig) -> ModelConfig:
    """The part of a config that speed depends on: programs that agree in it can be compared."""
    return replace(config, max_seq_len=1, bos_id=0, eos_ids=(0,), rope_scaling=None, rope_theta=1.0)


def _file_name(config: ModelConfig) -> str:
    published = {_shape(shape): name for name, shape in MOBILELLM.items()}
    millions = config.parameters / 1e6
    return published.get(_shape(config), f"{millions:.3g}M-{config.n_layers}x{config.dim}")


def _labels(programs: Sequence[ExportedProgram]) -> list[str]:
    """Labels that tell programs of one shape apart: options of the export, else their directories."""
    labels = [_label(program) for program in programs]
    counts = Counter(labels)
    full = [
        label if counts[label] == 1 else f"{label} ({program.directory.name})"
        for label, program in zip(labels, programs, strict=True)
    ]
    twice = [label for label, count in Counter(full).items() if count > 1]
    if twice:
        raise ValueError(
            f"two programs would be called {twice[0]!r}: give each once, from directories of other names"
        )
    return full


def _label(program: ExportedProgram) -> str:
    manifest = program.manifest
    width = f"{manifest.bits:g} bit{'s' * (manifest.bits != 1)}" + " mixed" * bool(manifest.formats)
    width += f" {ELASTIC}" * (manifest.format == ELASTIC)
    parts = [width if manifest.recipe == OWN_RECIPE else manifest.recipe]
    parts += [f"{manifest.kv_cache} cache"] * (manifest.kv_cache != "fp32")
    parts += [f"{manifest.embedding_bits}-bit embedding"] * (manifest.embedding_bits != 8)
    parts += [f"{manifest.head_bits}-bit head"] * (manifest.head_bits != manifest.embedding_bits)
    return ", ".join(parts)
