"""Find a model's files: a local directory, or a repository of the hub, which is downloaded."""

from __future__ import annotations

import re
from pathlib import Path

#: Files of a repository that are downloaded.
HUB_FILES = (
    "config.json",
    "model*.safetensors",
    "model*.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)
#: And these, of one that has no safetensors.
PICKLED_FILES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
#: ``owner/name``, as the hub allows them, and maybe ``@`` with a commit, tag or branch.
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@(\w[\w./-]{0,99}))?", re.ASCII)


def local_directory(name: str | Path) -> Path:
    """The directory of a model: ``name`` itself, or the download of the hub id ``owner/name[@revision]``.

    Raises:
        ValueError: neither a directory nor a hub id, or the hub cannot give it.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{name} is a file; give the directory that holds config.json and the weights")
    hub_id = _HUB_ID.fullmatch(str(name))
    if hub_id is None:
        raise ValueError(f"{name} is not a directory, and not a hub id either (those look like owner/name)")
    return Path(_download(*hub_id.groups()))


def _download(repo_id: str, revision: str | None) -> str:
    # Imported here because the client is slow to load, and a local directory does not need it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        directory = snapshot_download(repo_id, revision=revision, allow_patterns=list(HUB_FILES))
        if not any(Path(directory).glob("*.safetensors")):  # the other form is as large: only where needed
            patterns = [*HUB_FILES, *PICKLED_FILES]
            directory = snapshot_download(repo_id, revision=revision, allow_patterns=patterns)
        return directory
    except Exception as error:  # its own errors and those of its HTTP library
        if isinstance(error, GatedRepoError):
            reason = "its owner has not granted access"
        elif isinstance(error, RevisionNotFoundError):
            reason = f"it has no revision {revision}"
        elif isinstance(error, RepositoryNotFoundError):
            reason = "it has no such public repository"
        else:
            reason = f"it cannot be reached: {(str(error).splitlines() or [''])[0]}"
        raise ValueError(
            f"{repo_id} is not a directory here, and the hub did not give it ({reason}); "
            "download the repository elsewhere and give its directory"
        ) from error
