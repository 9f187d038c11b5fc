"""Turn the messages of a conversation into a prompt, by the template that comes with a model's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TEMPLATE_NAME = "chat_template.jinja"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
Message = dict[str, str]  # role: system, user or assistant; content


class ChatTemplate:
    """A Jinja template in the form that transformers defines, which runs in its sandbox.

    Args:
        text: the template.
        markers: strings of special tokens that it may use, such as ``bos_token``, by name.

    Raises:
        ValueError: the template cannot be parsed, or fails on a conversation of one message.
    """

    def __init__(self, text: str, markers: Mapping[str, str]) -> None:
        self.text, self.markers = text, dict(markers)
        self.render([{"role": "user", "content": "Hello"}])

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt that asks for the next answer.

        Raises:
            ValueError: the template fails on these messages; says why.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            rendered = render_jinja_template(
                conversations=[list(messages)],
                chat_template=self.text,
                add_generation_prompt=True,
                **self.markers,  # type: ignore[arg-type]  # one of its named arguments is a bool
            )
        except Exception as error:  # whatever a template raises
            why = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"the model's chat template fails on these messages ({why})") from error
        return str(rendered[0][0])


def find_chat_template(directory: Path) -> ChatTemplate | None:
    """Read the template of a tokenizer's directory; None if it has none.

    Raises:
        ValueError: a file is no JSON, or the template is wrong.
    """
    path, config = directory / TOKENIZER_CONFIG_NAME, {}
    if path.is_file():
        try:
            config = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(config, dict):
            raise ValueError(f"{path} must hold one JSON object")
    try:
        text = _template_text(directory, config)
        return None if text is None else ChatTemplate(text, _markers(config))
    except ValueError as error:
        raise ValueError(f"{directory}: {error}") from error


def _template_text(directory: Path, config: dict[str, Any]) -> str | None:
    if (directory / TEMPLATE_NAME).is_file():
        return (directory / TEMPLATE_NAME).read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _markers(config: dict[str, Any]) -> dict[str, str]:
    """Strings of the special tokens by name: bos_token, eos_token and the like."""
    markers = {}
    for name, value in config.items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                markers[name] = text
    return markers
