"""Sweeps: which runs a plan names, in which order they run, and what a run records."""

from __future__ import annotations

import json
import math
import time
from concurrent.futures import Executor, Future

import pytest

from edge.scaling.records import PostQuantization, Record, read_records
from edge.scaling.sweep import __main__ as command
from edge.scaling.sweep import schedule
from edge.scaling.sweep.__main__ import room_of
from edge.scaling.sweep.plan import read_plan
from edge.scaling.sweep.run import Room, run
from edge.scaling.sweep.schedule import Sweep
from edge.scaling.sweep.tasks import PostTask, TrainTask, parameters
from edge.training.divergence import Diverged
from runtime_tests.scaling.some_records import SHAPE, record
from runtime_tests.tiny import TEXT

SIZE = {"dim": 16, "layers": 1, "ffn_dim": 16, "head_dim": 8}
RATES = {"learning_rate": 1e-2, "low_bit_learning_rate": 1e-3}


def plan_words(**changes):
    words = {
        "text": {
            "name": "a text", "data": ["text.txt"], "held_out": "text.txt:2000",
            "tokenizer_data": ["text.txt"], "vocab_size": 300,
        },
        "context": 32,
        "batch_size": 2,
        "sizes": {"small": SIZE | RATES},
        "trained": [
            {
                "sizes": ["small"], "tokens_per_parameter": [1], "weight_bits": [2, 16],
                "low_bit_shares": [0.5, 1],
            },
        ],
        "post": [{"methods": ["rtn"], "weight_bits": [4, 2], "groups": [None, 32]}],
    }  # fmt: skip
    return words | changes


@pytest.fixture
def plan_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT * 4)

    def write(**changes):
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(plan_words(**changes)))
        return path

    return write


def test_a_plan_lists_each_run_once_and_parents_first(plan_file):
    tasks = read_plan(plan_file()).tasks()
    trained = [task for task in tasks if isinstance(task, TrainTask)]
    bits = [(t.training.weight_bits, t.training.tokens, t.training.low_bit_tokens) for t in trained]
    # 16 * (16 * 4 + 3 * 16) + 3 * 16 = 1,840 parameters, 29 steps of 64 tokens; half of them are 14 or 15
    assert parameters(trained[0].shape) == 1840
    assert bits == [(16, 14 * 64, 0), (2, 29 * 64, 15 * 64), (2, 29 * 64, 29 * 64), (16, 29 * 64, 0)]
    assert trained[1].parent == trained[0]
    assert (trained[1].steps, trained[2].steps, trained[2].parent) == (15, 29, None)
    assert len(tasks) == len(set(tasks)) == 4 + 2 * 4  # both full-precision models in four ways
    assert len({task.name for task in tasks}) == len({task.key("") for task in tasks}) == len(tasks)


def trained(**changes):
    return {"trained": [{"sizes": ["small"], "tokens_per_parameter": [1]} | changes]}


def post(**changes):
    return {"post": [{"methods": ["rtn"], "weight_bits": [4]} | changes]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sizes": {"small": SIZE | RATES | {"head_dim": 5}}}, "heads of 5 do not fill the 16 columns"),
        (trained(sizes=["big"]), "the size big is trained and not described"),
        (trained(tokens_per_parameter=[0]), "tokens_per_parameter.0: Input should be greater"),
        (trained(weight_bits=[5]), "no weight format has 5"),
        (trained(kv_bits=9), "kv_bits must lie in 2..8"),
        (trained(method="x"), "unknown method x; known are paretoq"),
        (post(methods=["best"]), "unknown method best; known are rtn"),
        (post(weight_bits=[1]), "no weight format has 1"),
        (post(groups=[33]), "groups have 32, .* not 33"),
        ({"seed": 3}, "seed: Extra inputs are not permitted"),
    ],
)
def test_plans_that_cannot_be(plan_file, change, said):
    with pytest.raises(ValueError, match=r"plan.json.*" + said):
        read_plan(plan_file(**change))


def test_a_missing_plan(tmp_path):
    with pytest.raises(ValueError, match="there is no plan"):
        read_plan(tmp_path / "plan.json")


class Now(Executor):
    """Run what is submitted at once, here."""

    def submit(self, function, /, *args):
        future = Future()
        try:
            future.set_result(function(*args))
        except ValueError as error:
            future.set_exception(error)
        return future


def fake_run(task, room):
    """Record what a run would: the loss is 3 for training, and .5 more where its model was quantised."""
    if isinstance(task, TrainTask):
        return record(**task.training.model_dump()).model_copy(
            update={"shape": task.shape, "text": room.text}
        )
    post = PostQuantization(**task.quantizer.model_dump(), trained_loss=3.0)
    made = record(3.5, post=post, **task.parent.training.model_dump())
    return made.model_copy(update={"shape": task.shape, "text": room.text})


def sweep_of(plan, directory, tasks=None, done=None, seconds=1.0):
    room = Room(plan, directory, directory / "tokenizer.json", "some text", 1000, "a computer", "")
    tasks = tasks or plan.tasks()
    return Sweep(room, tasks, dict.fromkeys(tasks, seconds), done or set(), directory / "records.jsonl")


