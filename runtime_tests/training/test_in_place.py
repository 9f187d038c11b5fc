"""Quantisation-aware training of Hugging Face checkpoints as they are, at one width and at several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edge.checkpoints.convert import build_model, to_checkpoint
from edge.checkpoints.hugging_face import load_checkpoint
from edge.cli import main_guard
from edge.formats import FULL_PRECISION, grid_for_bits
from edge.model.config import NAMED_MODELS
from edge.quantizers.plan import Plan
from edge.training import train
from edge.training.arguments import parse
from edge.training.progress import Progress
from edge.training.stages import stages
from edge.training.start import starting_model, wanted_plan
from runtime_tests.checkpoints.hf_models import logits, reload, save_llama
from runtime_tests.conftest import shared_data
from runtime_tests.tiny import save_tiny, tiny_config, tiny_tokenizer
from runtime_tests.training.tiny_run import Killed, kill_at

TOKENS = torch.arange(3, 43)[None]
NEEDED = ["--output", "out", "--data", "a.txt", "--eval-data", "b.txt"]
MIXED = ["--mixed", "layers.0.*=4", "*.down_proj=16", "--embedding-bits", "8"]


def command(out: Path, text: Path, model: Path, *words: str, steps: int = 2) -> list[str]:
    flags = ["--context=16", "--batch-size=4", f"--steps={steps}", "--save-steps=2", "--use_cpu=True"]
    data = ["--data", f"{text}:1000", "--eval-data", f"{text}:200", "--model", str(model)]
    return ["--output", str(out), *data, *flags, "--bits=2", *words]


def refusal(capsys: pytest.CaptureFixture, *words: str) -> str:
    """Runs the command line, which must end with 2, and returns its one line on standard error."""
    with pytest.raises(SystemExit) as stop:
        main_guard(lambda: train.main([str(word) for word in words]))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    return said


def save_hf(directory: Path, tied: bool, sharded: bool = False) -> Path:
    """As transformers writes it, in bfloat16, with a tokenizer."""
    model = save_llama(directory, vocab_size=304, tie_word_embeddings=tied)
    model.bfloat16().save_pretrained(directory, max_shard_size="20KB" if sharded else "1GB")
    if sharded:
        (directory / "model.safetensors").unlink()
    (directory / "tokenizer.json").write_bytes(tiny_tokenizer().read_bytes())
    return directory


@pytest.mark.parametrize(("tied", "sharded"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("words", [[], MIXED], ids=["2 bits", "mixed"])
def test_a_llama_of_transformers_is_trained_in_place(
    tied: bool, sharded: bool, words: list[str], text: Path, tmp_path: Path
) -> None:
    source = save_hf(tmp_path / "full", tied, sharded)
    with torch.no_grad():  # the teacher, as it were: what training starts from is what transformers computes
        start = build_model(load_checkpoint(source))(TOKENS)
    torch.testing.assert_close(start, logits(reload(source), TOKENS), atol=1e-4, rtol=0)
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    assert train.main(command(tmp_path / "low", text, source, *words)) == 0
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    low = load_checkpoint(tmp_path / "low")
    assert low.config == load_checkpoint(source).config
    assert low.config.tied_embedding is tied
    tables = {"embed_tokens"} if tied else {"embed_tokens", "lm_head"}
    assert tables <= low.alphas.keys() if words else not tables & low.alphas.keys()
    assert low.plan.name == ("mixed" if words else "int2")


def test_tinystories_is_trained_in_place(text: Path, tmp_path: Path) -> None:
    source = shared_data("TinyStories-656K")
    assert train.main(command(tmp_path / "low", text, source, *MIXED)) == 0
    low, full = load_checkpoint(tmp_path / "low"), load_checkpoint(source)
    assert low.config == full.config
    assert low.weights.keys() == full.weights.keys()
    assert low.plan.of("layers.1.self_attn.q_proj").bits == 2
    assert (tmp_path / "low" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


def test_a_killed_mixed_run_resumes_bit_for_bit(text: Path, tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "full", tied_embedding=False)
    train.main(command(tmp_path / "straight", text, source, *MIXED, steps=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_step_end", kill_at(3))
        with pytest.raises(Killed):
            train.main(command(tmp_path / "out", text, source, *MIXED, steps=4))
    for other in (["--embedding-bits=4"], ["--mixed", "layers.0.*=3"]):
        with pytest.raises(
            ValueError,
            match=r"holds a run that was begun with --(embedding-bits 8|mixed layers\.0\.\*=4 \*\.d)",
        ):
            train.main(command(tmp_path / "out", text, source, *MIXED, *other, steps=4))
    train.main(command(tmp_path / "out", text, source, *MIXED, steps=4))
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "out"))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    configs = [(tmp_path / name / "config.json").read_text() for name in ("straight", "out")]
    assert configs[0] == configs[1]


def test_a_mixed_checkpoint_goes_on_as_it_was_and_not_otherwise(text: Path, tmp_path: Path) -> None:
    plan = Plan(grid_for_bits(2), {"layers.1.mlp.up_proj": FULL_PRECISION}, grid_for_bits(8))
    source = save_tiny(tmp_path / "mixed", plan=plan)
    same = ["--mixed", "layers.1.mlp.up_proj=16", "--embedding-bits=8"]
    model, _ = starting_model(parse(command(tmp_path / "out", text, source, *same))[0])
    saved, begun = load_checkpoint(source), to_checkpoint(model, None)
    for before, after in ((saved.weights, begun.weights), (saved.alphas, begun.alphas)):
        assert before.keys() == after.keys()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    for words in ([], same[:2], same[2:], ["--mixed", "layers.0.mlp.up_proj=16", "--embedding-bits=8"]):
        with pytest.raises(
            ValueError, match=r"mixed was trained at 2 bits, 16 in layers\.1\.mlp\.up_proj, 8"
        ):
            train.main(command(tmp_path / "out", text, source, *words))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed"]


def test_what_does_not_fit_is_refused(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = save_tiny(tmp_path / "full")
    start = command(tmp_path / "out", text, source)
    assert "layers.9.* matches no linear; there are layers.0.mlp.down_proj, " in refusal(
        capsys, *start, "--mixed", "layers.9.*=4"
    )
    assert "leave no linear at 2 bits" in refusal(capsys, *start, "--mixed", "*=16")
    assert "takes PATTERN=BITS, as in 'layers.0.*=4', not 'layers.0.*'" in refusal(
        capsys, *start, "--mixed", "layers.0.*"
    )
    assert "layers.0.*=8: no weight format has 8 bits" in refusal(capsys, *start, "--mixed", "layers.0.*=8")
    assert "no weight format has 2 bits; choose one of 4, 8, 16" in refusal(
        capsys, *start, "--embedding-bits", "2"
    )
    for words in (MIXED[:2], MIXED[3:]):
        assert "are for low-bit models: give --bits 4, 3, 2" in refusal(capsys, *start, "--bits=16", *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_tokenizer_of_another_model_is_refused(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source = save_tiny(tmp_path / "large", vocab_size=900)
    (source / "tokenizer.json").unlink()
    said = refusal(capsys, *command(tmp_path / "out", text, source, "--tokenizer", str(tiny_tokenizer())))
    assert "has 304 entries and the model 900: they do not belong together" in said
    said = refusal(capsys, *command(tmp_path / "out", text, source))
    assert "large has no tokenizer; name one with --tokenizer" in said


def test_two_stages_are_refused_before_the_first(text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(NAMED_MODELS, "tiny", tiny_config())
    words = [
        "--shape=tiny",
        "--tokenizer",
        str(tiny_tokenizer()),
        "--bits=2",
        "--qat-fraction=0.5",
        "--steps=4",
    ]
    words += ["--output", str(tmp_path / "out"), "--data", str(text), "--eval-data", str(text)]
    assert "layers.2.* matches no linear" in refusal(capsys, *words, "--mixed", "layers.2.*=4")
    assert list(tmp_path.iterdir()) == []
    config = parse([*words, *MIXED])[0]
    full, low = stages(config)
    assert (full.bits, full.mixed, full.embedding_bits) == (16, None, 16)
    assert (low.bits, low.mixed, low.embedding_bits) == (2, MIXED[1:3], 8)
    assert wanted_plan(low, tiny_config()) != wanted_plan(full, tiny_config()) == Plan()


def test_an_unmixed_checkpoint_is_written_as_ever(text: Path, tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "full")
    train.main(command(tmp_path / "low", text, source))
    hf = json.loads((tmp_path / "low" / "config.json").read_text())
    assert {key for key in hf if "bits" in key} == {"w_bits"}
    names = set(load_file(tmp_path / "low" / "model.safetensors"))
    alphas = {name for name in names if name.endswith(".weight_clip_val")}
    assert names - alphas == set(load_file(source / "model.safetensors"))
    assert len(alphas) == 7 * tiny_config().n_layers


GEMMA = {
    "norms": "around",
    "activation": "gelu",
    "layer_kinds": ("local", "full"),
    "window": 5,
    "embedding_scale": 6.0,
}
#: The parts of each family, and what stands for them in the trained checkpoint.
FAMILIES = {
    "mistral": ({"layer_kinds": ("local", "local"), "window": 5}, None),
    "qwen2": ({"qkv_bias": True}, "self_attn.q_proj.bias"),
    "qwen3": ({"qk_norm": "head"}, "self_attn.q_norm.weight"),
    "smollm3": ({"layer_kinds": ("full", "nope")}, None),
    "olmo2": ({"norms": "after", "qk_norm": "whole"}, "post_feedforward_layernorm.weight"),
    "gemma2": (GEMMA | {"attention_cap": 9.0, "final_cap": 5.0}, "pre_feedforward_layernorm.weight"),
    "gemma3_text": (GEMMA | {"qk_norm": "head", "local_rope_theta": 900.0}, "self_attn.k_norm.weight"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_trained_and_a_killed_run_ends_the_same(family: str, text: Path, tmp_path: Path) -> None:
    parts, trained = FAMILIES[family]
    source = save_tiny(tmp_path / "full", **parts)
    train.main(command(tmp_path / "straight", text, source, steps=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_step_end", kill_at(3))
        with pytest.raises(Killed):
            train.main(command(tmp_path / "out", text, source, steps=4))
    train.main(command(tmp_path / "out", text, source, steps=4))
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "out"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    if trained is not None:
        name = f"model.layers.0.{trained}"
        assert not torch.equal(first[name], load_file(source / "model.safetensors")[name])
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == family
    assert load_checkpoint(tmp_path / "out").config == load_checkpoint(source).config
