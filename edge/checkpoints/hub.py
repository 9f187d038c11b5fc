"""Where a model's files are: a local directory, or the hub's copy of a repository."""

from __future__ import annotations

import re
from pathlib import Path

#: All that a checkpoint is read from; nothing else of a repository is downloaded.
HUB_FILES = (
    "config.json",
    "model*.safetensors",
    "model*.index.json",
    "tokenizer*",
    "special_tokens_map.json",
)
#: ``owner/name``, as the hub allows them.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def local_directory(name: str | Path) -> Path:
    """The directory of a model: ``name`` itself, or what the hub gives for ``owner/name``.

    Raises:
        ValueError: neither a directory nor a hub id, or the hub cannot give it.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{name} is a file; give the directory that holds config.json and model.safetensors")
    if not _HUB_ID.fullmatch(str(name)):
        raise ValueError(f"{name} is not a directory, and not a hub id either (those look like owner/name)")
    return Path(_download(str(name)))


def _download(repo_id: str) -> str:
    # Imported here: the client takes a moment to load, and a local directory needs none of it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return snapshot_download(repo_id, allow_patterns=list(HUB_FILES))
    except Exception as error:  # besides its own errors the client lets those of its HTTP library through
        if isinstance(error, GatedRepoError):
            reason = "its owner has not granted access"
        elif isinstance(error, RepositoryNotFoundError):
            reason = "it has no such public repository"
        else:
            reason = f"it cannot be reached: {(str(error).splitlines() or [''])[0]}"
        raise ValueError(
            f"{repo_id} is not a directory here, and the hub did not give it ({reason}); "
            "download the repository elsewhere and give its directory"
        ) from error