def test_a_sweep_goes_on_where_it_ended(plan_file, tmp_path, monkeypatch):
    plan, said = read_plan(plan_file()), []
    first = sweep_of(plan, tmp_path)
    ended = 0

    def ends_after_five(*args):
        nonlocal ended
        ended += 1
        if ended > 5:
            raise KeyboardInterrupt
        return fake_run(*args)

    monkeypatch.setattr(schedule, "run", ends_after_five)
    with pytest.raises(KeyboardInterrupt):
        first.go(Now(), 1, math.inf, said.append)
    monkeypatch.setattr(schedule, "run", fake_run)
    kept = read_records([first.records])
    assert len(kept) == 5
    again = sweep_of(plan, tmp_path, done={one.key for one in kept})
    again.go(Now(), 2, math.inf, said.append)
    made = read_records([first.records])  # refuses a run that was done twice
    assert {one.key for one in made} >= {task.key("some text") for task in plan.tasks()}
    assert len(made) == len(plan.tasks()) == 12
    assert {one.loss for one in made if one.post} == {3.5}


def test_a_model_that_was_removed_is_trained_again_for_what_needs_it(plan_file, tmp_path):
    plan = read_plan(plan_file())
    tasks = plan.tasks()
    done = {task.key("some text") for task in tasks if isinstance(task, TrainTask)}
    waiting = sweep_of(plan, tmp_path, done=done).waiting
    assert [type(task) for task in waiting] == [TrainTask] * 2 + [PostTask] * 8
    assert {task.parent for task in waiting[2:]} == set(waiting[:2])
    everything = {task.key("some text") for task in tasks}
    assert sweep_of(plan, tmp_path, done=everything).waiting == []


def test_a_cheap_task_waits_for_what_it_starts_from(plan_file, tmp_path, monkeypatch):
    ran = []

    def run_and_note(task, room):
        ran.append(task)
        return fake_run(task, room)

    monkeypatch.setattr(schedule, "run", run_and_note)
    plan = read_plan(plan_file())
    sweep = sweep_of(plan, tmp_path)
    sweep.seconds.update({task: 0.1 for task in plan.tasks() if task.parent is not None})
    sweep.waiting.sort(key=lambda task: sweep.seconds[task])
    assert sweep.waiting[0].parent is not None
    sweep.go(Now(), 2, math.inf, print)
    assert len(ran) == 12
    assert all(task.parent is None or ran.index(task.parent) < ran.index(task) for task in ran)


def test_nothing_starts_that_would_end_too_late(plan_file, tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "run", fake_run)
    sweep = sweep_of(read_plan(plan_file()), tmp_path, seconds=100.0)
    sweep.go(Now(), 1, time.monotonic() + 50, print)
    assert not sweep.records.exists()


def test_what_starts_from_a_failed_run_is_left_out(plan_file, tmp_path, monkeypatch):
    plan, said = read_plan(plan_file()), []

    def diverges(task, room):
        if task.parent is None and task.training.low_bit_tokens == 0:
            raise Diverged("the loss is not finite")
        return fake_run(task, room)

    monkeypatch.setattr(schedule, "run", diverges)
    sweep = sweep_of(plan, tmp_path)
    sweep.go(Now(), 1, math.inf, said.append)
    assert len(read_records([sweep.records])) == 1  # two bits from scratch
    assert len(sweep.failures) == 11
    assert len(list((tmp_path / "failed").iterdir())) == 2
    assert sum("failed" in line for line in said) == 2
    assert (sweep.ended, sweep.total) == (12, 0)
    monkeypatch.setattr(schedule, "run", fake_run)
    sweep_of(plan, tmp_path).go(Now(), 1, math.inf, said.append)
    assert not list((tmp_path / "failed").iterdir())


def test_failed_runs_are_told_by_the_exit_code(plan_file, tmp_path, monkeypatch, capsys):
    def diverges(task, room):
        raise Diverged("the loss is not finite")

    monkeypatch.setattr(schedule, "run", diverges)
    monkeypatch.setattr(command, "processes", lambda workers: Now())
    assert command.main([f"--plan={plan_file()}", f"--output={tmp_path / 'sweep'}", "--workers=1"]) == 1
    assert "12 runs failed; see" in capsys.readouterr().out.replace("\n", " ")


def test_a_run_trains_quantises_and_records(plan_file, tmp_path):
    """The losses are real: a longer training has a lower one, and two bits a higher one than four."""
    plan = read_plan(plan_file())
    room = room_of(plan, tmp_path / "sweep")
    tasks = plan.tasks()
    half, low, scratch, full = (run(task, room) for task in tasks[:4])
    assert half.loss > full.loss
    assert [one.training.low_bit_tokens for one in (half, low, scratch, full)] == [0, 960, 1856, 0]
    assert all(isinstance(one, Record) and one.text == room.text for one in (half, low, scratch, full))
    assert room.is_trained(tasks[3])
    assert not list((room.directory / "models").glob(".*"))  # what was removed is gone
    assert not room.model(tasks[1]).exists()
    ways = [task for task in tasks if isinstance(task, PostTask) and task.parent == tasks[3]]
    four, two = (run(task, room) for task in ways if task.quantizer.group is None)
    assert abs(four.damage) < two.damage / 4
    assert (two.post.trained_loss, two.key) == (full.loss, ways[2].key(room.text))
    assert SHAPE != two.shape == plan.shape(plan.sizes["small"])
