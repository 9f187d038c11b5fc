"""Tiny programs with a tokenizer, exported once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from export import to_pte
from runtime_tests.tiny import save_tiny

#: (directory, --bits, --recipe)
PROGRAMS = (("two", "2", "lowbit"), ("four", "4", "lowbit"), ("full", "16", "fp32"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model rounded to 2 bits and to 4, and as it is; by the names above. Do not change them."""
    directory = tmp_path_factory.mktemp("exported")
    source = save_tiny(directory / "tiny")
    for name, bits, recipe in PROGRAMS:
        arguments = ["--bits", bits, "--recipe", recipe, "--model", source, "--output", directory / name]
        assert to_pte.main([str(argument) for argument in arguments]) == 0
    return {name: directory / name for name, _, _ in PROGRAMS}
