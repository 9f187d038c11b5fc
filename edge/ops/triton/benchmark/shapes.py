"""List the linears that are measured, by the model that they are from."""

from __future__ import annotations

#: [n, k] of a layer's linears: queries with keys and values, output, gate with up, down.
SHAPES: dict[str, tuple[tuple[int, int], ...]] = {
    "mobilellm-125m": ((960, 576), (576, 576), (3072, 576), (576, 1536)),
    "mobilellm-1b": ((1920, 1280), (1280, 1280), (7168, 1280), (1280, 3584)),
    "llama3-1b": ((3072, 2048), (2048, 2048), (16384, 2048), (2048, 8192)),
    "llama3-8b": ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)),
    "16384": ((16384, 16384),),
}


def chosen_shapes(names: str) -> list[tuple[int, int]]:
    """The shapes of models named with commas; ValueError if one is unknown."""
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in SHAPES]:
        raise ValueError(f"unknown --shapes {unknown[0]}; known are {', '.join(SHAPES)}")
    return list(dict.fromkeys(shape for name in wanted for shape in SHAPES[name]))
