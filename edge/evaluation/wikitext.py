"""WikiText-2's test split, cut into blocks as ParetoQ and as MobileLLM do; their figures differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.data.hub import ask_hub
from edge.model.config import ModelConfig
from edge.model.tokenizer import Tokenizer

TEST_FILE = "wiki.test.raw"
#: The repository, its configuration, and its split.
HUB_DATASET = ("Salesforce/wikitext", "wikitext-2-raw-v1", "test")
TEST_ROWS = 4358


@dataclass(frozen=True)
class Convention:
    """A publication's convention. Only whole blocks count; each predicts all its tokens but the first.

    Attributes:
        tokens: makes one stream of the split's rows, int32 [N].
        published: tokens of a block.
        shrinks: to the model's positions, if these are fewer.
    """

    name: str
    words: str
    tokens: Callable[[list[str], Tokenizer, ModelConfig], np.ndarray]
    published: int
    shrinks: bool

    def block_tokens(self, positions: int) -> int:
        return min(self.published, positions) if self.shrinks else self.published


def _rows_apart(rows: list[str], tokenizer: Tokenizer, config: ModelConfig) -> np.ndarray:
    return np.array([i for ids in tokenizer.encode_batch(rows) for i in ids], dtype=np.int32)


def _rows_joined(rows: list[str], tokenizer: Tokenizer, config: ModelConfig) -> np.ndarray:
    return np.array([config.bos_id, *tokenizer.encode("\n\n".join(rows))], dtype=np.int32)


CONVENTIONS = (
    # ParetoQ, eval.py and utils/datautils.py: a row of its JSONL at a time, tokenizer without begin and end
    # tokens, block_size min(model_max_length, 1024). Its file is not published; its rows are taken to be the
    # split's.
    Convention("ParetoQ", "lines tokenised one by one, without begin tokens", _rows_apart, 1024, True),
    # MobileLLM, eval.py, after llm-awq: one text, whose tokenizer puts a begin token in front.
    Convention("MobileLLM", "lines joined by blank lines after one begin token", _rows_joined, 2048, False),
)


def wikitext_rows(source: str | None) -> list[str]:
    """Read the split's rows as the hub's dataset has them: lines with their ends, blank lines empty.

    Args:
        source: ``wiki.test.raw`` or the directory that holds it; None for the hub.

    Raises:
        ValueError: it cannot be read, or is another text.
    """
    if source is None:
        return _hub_rows()
    path = Path(source) / TEST_FILE if Path(source).is_dir() else Path(source)
    if not path.is_file():
        raise ValueError(f"--wikitext {source}: no file {path}; give {TEST_FILE} or its directory")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # splitlines would split at more characters
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    rows = [f"{line}\n" if line.strip() else "" for line in lines]
    if len(rows) != TEST_ROWS or any("<unk>" in row for row in rows):
        raise ValueError(
            f"{path} is not the test split of the raw WikiText-2, which has {TEST_ROWS} lines and no <unk>; "
            "its conventions are for that text only, so give other texts to --data"
        )
    return rows


def _hub_rows() -> list[str]:
    import datasets

    repository, configuration, split = HUB_DATASET
    try:
        ask_hub(repository)  # load_dataset tries an unreachable hub for half a minute
        return list(datasets.load_dataset(repository, configuration, split=split)["text"])
    except Exception as error:  # both libraries raise many kinds for one cause
        raise ValueError(
            f"the hub did not give {repository} ({type(error).__name__}); give a local {TEST_FILE}, or the "
            "directory that holds it, behind --wikitext"
        ) from error
