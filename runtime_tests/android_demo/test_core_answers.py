"""Answers: prefix reuse, stop, a page that is loaded anew, a process that dies; and what is kept on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from export import to_pte
from runtime_tests.android_demo.conftest import RunApp, StoryPrograms
from runtime_tests.android_demo.desktop_app import GREEDY, DesktopApp, Json, Refused, until
from runtime_tests.checkpoints.test_families import save_family
from runtime_tests.ops import runner_process

#: The portable kernel takes about 2 ms for a token, which leaves time to interrupt an answer.
SLOW = {"EDGE_FORCE_KERNEL": "scalar"}
#: So hot that an end token is as unlikely as any other.
ENDLESS: Json = {**GREEDY, "max_new_tokens": 500, "temperature": 10.0}
PROMPT = [1, 300, 17, 904, 33]
POSITIONS, VOCABULARY = 512, 4096


@pytest.fixture(scope="module")
def models(story_program: StoryPrograms) -> list[Path]:
    return [story_program("2"), story_program("4")]


@pytest.fixture(scope="module")
def app(
    run_app: RunApp, models: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DesktopApp]:
    with run_app(tmp_path_factory.mktemp("app"), models=models) as app:
        yield app


@pytest.fixture
def slow(run_app: RunApp, models: list[Path], tmp_path: Path) -> Iterator[DesktopApp]:
    with run_app(tmp_path, models=models, environment=SLOW) as app:
        app.call("settings.set", settings={"threads": 1})
        yield app


def ids_of(app: DesktopApp) -> list[str]:
    return [model["id"] for model in app.models()]


def new_conversation(app: DesktopApp) -> str:
    turns = [{"role": "user", "text": "One day"}, {"role": "assistant", "text": ""}]
    return app.call("conversations.save", conversation={"title": "One day", "turns": turns})["conversation"][
        "id"
    ]


def answer_in(app: DesktopApp, conversation: str) -> Json:
    return app.call("conversations.get", id=conversation)["conversation"]["turns"][1]


def ids_so_far(app: DesktopApp) -> list[int]:
    return app.call("generate.current").get("ids", [])


SAMPLED = {"temperature": 0.9, "top_p": 0.95, "top_k": 50, "seed": 7}


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_a_reused_prefix_gives_the_tokens_of_a_fresh_run(run_app, app, models, tmp_path, sampling):
    two, _ = ids_of(app)
    first, stats = app.generate(two, PROMPT, **sampling)
    assert stats["end"] in ("length", "end")
    longer = [*PROMPT, *first, 45, 46, 47]
    again, stats = app.generate(two, longer, **sampling)
    # The last token of an answer was chosen and not yet computed.
    assert stats["reused_tokens"] == len(PROMPT) + len(first) - 1
    branched = [*PROMPT, *first[:5], 99]
    other, other_stats = app.generate(two, branched, **sampling)
    assert other_stats["reused_tokens"] == len(branched) - 1
    same, same_stats = app.generate(two, branched, **sampling)
    assert same == other
    assert same_stats["reused_tokens"] == len(branched) - 1
    with run_app(tmp_path, models=models) as fresh:
        for tokens, expected in ((branched, other), (longer, again)):
            got, stats = fresh.generate(two, tokens, **sampling)
            assert got == expected
            assert stats["reused_tokens"] == (0 if tokens is branched else len(PROMPT) + 5)


def test_behind_a_window_nothing_is_taken_back(run_app, tmp_path):
    """Its KV cache forgets early positions, so a sequence that branches there must be computed anew."""
    save_family("qwen2-window", tmp_path / "model", max_position_embeddings=512)
    words = ["--bits", "4", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out")]
    assert to_pte.main([*words, "--max-seq-len", "512"]) in (0, None)
    long = [1, *(3 + i * 7 % 90 for i in range(300))]
    branched = [*long[:40], 5, 6]
    with run_app(tmp_path / "first", models=[tmp_path / "out"]) as app:
        (model,) = ids_of(app)
        first, _ = app.generate(model, long, max_new_tokens=4)
        _, further = app.generate(model, [*long, *first, 8], max_new_tokens=4)
        assert further["reused_tokens"] == len(long) + len(first) - 1
        ids, stats = app.generate(model, branched, max_new_tokens=12)
    with run_app(tmp_path / "second", models=[tmp_path / "out"]) as fresh:
        assert fresh.generate(model, branched, max_new_tokens=12)[0] == ids
    assert stats["reused_tokens"] == 0


def test_two_widths_answer_in_turns_and_both_keep_their_cache(app):
    two, four = ids_of(app)
    asked = [1, 77, 78, 79]
    app.generate(two, asked)
    app.generate(four, asked)
    for model in (two, four):
        _, stats = app.generate(model, [*asked, 80])
        assert stats["reused_tokens"] == len(asked)


def test_stats_are_of_the_answer(app):
    two, _ = ids_of(app)
    ids, stats = app.generate(two, PROMPT, max_new_tokens=30, temperature=0)
    assert stats["prompt_tokens"] == len(PROMPT)
    assert stats["generated_tokens"] == len(ids) == 30
    assert (stats["context_used"], stats["context_size"]) == (len(PROMPT) + 30, POSITIONS)
    assert stats["end"] == "length"
    assert stats["prefill_tokens_per_second"] > 0
    assert stats["decode_tokens_per_second"] > 0
    assert stats["first_token_ms"] > 0
    assert stats["resident_bytes"] > 1_000_000


def test_an_answer_ends_with_the_context(app):
    two, _ = ids_of(app)
    ids, stats = app.generate(two, [1] + [5] * 507, max_new_tokens=100, temperature=2.0)
    assert stats["end"] in ("context", "end")
    assert len(ids) <= 5
    if stats["end"] == "context":
        assert stats["context_used"] == POSITIONS + 1  # the last token is chosen and has no place


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"tokens": []}, "nothing to continue"),
        ({"tokens": [5] * (POSITIONS + 1)}, r"has 513 tokens and this program holds 512: shorten it"),
        ({"tokens": [VOCABULARY]}, "the token 4096, which this program does not know"),
        ({"tokens": [-1]}, "the token -1"),
        ({"tokens": ["a"]}, "list of whole numbers"),
        ({"temperature": -1}, "temperature must lie in"),
        ({"top_p": 0}, "top_p must lie"),
        ({"max_new_tokens": 0}, "Max_new_tokens must be at least 1"),
        ({"model": "nothing"}, "no program nothing"),
    ],
)
def test_what_cannot_be_generated_is_refused_at_once(app, asked, sentence):
    request = {"model": ids_of(app)[0], "tokens": [1], **GREEDY, **asked}
    with pytest.raises(Refused, match=sentence):
        app.call("generate.start", **request)
    assert app.call("generate.current") == {"run": None}


def test_stop_ends_an_answer_within_one_token(slow):
    conversation = new_conversation(slow)
    request = {**ENDLESS, "conversation": conversation, "turn": 1}
    run = slow.call("generate.start", model=ids_of(slow)[0], tokens=PROMPT, **request)["run"]
    with pytest.raises(Refused, match="is being generated"):
        slow.call("generate.start", model=ids_of(slow)[0], tokens=PROMPT, **request)
    until(lambda: len(ids_so_far(slow)) > 20)
    slow.call("generate.stop", run=run)
    seen = slow.call("generate.current").get("ids")  # None where it has ended meanwhile
    done = slow.wait_for("done", "failed")
    assert (done["event"], done["stats"]["end"]) == ("done", "stopped")
    told = [i for event in slow.events if event["event"] == "token" for i in event["ids"]]
    assert len(told) == done["stats"]["generated_tokens"] < 500
    assert seen is None or len(told) <= len(seen) + 1
    answer = answer_in(slow, conversation)
    assert answer["ids"] == told
    assert answer["partial"] is False
    assert slow.call("generate.current") == {"run": None}
    slow.call("generate.stop", run=run)  # of a run that has ended: nothing happens


def test_stop_ends_a_long_prompt_within_one_piece(slow, models):
    """Tests that a stopped prompt goes on where it stopped, and ends with the answer of one fed at once."""
    two, prompt = ids_of(slow)[0], [1] + [5, 300, 17] * 166  # three pieces and the last, of 115 tokens
    request = {"model": two, "tokens": prompt, **GREEDY, "max_new_tokens": 5}
    run = slow.call("generate.start", **request)["run"]
    time.sleep(0.1)  # a piece takes longer
    slow.call("generate.stop", run=run)
    done = slow.wait_for("done", "failed")
    assert (done["event"], done["stats"]["end"]) == ("done", "stopped")
    fed = done["stats"]["prompt_tokens"]
    assert fed < len(prompt)
    assert fed % 128 == 0
    assert done["stats"]["generated_tokens"] == 0
    assert done["stats"]["context_used"] == fed
    assert slow.call("generate.current") == {"run": None}
    ids, stats = slow.generate(two, prompt, max_new_tokens=5)
    assert stats["reused_tokens"] == fed
    assert stats["prompt_tokens"] == len(prompt)
    options = ("--tokens", ",".join(map(str, prompt)), "--max-new-tokens", 5)
    assert ids == runner_process.ids(runner_process.run("--model", models[0] / "model.pte", *options))


def test_a_page_that_is_loaded_anew_takes_up_the_answer(slow):
    conversation = new_conversation(slow)
    two = ids_of(slow)[0]
    request = {**ENDLESS, "conversation": conversation, "turn": 1}
    run = slow.call("generate.start", model=two, tokens=PROMPT, **request)["run"]
    current = until(lambda: (now := slow.call("generate.current")) and now.get("ids") and now)
    where = {name: current[name] for name in ("run", "model", "conversation", "turn")}
    assert where == {"run": run, "model": two, "conversation": conversation, "turn": 1}
    slow.call("generate.stop", run=run)
    slow.wait_for("done")
    assert answer_in(slow, conversation)["ids"][: len(current["ids"])] == current["ids"]


def test_what_the_page_saves_meanwhile_costs_no_ids(slow):
    conversation = new_conversation(slow)
    request = {**ENDLESS, "conversation": conversation, "turn": 1}
    run = slow.call("generate.start", model=ids_of(slow)[0], tokens=PROMPT, **request)["run"]
    until(lambda: len(ids_so_far(slow)) > 20)
    turns = [{"role": "user", "text": "One day"}, {"role": "assistant", "text": "so far"}]
    slow.call("conversations.save", conversation={"id": conversation, "title": "New", "turns": turns})
    slow.call("generate.stop", run=run)
    slow.wait_for("done")
    answer = answer_in(slow, conversation)
    assert answer["ids"] == [i for event in slow.events if event["event"] == "token" for i in event["ids"]]
    assert (answer["text"], answer["partial"]) == ("so far", False)


def test_a_process_that_dies_leaves_the_answer_so_far(run_app, slow, models, tmp_path):
    conversation = new_conversation(slow)
    two = ids_of(slow)[0]
    slow.call("generate.start", model=two, tokens=PROMPT, conversation=conversation, turn=1, **ENDLESS)
    until(lambda: answer_in(slow, conversation).get("ids"))  # long before its end
    slow.kill()
    with run_app(tmp_path, models=models) as reborn:
        (listed,) = reborn.call("conversations.list")["conversations"]
        assert (listed["id"], listed["title"]) == (conversation, "One day")
        answer = answer_in(reborn, conversation)
        assert answer["partial"] is True
        assert answer["model"] == two
        whole, _ = reborn.generate(two, PROMPT, **ENDLESS)
        assert 0 < len(answer["ids"]) < 500
        assert whole[: len(answer["ids"])] == answer["ids"]
        # What was begun goes on from where it ended.
        rest, _ = reborn.generate(two, [*PROMPT, *answer["ids"]], **{**GREEDY, "max_new_tokens": 3})
        assert len(rest) == 3


def test_settings_last_and_are_checked(run_app, tmp_path):
    with run_app(tmp_path) as app:
        before = app.call("settings.get")["settings"]
        changed = app.call("settings.set", settings={"temperature": 0.25, "threads": 2})["settings"]
        assert changed == {**before, "temperature": 0.25, "threads": 2}
        for wrong, sentence in (
            ({"temperature": 11}, "temperature must lie"),
            ({"seed": 0.5}, "Seed must be a whole number"),
            ({"threads": 257}, "threads must lie"),
            ({"theme": "pink"}, "theme must be"),
            ({"colour": 1}, "no setting colour"),
        ):
            with pytest.raises(Refused, match=sentence):
                app.call("settings.set", settings=wrong)
        app.kill()
    with run_app(tmp_path) as app:
        assert app.call("settings.get")["settings"] == changed
        app.kill()
    (tmp_path / "settings.json").write_text("damaged")
    with run_app(tmp_path) as app:
        assert app.call("settings.get")["settings"] == before


def test_conversations_are_listed_saved_and_deleted(app):
    first, second = new_conversation(app), new_conversation(app)
    os_order = [each["id"] for each in app.call("conversations.list")["conversations"]]
    assert {first, second} <= set(os_order)
    text = 'any \u00e4lphabet \U0001f600 "quoted" \\ \u2028 </script>'
    saved = {"id": first, "title": text, "system": None, "turns": [{"role": "user", "text": text}]}
    app.call("conversations.save", conversation=saved)
    assert app.call("conversations.get", id=first)["conversation"] == saved
    app.call("conversations.delete", id=second)
    with pytest.raises(Refused, match="no conversation"):
        app.call("conversations.get", id=second)
    for wrong in ("../settings", "", "a" * 65):
        with pytest.raises(Refused, match="no conversation's id"):
            app.call("conversations.get", id=wrong)


def test_an_answer_whose_conversation_was_deleted_is_not_brought_back(app):
    conversation = new_conversation(app)
    app.call("conversations.delete", id=conversation)
    app.generate(ids_of(app)[0], PROMPT, conversation=conversation, turn=1)
    with pytest.raises(Refused, match="no conversation"):
        app.call("conversations.get", id=conversation)


def test_only_the_apps_own_page_is_served(app):
    assert app.request("GET", "/../../settings.json")[0] == 404
    assert app.request("GET", "/nothing.html")[0] == 404
    assert app.request("POST", "/bridge", "{}", Origin="http://elsewhere.invalid")[0] == 403
    assert app.request("GET", "/", Host="elsewhere.invalid")[0] == 403
    assert os.path.exists(f"/proc/{app.process.pid}")
    for broken in ("", "[]", "{", '{"call": 1}', '{"call": "x", "call": "y"}', "[" * 100_000, "\x00"):
        status, answer = app.request("POST", "/bridge", broken)
        assert status == 200
        assert b'"ok": false' in answer
