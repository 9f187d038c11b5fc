"""The exported tiny program, made once per session."""

from pathlib import Path

import pytest

from runtime_tests.ops.programs import TinyBlock, write_program


@pytest.fixture(scope="session")
def tiny_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_program(TinyBlock(), tmp_path_factory.mktemp("program") / "model.pte")
