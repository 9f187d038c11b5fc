"""The page's chat templates: the prompts of edge.model.chat_template."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.model.chat_template import ChatTemplate
from runtime_tests.android_demo.made_templates import CONVERSATIONS, MARKERS, TEMPLATES
from runtime_tests.android_demo.node import run_in_node

Result = dict[str, str]


def rendered(page: Path, template: str, conversations: list[list[dict[str, str]]]) -> list[Result]:
    """The prompt of each conversation, or the sentence of its error."""
    request = {"template": template, "markers": MARKERS, "conversations": conversations}
    return run_in_node("render.mjs", page, **request)


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_pythons(page_in_node: Path, name: str) -> None:
    found = rendered(page_in_node, TEMPLATES[name], CONVERSATIONS)
    assert found == [in_python(TEMPLATES[name], messages) for messages in CONVERSATIONS]


def in_python(template: str, messages: list[dict[str, str]]) -> Result:
    try:
        return {"prompt": ChatTemplate(template, MARKERS).render(messages)}
    except ValueError as error:
        sentence = f"{error}."
        return {"error": sentence[0].upper() + sentence[1:]}


@pytest.mark.parametrize("code", [0x1C, 0x85, 0xFEFF])
def test_a_character_that_is_a_space_to_one_of_them_only_is_refused(page_in_node: Path, code: int) -> None:
    (result,) = rendered(page_in_node, TEMPLATES["chatml"], [[{"role": "user", "content": f"a{chr(code)}"}]])
    assert result["error"] == f"The message has the invisible character U+{code:04X}; remove it."


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% if %}", "cannot be read here"),
        ("{{ raise_exception('no') }}", "fails on these messages (no)"),
        ("{{ strftime_now('%U') }}", "fails on these messages (strftime_now with %U)"),
        ("{{ messages | nothing_known }}", "fails on these messages"),
    ],
)
def test_a_template_that_fails_says_so(page_in_node: Path, template: str, words: str) -> None:
    (result,) = rendered(page_in_node, template, CONVERSATIONS[:1])
    assert words in result["error"]
