"""Tests the log of quantised layers, in runs with and without an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from matplotlib.figure import Figure
from transformers import TrainerControl

from edge.formats import BY_NAME, LINEAR_GRIDS
from edge.quantizers.paretoq import initial_alpha, quantize_codes
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat, qat_linears
from edge.training import monitor_picture, train, trainer_arguments
from edge.training.layer_history import BLOCK, LayerHistory
from edge.training.monitor import PICTURE, RECORD, Monitor, read_records
from edge.training.monitor_picture import draw
from edge.training.progress import Progress
from runtime_tests.tiny import tiny_config, tiny_model
from runtime_tests.training.tiny_run import Killed, kill_at

TRAINABLE = [grid for grid in LINEAR_GRIDS if grid.is_quantized]
TIMES = {"tokens_per_second", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}


def command(out: Path, full: Path, **flags: object) -> list[str]:
    """24 blocks of 16 make an epoch of 6 steps."""
    text = full.parent / "text.txt"
    defaults = {"model": full, "bits": 2, "context": 16, "batch_size": 4, "steps": 6, "save_steps": 3}
    words = [f"--{name}={value}" for name, value in {**defaults, "use_cpu": True, **flags}.items()]
    return ["--output", str(out), "--data", f"{text}:{24 * 17}", "--eval-data", f"{text}:200", *words]


@pytest.mark.parametrize("fmt", TRAINABLE, ids=lambda f: f.name)
def test_a_reading_is_what_a_slow_comparison_finds(fmt):
    """Three states of a weight of several blocks; the last block is not whole."""
    generator = torch.Generator().manual_seed(0)
    columns = 300
    rows = 2 * (BLOCK // columns) + 5
    first = torch.randn(rows, columns, generator=generator)
    states = [(first, initial_alpha(first, fmt))]
    for _ in range(2):
        weight, alpha = states[-1]
        noise = torch.randn(weight.shape, generator=generator)
        scale = 0.8 + 0.3 * torch.rand(alpha.shape, generator=generator)
        states.append((weight + 0.3 * noise, alpha * scale))
    codes = [quantize_codes(weight, alpha, fmt) for weight, alpha in states]

    history = LayerHistory(*states[0], fmt)
    for now in (1, 2):
        reading = history.read(*states[now])
        assert reading.changed == pytest.approx((codes[now] != codes[0]).double().mean().item(), abs=1e-12)
        since = (codes[now] != codes[now - 1]).double().mean().item()
        assert reading.changed_since_last == pytest.approx(since, abs=1e-12)
        assert reading.changed != reading.changed_since_last or now == 1
        moved = (states[now][0] - first).abs().sum() / first.abs().sum()
        assert reading.weights_moved == pytest.approx(moved.item(), rel=0.02)  # of 64 rows of thousands
        alphas = (states[now][1] / states[0][1] - 1).abs().mean()
        assert reading.alpha_moved == pytest.approx(alphas.item(), rel=1e-4)
        shares = [(codes[now] == code).double().mean().item() for code in range(fmt.levels)]
        assert reading.codes == pytest.approx(shares, abs=1e-12)
    again = history.read(*states[2])
    assert (again.changed, again.changed_since_last) == (reading.changed, 0)


def test_a_scale_that_moves_moves_no_weight():
    fmt, weight = BY_NAME["int3"], torch.randn(50, 8)
    history = LayerHistory(weight, initial_alpha(weight, fmt), fmt)
    reading = history.read(weight, 1.15 * initial_alpha(weight, fmt))
    assert (reading.weights_moved, reading.alpha_moved) == (0, pytest.approx(0.15, rel=1e-5))
    assert reading.changed > 0
    reading = history.read(0.8 * weight, initial_alpha(weight, fmt))
    assert (reading.weights_moved, reading.alpha_moved) == (pytest.approx(0.2, rel=1e-5), 0)


def step_of(monitor: Monitor, step: int) -> None:
    state = SimpleNamespace(global_step=step, max_steps=10, is_world_process_zero=True)
    monitor.on_step_end(None, state, TrainerControl())


def test_dead_layers_are_warned_of_once_each(tmp_path: Path, capsys: pytest.CaptureFixture):
    model = prepare_qat(tiny_model(), Plan(BY_NAME["binary"]))
    _still, uniform, *others = qat_linears(model).values()
    monitor = Monitor(model, tmp_path, 1, main_process=True)
    with torch.no_grad():
        uniform.weight.abs_()
        for linear in others:
            linear.weight.neg_()
    step_of(monitor, 1)
    names = list(qat_linears(model))
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"warning: step 1: dead layer, no code has changed since the start: {names[0]}",
        f"warning: step 1: dead layer, all weights have one code: {names[1]}",
    ]
    step_of(monitor, 2)
    assert len(capsys.readouterr().out.splitlines()) == 1
    layers = read_records(tmp_path)[-1]["layers"]
    assert layers[names[0]]["changed"] == 0
    assert layers[names[1]]["codes"] == [0, 1]
    assert layers[names[2]]["changed"] == 1


def test_a_run_writes_lines_a_picture_and_tensorboard(tmp_path: Path, full: Path, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    flags = {"monitor_steps": 2, "logging_steps": 2, "report_to": "tensorboard"}
    train.main(command(out, full, **flags, learning_rate=0.01))
    directory = tmp_path / "out-checkpoints"
    records = read_records(directory)
    readings = [r for r in records if "layers" in r]
    assert [r["step"] for r in readings] == [2, 4, 6]
    assert len(readings[0]["layers"]) == 7 * tiny_config().n_layers
    assert all(0 < layer["changed"] < 1 for layer in readings[-1]["layers"].values())
    logs = [r for r in records if "loss" in r]
    assert [r["step"] for r in logs] == [2, 3, 4, 6]  # 3: no checkpoint without a look at its loss
    assert all(r["perplexity"] == pytest.approx(torch.tensor(r["loss"]).exp().item()) for r in logs)
    assert [r["step"] for r in records if "eval_perplexity" in r] == [3, 6]
    assert (directory / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert "of codes changed since the start" in capsys.readouterr().out

    (events,) = (directory / "runs").iterdir()
    board = EventAccumulator(str(events))
    board.Reload()
    name, layer = next(iter(readings[-1]["layers"].items()))
    assert {"train/loss", "train/perplexity", "train/learning_rate", "train/tokens_per_second"} <= set(
        board.Tags()["scalars"]
    )
    for field in ("changed", "changed_since_last", "weights_moved", "alpha_moved"):
        points = board.Scalars(f"{field}/{name}")
        assert [p.step for p in points] == [2, 4, 6]
        assert points[-1].value == pytest.approx(layer[field])
    assert board.Histograms(f"codes/{name}")[-1].histogram_value.bucket == pytest.approx(layer["codes"])


def test_an_interrupted_run_writes_what_an_uninterrupted_one_does(tmp_path: Path, full: Path):
    flags = {"monitor_steps": 3, "logging_steps": 1, "steps": 8}
    train.main(command(tmp_path / "straight", full, **flags))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_step_end", kill_at(5))
        with pytest.raises(Killed):
            train.main(command(tmp_path / "out", full, **flags))
    with (tmp_path / "out-checkpoints" / RECORD).open("a") as file:
        file.write('{"step": 5, "lo')  # killed in the middle of a line
    train.main(command(tmp_path / "out", full, **flags))
    straight, resumed = (
        [{k: v for k, v in r.items() if k not in TIMES} for r in read_records(tmp_path / name)]
        for name in ("straight-checkpoints", "out-checkpoints")
    )
    assert resumed == straight


def test_lines_are_json_also_where_a_number_is_none(tmp_path: Path):
    monitor = Monitor(tiny_model(), tmp_path, 1, main_process=True)
    state = SimpleNamespace(global_step=1, is_world_process_zero=True)
    monitor.on_log(None, state, TrainerControl(), logs={"loss": 800.0, "perplexity": float("inf")})
    assert json.loads((tmp_path / RECORD).read_text()) == {"step": 1, "loss": 800.0, "perplexity": None}


@pytest.mark.parametrize("layers", [0, 14, 400])
def test_any_number_of_layers_makes_a_picture(tmp_path: Path, layers: int):
    reading = {"changed": 0.1, "alpha_moved": 0.0}
    names = [f"layers.{i // 7}.linear{i % 7}" for i in range(layers)]
    records = [{"step": 1, "loss": 2.0}, {"step": 1, "loss": None}]
    records += [{"step": s, "layers": dict.fromkeys(names, reading)} for s in range(30) if names]
    draw(records, tmp_path / PICTURE)
    assert (tmp_path / PICTURE).stat().st_size > 5000


@pytest.mark.parametrize(
    ("widths", "labels"),
    [((), ["held out"]), ((8, 4, 2), ["held out, 8 bits", "held out, 4 bits", "held out, 2 bits"])],
)
def test_each_width_of_a_parent_has_a_line(widths: tuple[int, ...], labels: list[str]):
    def evaluation(step: int) -> dict[str, float]:
        return {"step": step, "eval_loss": 4.0 - step, **{f"eval_loss_{w}_bits": w - step for w in widths}}

    axes = Figure().subplots()
    monitor_picture._loss(axes, [{"step": 1, "loss": 3.0}, evaluation(1), evaluation(2)])
    training, *held_out = axes.lines
    assert (training.get_label(), [line.get_label() for line in held_out]) == ("training", labels)
    for line, width in zip(held_out, widths or [4], strict=True):
        assert line.get_xydata().tolist() == [[1, width - 1], [2, width - 2]]


def test_a_reporter_that_is_not_installed_is_named(tmp_path: Path, full: Path, monkeypatch):
    monkeypatch.setattr(trainer_arguments, "get_available_reporting_integrations", lambda: [])
    with pytest.raises(ValueError, match=r"--report_to tensorboard is not available.*\[monitor\]"):
        train.main(command(tmp_path / "out", full, report_to="tensorboard"))
    assert list(tmp_path.iterdir()) == []
