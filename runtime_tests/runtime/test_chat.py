"""Conversations: the template's prompt, what the KV cache keeps, and templates that fail."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from edge.checkpoints.hugging_face import load_checkpoint
from edge.model.chat_template import ChatTemplate, find_chat_template
from edge.model.tokenizer import Tokenizer
from edge.runtime import __main__ as command
from edge.runtime.chat import Chat
from edge.runtime.generate import sampler
from edge.runtime.load import Program, chat_template_of, open_program
from export import to_pte
from runtime_tests.tiny import save_tiny

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'tool' %}{{ raise_exception('no such role') }}{% endif %}"
    "[{{ message.role }}] {{ message.content | trim }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)
MARKERS = {"bos_token": "<s>", "eos_token": {"content": "</s>", "special": True}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("chat") / "model"
    save_tiny(directory, n_layers=1, max_seq_len=256)
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, **MARKERS}))
    return directory


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    output = model.parent / "out"
    assert to_pte.main(["--bits", "4", "--model", str(model), "--output", str(output)]) == 0
    return output


class Fed:
    """A program that records what it is fed."""

    def __init__(self, program: Program) -> None:
        self.program, self.max_seq_len, self.calls = program, program.max_seq_len, []

    def forward(self, tokens: list[int], position: int):
        self.calls.append((position, len(tokens)))
        return self.program.forward(tokens, position)


def chat_with(exported: Path) -> Chat:
    manifest, program, tokenizer = open_program(exported)
    template = chat_template_of(exported, manifest)
    return Chat(Fed(program), manifest, tokenizer, template, sampler(0.0, 1, 0))


def test_the_prompt_has_the_ids_of_transformers(model: Path) -> None:
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(model / "tokenizer.json"),
        bos_token="<s>",
        eos_token="</s>",
        chat_template=TEMPLATE,
    )
    template, tokenizer = find_chat_template(model), Tokenizer(model)
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "  The mouse </s> sat \n beside the cake "},
        {"role": "assistant", "content": "and kept the ants away"},
        {"role": "user", "content": "all night?"},
    ]
    for count in (1, 2, 4):
        wanted = theirs.apply_chat_template(messages[:count], add_generation_prompt=True)["input_ids"]
        assert tokenizer.encode(template.render(messages[:count])) == wanted


def test_only_what_is_new_is_fed(exported: Path) -> None:
    chat = chat_with(exported)
    answers: list[str] = []
    first = chat.say("The mouse sat beside the cake", 10, answers.append)
    assert chat.program.calls[0] == (0, first.prompt_tokens)
    assert chat.messages[-1] == {"role": "assistant", "content": "".join(answers)}
    held, before = list(chat.cached), len(chat.program.calls)
    second = chat.say("all night", 5, lambda piece: None)
    start, count = chat.program.calls[before]
    assert start > first.prompt_tokens - 1
    assert count == second.prompt_tokens < start
    assert chat.cached[:start] == held[:start]
    anew = chat_with(exported)  # without a cache, the same conversation goes on with the same words
    anew.messages = chat.messages[:2]
    anew.say("all night", 5, lambda piece: None)
    assert anew.messages == chat.messages


def test_a_conversation_beyond_the_cache_says_so_and_can_go_on(exported: Path) -> None:
    chat = chat_with(exported)
    with pytest.raises(ValueError, match=r"the conversation has \d+ tokens, the program takes 256"):
        chat.say("The mouse sat beside the cake " * 40, 5, lambda piece: None)
    assert chat.messages == []
    chat.say("The mouse", 5, lambda piece: None)


@pytest.mark.parametrize(("cached", "kept"), [(200, 150), (300, 0)])
def test_a_window_forgets_what_is_taken_back_too_far(exported: Path, cached: int, kept: int) -> None:
    chat = chat_with(exported)
    object.__setattr__(chat.config, "window", 16)
    object.__setattr__(chat.program, "max_seq_len", 512)
    chat.cached = list(range(150)) + [7] * (cached - 150)
    assert chat._kept([*range(150), 8, 8]) == kept


def test_the_command_answers_each_line(exported: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("The mouse sat\n\nall night\n"))
    arguments = ["--program", str(exported), "--chat", "--system", "Be kind.", "--max-new-tokens", "4"]
    assert command.main(arguments) == 0
    printed = capsys.readouterr()
    assert len(printed.err.strip().splitlines()) == 2
    assert "positions in use" in printed.err


def test_a_model_without_a_template(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model", n_layers=1)
    to_pte.main(["--bits", "4", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out")])
    with pytest.raises(ValueError, match="has no chat template"):
        command.main(["--program", str(tmp_path / "out"), "--chat"])


@pytest.mark.parametrize(
    "template",
    ["{% for %}", "{{ raise_exception('never') }}", "{{ messages[7].content.x.y }}", "{{ 1 / 0 }}"],
)
def test_a_template_that_fails_is_left_out_and_named(
    template: str, model: Path, tmp_path: Path, capsys
) -> None:
    source = shutil.copytree(model, tmp_path / "model")
    (source / "chat_template.jinja").write_text(template)
    assert to_pte.main(["--bits", "4", "--model", str(source), "--output", str(tmp_path / "out")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "warning: " in out
    assert "chat template fails" in out
    assert not (tmp_path / "out" / "chat_template.jinja").exists()


def test_a_template_that_fails_later_says_why() -> None:
    template = ChatTemplate(TEMPLATE, {"bos_token": "", "eos_token": ""})
    with pytest.raises(ValueError, match=r"fails on these messages .*no such role"):
        template.render([{"role": "tool", "content": ""}])


def test_a_template_cannot_reach_python() -> None:
    with pytest.raises(ValueError, match="unsafe"):
        ChatTemplate("{{ messages.__class__.__mro__ }}", {})


def test_an_altered_template_is_refused(exported: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(exported, tmp_path / "out")
    (copy / "chat_template.jinja").write_text("altered")
    with pytest.raises(ValueError, match=r"chat_template\.jinja"):
        open_program(copy)


def test_end_tokens_of_the_generation_config_count(model: Path, tmp_path: Path) -> None:
    source = shutil.copytree(model, tmp_path / "model")
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 2, 9]}))
    assert load_checkpoint(source).config.eos_ids == (2, 7, 9)
    assert to_pte.main(["--bits", "4", "--model", str(source), "--output", str(tmp_path / "out")]) == 0
    assert open_program(tmp_path / "out")[0].config.eos_ids == (2, 7, 9)
    (source / "generation_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"generation_config\.json beside it is not JSON"):
        load_checkpoint(source)
