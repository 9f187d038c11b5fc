"""Stream datasets of the Hugging Face hub; only the rows that are read are downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edge.data.readers import text_of

TIMEOUT_SECONDS = 10
_COMMIT = re.compile("[0-9a-f]{40}")
CURE = "give a local .txt, .jsonl or .parquet file, or download the dataset first and give its directory"


@dataclass(frozen=True)
class HubDataset:
    """A split (default: train) of a hub dataset, ``OWNER/NAME[/CONFIG][@REVISION][:SPLIT]``, at one commit.

    With ``HF_HUB_OFFLINE`` it comes from the cache of ``datasets``.
    """

    name: str
    repo: str
    config: str | None
    commit: str
    split: str = "train"

    @staticmethod
    def find(name: str) -> HubDataset:
        """Ask the hub for the commit; a name with a whole commit needs no hub yet.

        Raises:
            ValueError: the hub does not answer within ten seconds, or knows no such dataset.
        """
        whole, _, split = name.partition(":")
        path, _, revision = whole.partition("@")
        owner, slash, rest = path.partition("/")
        short, _, config = rest.partition("/")
        repo = owner + slash + short
        commit = revision if _COMMIT.fullmatch(revision) else _commit_of(name, repo, revision)
        return HubDataset(name, repo, config or None, commit, split or HubDataset.split)

    def identity(self) -> Any:
        """Return what identifies the rows: the commit; offline the cached files, whose paths hold a hash."""
        version = self.commit or [file["filename"] for file in self._load().cache_files]
        return {"hub": self.repo, "config": self.config, "version": version, "split": self.split}

    def texts(self) -> Iterator[str]:
        """Yield the text of every row.

        Raises:
            ValueError: the hub cannot be reached or stops answering, or a row holds no text.
        """
        for number, row in enumerate(self._rows()):
            yield text_of(row, f"{self.name} row {number}")

    def _rows(self) -> Iterator[Any]:
        # load_dataset tries an unreachable hub for half a minute.
        _commit_of(self.name, self.repo, self.commit)
        number, rows = 0, self._load()
        try:
            for row in rows:
                yield row
                number += 1
        except Exception as error:  # datasets raises many kinds
            raise ValueError(
                f"{self.name} broke off after {number} rows ({_summary(error)}); {CURE}"
            ) from error

    def _load(self) -> Any:
        import datasets

        try:
            return datasets.load_dataset(
                self.repo,
                self.config,
                split=self.split,
                revision=self.commit or None,
                streaming=not _offline(),
            )
        except Exception as error:
            raise ValueError(_refusal(self.name, error)) from error


def _commit_of(name: str, repo: str, revision: str) -> str:
    try:
        return ask_hub(repo, revision)
    except Exception as error:
        raise ValueError(_refusal(name, error)) from error


def ask_hub(repo: str, revision: str = "") -> str:
    """Return the commit of a dataset's revision (empty: the newest); offline, the revision itself.

    Raises:
        Exception: of many kinds, within ten seconds, if the hub does not answer or knows no such dataset.
    """
    from huggingface_hub import HfApi

    if _offline():
        return revision
    info = HfApi().dataset_info(repo, revision=revision or None, timeout=TIMEOUT_SECONDS)
    return info.sha or ""


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _refusal(name: str, error: Exception) -> str:
    return f"{name} is neither a local file nor a dataset that the hub gave ({_summary(error)}); {CURE}"


def _summary(error: Exception) -> str:
    """Return an error's type and the first line of its message, which can be a page."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first[:160]}" if first else type(error).__name__
