"""ParetoQ's recipe: presets, two stages in one command, distillation, and what saves memory and time."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from edge.formats import BITS_CHOICES, grid_for_bits
from edge.model.config import NAMED_MODELS
from edge.model.decoder import Decoder
from edge.model.tokenizer import Tokenizer
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat
from edge.training import train
from edge.training.arguments import parse
from edge.training.divergence import Diverged
from edge.training.loss import NextTokenLoss
from edge.training.stages import stages
from edge.training.teacher import teacher_of
from edge.training.train_config import TrainConfig
from edge.training.trainer_arguments import training_arguments
from runtime_tests.tiny import save_tiny, tiny_config, tiny_tokenizer

NEEDED = ["--output", "out", "--data", "a.txt", "--eval-data", "b.txt"]


def parsed(*words: str) -> TrainConfig:
    return parse([*NEEDED, *words])[0]


def tiny_model(seed: int = 0, bits: float = 16, **changes: int) -> Decoder:
    model = Decoder(tiny_config(**changes)).reset_parameters(seed)
    return (model if bits == 16 else prepare_qat(model, Plan(grid_for_bits(bits)))).train()


def some_tokens() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(tiny_config().vocab_size, (2, 17), generator=generator)


def gradients(module: NextTokenLoss, tokens: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    module(tokens)["loss"].backward()
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("bits", BITS_CHOICES)
def test_paretoq_is_the_published_schedule(bits):
    config = parsed("--preset", "paretoq", "--bits", str(bits))
    published = {1: (2e-5, 120_000), 1.58: (2e-5, 120_000), 2: (2e-5, 120_000), 3: (1e-5, 40_000)}
    published |= {4: (1e-5, 40_000), 16: (5e-4, 480_000)}
    assert (config.learning_rate, config.steps) == published[bits]
    assert (config.context, config.warmup_steps) == (2048, 1000 if bits == 16 else 0)
    assert config.batch_size == (32 if bits == 16 else 8)
    arguments = training_arguments(config, ["--use_cpu", "True"], "out")
    assert (arguments.bf16, arguments.weight_decay) == (True, 0.1 if bits == 16 else 0.0)
    assert arguments.lr_scheduler_type == "cosine"


def test_a_flag_that_is_given_stands_before_its_preset():
    config = parsed("--preset=paretoq", "--bits=2", "--learning-rate", "0.5", "--batch_size=3")
    assert (config.learning_rate, config.batch_size, config.context) == (0.5, 3, 2048)
    arguments = training_arguments(config, ["--weight_decay=0.7", "--bf16", "False", "--use_cpu=True"], "out")
    assert (arguments.weight_decay, arguments.bf16) == (0.7, False)


def test_the_second_moment_forgets_as_in_the_published_scripts():
    betas = [training_arguments(parsed("--preset=paretoq", "--bits", b), ["--use_cpu=True"], "o").adam_beta2
             for b in ("16", "4", "2")]  # fmt: skip
    assert betas == [0.95, 0.999, 0.999]
    assert training_arguments(parsed("--bits=2"), ["--use_cpu=True"], "o").adam_beta2 == 0.95


def test_small_has_a_rate_for_every_regime():
    assert [parsed("--bits", b).learning_rate for b in ("16", "4", "3", "2", "1.58", "1")] == [
        2e-3, 3e-4, 3e-4, 1e-3, 1e-3, 1e-3,
    ]  # fmt: skip


def test_a_budget_of_tokens_becomes_steps():
    config = parsed("--tokens", "1e6", "--context", "100", "--batch-size", "4")
    (alone,) = stages(config)
    assert alone.steps == 2500
    assert [stage.steps for stage in stages(config, batches_per_step=16)] == [157]  # 156.25, rounded up


def test_ninety_to_ten_in_one_command():
    config = parsed(
        "--tokens=1e9", "--qat-fraction=0.1", "--bits=2", "--context=100", "--batch-size=100",
        "--tokenizer=t", "--shape=350M", "--distill=0.5", "--learning-rate=1e-4",
    )  # fmt: skip
    full, low = stages(config)
    assert (full.steps, low.steps) == (90_000, 10_000)
    assert (full.bits, full.output, full.shape, full.model) == (16, "out-full", "350M", None)
    assert (full.learning_rate, full.distill) == (2e-3, 0)
    assert (low.bits, low.output, low.shape, low.model) == (2, "out", None, "out-full")
    assert (low.learning_rate, low.distill) == (1e-4, 0.5)
    assert (full.skip_examples, low.skip_examples) == (0, 9_000_000)
    slower, same = stages(replace(config, full_learning_rate=5e-4))
    assert (slower.learning_rate, same) == (5e-4, low)
    for stage in (full, low):
        assert stages(stage) == [stage]


def command(out: Path, text: Path, *words: str) -> list[str]:
    flags = ["--context=16", "--batch-size=4", "--save-steps=4", "--use_cpu=True", "--preset=small"]
    return ["--output", str(out), "--data", str(text), "--eval-data", f"{text}:200", *flags, *words]


def test_one_command_trains_what_two_would(tmp_path, text, monkeypatch, capsys):
    monkeypatch.setitem(NAMED_MODELS, "tiny", tiny_config())
    tokenizer = save_tiny(tmp_path / "any") / "tokenizer.json"
    start = ["--tokenizer", str(tokenizer), "--shape=tiny"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert train.main(command(one, text, *start, "--bits=2", "--steps=10", "--qat-fraction=0.2")) == 0
    train.main(command(tmp_path / "full", text, *start, "--steps=8"))
    behind = ["--skip-examples=32", "--model", str(tmp_path / "full")]  # 8 steps of 4
    train.main(command(two, text, "--bits=2", "--steps=2", *behind))
    for a, b in ((one, two), (tmp_path / "one-full", tmp_path / "full")):
        first, second = (load_file(path / "model.safetensors") for path in (a, b))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    capsys.readouterr()
    again = command(one, text, *start, "--bits=2", "--steps=10", "--qat-fraction=0.2")
    assert train.main(again) == 0
    assert capsys.readouterr().out.count("is finished") == 2


def test_a_first_stage_that_diverges_goes_on_at_a_rate_of_its_own(tmp_path, text, monkeypatch, capsys):
    monkeypatch.setitem(NAMED_MODELS, "tiny", tiny_config())
    tokenizer = save_tiny(tmp_path / "any") / "tokenizer.json"
    words = ["--tokenizer", str(tokenizer), "--shape=tiny", "--bits=2", "--steps=10", "--qat-fraction=0.2"]
    out = tmp_path / "out"
    with pytest.raises(Diverged, match="with a lower --full-learning-rate than 1e\\+30"):
        train.main(command(out, text, *words, "--full-learning-rate=1e30", "--logging_steps=1"))
    assert train.main(command(out, text, *words, "--full-learning-rate=1e-3", "--logging_steps=1")) == 0
    rates = [
        json.loads((tmp_path / f"{name}-checkpoints" / "run.json").read_text())
        for name in ("out-full", "out")
    ]
    assert [record["flags"]["learning_rate"] for record in rates] == [1e-3, 1e-3]


def test_text_that_is_trained_on_and_measured_on_is_pointed_out(tmp_path, text, capsys):
    save_tiny(tmp_path / "full")
    words = ["--model", str(tmp_path / "full"), "--steps=1"]
    train.main(command(tmp_path / "one", text, *words))
    assert f"warning: {text} is --data and --eval-data" in capsys.readouterr().out
    shutil.copy(text, tmp_path / "held-out.txt")
    train.main([*command(tmp_path / "two", text, *words), "--eval-data", str(tmp_path / "held-out.txt")])
    assert "warning:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tokens=1e6", "--steps=5"], "give --steps or --tokens, not both"),
        (["--tokens=0"], "--tokens must lie in 1..2^63, not 0"),
        (["--tokens=1e300"], "--tokens must lie in 1..2^63, not 1e+300"),
        (["--skip-examples=-1"], "--skip-examples must be at least 0, not -1"),
        (["--tokens=many"], "argument --tokens: invalid float value: 'many'"),
        (["--bits=2", "--qat-fraction=0.1"], "--qat-fraction divides a budget: give --tokens or --steps"),
        (["--bits=2", "--qat-fraction=1.5", "--steps=9"], "--qat-fraction must lie between 0 and 1, not 1.5"),
        (["--qat-fraction=0.1", "--steps=9"], "--qat-fraction is for low-bit models: give --bits 4"),
        (["--bits=2", "--qat-fraction=0.01", "--steps=9"], "0.01 of 9 steps leaves a stage without steps"),
        (["--preset=huge"], "unknown --preset huge; known are small, paretoq"),
        (["--distill=2", "--model=m"], "--distill must lie in 0..1, not 2"),
        (["--distill=0.5"], "--distill needs a --teacher, or a full-precision --model to start from"),
        (["--teacher=m", "--model=m"], "--teacher needs --distill"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        stages(parsed(*words))


def tokenizer_of_other_words(directory):
    """As large as the tiny one, and no entry but the markers is where it was."""
    told = json.loads(tiny_tokenizer().read_text())
    markers = {entry["content"] for entry in told["added_tokens"]}
    words = [word for word in told["model"]["vocab"] if word not in markers]
    ids = [told["model"]["vocab"][word] for word in words]
    told["model"]["vocab"] |= dict(zip(words, ids[1:] + ids[:1], strict=True))
    (directory / "foreign.json").write_text(json.dumps(told))
    return directory / "foreign.json"


def test_a_teacher_that_does_not_fit_is_refused(tmp_path):
    tokenizer = Tokenizer(tiny_tokenizer())
    two = save_tiny(tmp_path / "two", grid_for_bits(2))
    config = TrainConfig("o", ["a"], ["b"], bits=2, distill=0.5, teacher=str(two), context=16)
    with pytest.raises(ValueError, match=r"learns from full precision, and .*two has 2 bits"):
        teacher_of(config, tiny_model(), tokenizer)
    other = save_tiny(tmp_path / "other")
    hf = json.loads((other / "config.json").read_text())
    config = TrainConfig("o", ["a"], ["b"], bits=2, distill=0.5, teacher=str(other), context=10_000)
    with pytest.raises(ValueError, match=f"reads {hf['max_position_embeddings']} tokens, fewer than"):
        teacher_of(config, tiny_model(), tokenizer)
    config = TrainConfig("o", ["a"], ["b"], bits=2, distill=0.5, teacher="default", context=16)
    with pytest.raises(ValueError, match=r"knows 4096 tokens, the model \d+; both must use one tokenizer"):
        teacher_of(config, tiny_model(), tokenizer)
    foreign = tokenizer_of_other_words(tmp_path)
    config = TrainConfig("o", ["a"], ["b"], bits=2, distill=0.5, teacher=str(other), context=16)
    with pytest.raises(ValueError, match=r"id 3 is '.*' in .*foreign.json and '!' in the tokenizer of"):
        teacher_of(config, tiny_model(), Tokenizer(foreign))


def test_distillation_is_the_weighted_distance_to_the_teacher():
    tokens, student, teacher = some_tokens(), tiny_model(0, bits=2), tiny_model(1)
    loss = NextTokenLoss(student, copy.deepcopy(teacher), 0.25)(tokens)["loss"]
    with torch.no_grad():
        mine = student(tokens[:, :-1]).flatten(0, 1).double().softmax(-1)
        its = teacher(tokens[:, :-1]).flatten(0, 1).double().softmax(-1)
    distance = (its * (its / mine).log()).sum(-1).mean()
    surprise = -mine.gather(1, tokens[:, 1:].reshape(-1, 1)).log().mean()
    assert distance > 0.01
    assert loss.item() == pytest.approx(float(0.75 * surprise + 0.25 * distance), rel=1e-5)


def test_only_the_student_learns():
    student, teacher = tiny_model(0, bits=2), tiny_model(1)
    module = NextTokenLoss(student, teacher, 1.0)
    before = copy.deepcopy(teacher.state_dict())
    found = gradients(module, some_tokens())
    assert all(bool(grad.any()) for grad in found.values())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert module.state_dict().keys() == NextTokenLoss(tiny_model(0, bits=2)).state_dict().keys()
    torch.optim.AdamW(module.parameters(), lr=1.0).step()
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_a_student_equal_to_its_teacher_has_nothing_to_learn():
    module = NextTokenLoss(tiny_model(0), tiny_model(0), 1.0)
    assert max(float(grad.abs().max()) for grad in gradients(module, some_tokens()).values()) < 1e-6


def test_held_out_loss_knows_no_teacher():
    tokens, student = some_tokens(), tiny_model(0)
    loss = NextTokenLoss(student, tiny_model(1), 1.0).eval()(tokens)["loss"]
    plain = F.cross_entropy(student(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert torch.equal(loss, plain)


def test_a_distilled_run_and_its_log(tmp_path, text):
    full = save_tiny(tmp_path / "full")
    words = ["--model", str(full), "--bits=2", "--steps=4", "--distill=0.5", "--logging_steps=2"]
    assert train.main(command(tmp_path / "out", text, *words)) == 0
    log = (tmp_path / "out-checkpoints" / "monitor.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in log]
    assert any("loss" in r for r in records)
    assert not any("perplexity" in r for r in records if "loss" in r)
    assert any("eval_perplexity" in r for r in records)


class Kept:
    """Bytes that autograd keeps from the forward pass to the backward, parameters left out."""

    def __init__(self, module: NextTokenLoss) -> None:
        self.own = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self.storages: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.own:
            self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self.storages.values())


def kept_bytes(module: NextTokenLoss) -> int:
    kept = Kept(module)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        loss = module(some_tokens())["loss"]
    held = kept.bytes
    loss.backward()
    return held


@pytest.mark.parametrize("bits", [16, 2])
def test_gradient_checkpointing_keeps_less_and_changes_nothing(bits):
    plain, saving = NextTokenLoss(tiny_model(0, bits)), NextTokenLoss(tiny_model(0, bits))
    saving.activation_checkpointing_enable()
    wanted, found = gradients(plain, some_tokens()), gradients(saving, some_tokens())
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert plain.state_dict().keys() == saving.state_dict().keys()
    assert kept_bytes(saving) < 0.5 * kept_bytes(plain)


def test_the_flag_reaches_the_model(tmp_path, text, monkeypatch):
    asked, enable = [], NextTokenLoss.activation_checkpointing_enable

    def recorded(self, *args, **kwargs):
        asked.append(1)
        enable(self, *args, **kwargs)

    monkeypatch.setattr(NextTokenLoss, "activation_checkpointing_enable", recorded)
    words = ["--model", str(save_tiny(tmp_path / "full")), "--steps=1", "--gradient_checkpointing", "True"]
    assert train.main(command(tmp_path / "out", text, *words)) == 0
    assert asked


def test_a_compiled_step_is_one_graph_with_the_same_gradients():
    """One layer: Inductor takes seconds for each."""
    torch.compiler.reset()
    eager, compiled = (NextTokenLoss(tiny_model(0, bits=2, n_layers=1)) for _ in range(2))
    wanted = gradients(eager, some_tokens())
    torch.compile(compiled, fullgraph=True)(some_tokens())["loss"].backward()
    for name, parameter in compiled.named_parameters():
        assert torch.allclose(parameter.grad, wanted[name], rtol=1e-4, atol=1e-7), name
