"""Valid checkpoints: every published form loads, and is the same model when written again."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model, to_checkpoint
from edge.checkpoints.hugging_face import load_checkpoint
from edge.checkpoints.tensor_files import HEAD_WEIGHT
from edge.checkpoints.write import save_checkpoint
from edge.formats import FULL_PRECISION, LINEAR_GRIDS, Grid
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import qat_linears
from runtime_tests.checkpoints.hf_models import edit_config, logits, random_llama, reload, save_llama
from runtime_tests.conftest import shared_data
from runtime_tests.tiny import save_tiny, tiny_checkpoint

TRAINABLE = [grid for grid in LINEAR_GRIDS if grid.is_quantized]
TOKENS = torch.arange(40)[None]


def our_logits(directory: Path) -> Tensor:
    with torch.no_grad():
        return build_model(load_checkpoint(directory))(TOKENS)


def edit_weights(directory: Path, remove: tuple[str, ...] = (), **changes: Tensor) -> Path:
    path = directory / "model.safetensors"
    tensors = {name: t.clone() for name, t in load_file(path).items() if name not in remove}
    save_file(tensors | {name.replace("__", "."): t for name, t in changes.items()}, path)
    return directory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
def test_dtypes_and_shards(dtype: torch.dtype, shards: bool, tmp_path: Path) -> None:
    random_llama().to(dtype).save_pretrained(tmp_path, max_shard_size="5KB" if shards else "1GB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 3) is shards
    checkpoint = load_checkpoint(tmp_path)
    assert {t.dtype for t in checkpoint.weights.values()} == {torch.float32}
    torch.testing.assert_close(our_logits(tmp_path), logits(reload(tmp_path), TOKENS), atol=1e-4, rtol=0)


def test_old_files_with_rope_buffers_and_no_prefix(tmp_path: Path) -> None:
    save_llama(tmp_path)
    expected = our_logits(tmp_path)
    tensors = {n.removeprefix("model."): t for n, t in load_file(tmp_path / "model.safetensors").items()}
    tensors["layers.0.self_attn.rotary_emb.inv_freq"] = torch.full((5,), torch.nan)
    save_file(tensors, tmp_path / "model.safetensors")
    assert torch.equal(our_logits(tmp_path), expected)


def test_a_head_that_is_the_embedding_counts_as_tied(tmp_path: Path) -> None:
    model = save_llama(tmp_path)
    edit_weights(tmp_path, lm_head__weight=model.model.embed_tokens.weight.detach().clone())
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.config.tied_embedding
    assert HEAD_WEIGHT not in checkpoint.weights


@pytest.mark.parametrize(
    ("flags", "warns"),
    [
        ({"tie_word_embeddings": True}, False),
        ({"tie_word_embeddings": False, "share_embedding": True, "model_type": "mobilellm"}, False),
        ({"tie_word_embeddings": False, "model_type": "mobilellm"}, True),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*serves as its head")
def test_no_head_means_tied(flags: dict, warns: bool, tmp_path: Path) -> None:
    tied = random_llama(tie_word_embeddings=True)
    save_llama(tmp_path)
    edit_config(edit_weights(tmp_path, remove=("lm_head.weight",)), architectures=None, **flags)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoint = load_checkpoint(tmp_path)
    assert any("serves as its head" in str(w.message) for w in caught) is warns
    assert checkpoint.config.tied_embedding
    tied.load_state_dict({f"model.{n}": t for n, t in checkpoint.weights.items()}, strict=False)
    torch.testing.assert_close(our_logits(tmp_path), logits(tied, TOKENS), atol=1e-4, rtol=0)


def test_a_tied_file_that_names_only_the_head(tmp_path: Path) -> None:
    """As TinyStories-656K does."""
    model = save_llama(tmp_path, tie_word_embeddings=True)
    table = model.lm_head.weight.detach().clone()
    edit_weights(tmp_path, remove=("model.embed_tokens.weight",), lm_head__weight=table)
    torch.testing.assert_close(our_logits(tmp_path), logits(model, TOKENS), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied_embedding": False},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 300.0},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
        {"eos_ids": (2, 7)},
    ],
    ids=str,
)
def test_transformers_reads_what_we_write(changes: dict, tmp_path: Path) -> None:
    theirs = logits(reload(save_tiny(tmp_path / "model", **changes)), TOKENS)
    assert theirs.abs().max() > 1
    torch.testing.assert_close(our_logits(tmp_path / "model"), theirs, atol=1e-4, rtol=0)


def test_a_real_model_goes_through_us_back_to_transformers(tmp_path: Path) -> None:
    directory = shared_data("TinyStories-656K")
    save_checkpoint(load_checkpoint(directory), tmp_path / "copy")
    assert torch.equal(logits(reload(tmp_path / "copy"), TOKENS), logits(reload(directory), TOKENS))
    assert (tmp_path / "copy" / "tokenizer.json").read_bytes() == (directory / "tokenizer.json").read_bytes()
    assert (tmp_path / "copy" / "tokenizer_config.json").is_file()


@pytest.mark.parametrize("fmt", [FULL_PRECISION, *TRAINABLE], ids=lambda f: f.name)
def test_a_round_trip_through_the_model_keeps_every_bit(fmt: Grid, tmp_path: Path) -> None:
    save_tiny(tmp_path / "first", fmt, tied_embedding=False)
    checkpoint = load_checkpoint(tmp_path / "first")
    assert checkpoint.plan == Plan(fmt)
    save_checkpoint(to_checkpoint(build_model(checkpoint), checkpoint.tokenizer), tmp_path / "second")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_the_form_that_paretoq_publishes(tmp_path: Path) -> None:
    """weight_clip_val [out, 1] beside each of the seven linears, bf16, no head, ternary as w_bits 0."""
    model = random_llama(tie_word_embeddings=True).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    linears = {n: m for n, m in model.named_modules() if n.endswith("_proj")}
    alphas = {n: torch.rand(m.weight.shape[0], 1, dtype=torch.bfloat16) + 1e-3 for n, m in linears.items()}
    alphas["model.layers.0.mlp.up_proj"][0] = 1e-6  # below the floor: imported as it is
    tensors = load_file(tmp_path / "model.safetensors")
    tensors |= {f"{n}.weight_clip_val": a for n, a in alphas.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    edit_config(tmp_path, w_bits=0)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.plan.name == "ternary"
    assert set(checkpoint.alphas) == {n.removeprefix("model.") for n in linears}
    for name, linear in qat_linears(build_model(checkpoint)).items():
        assert torch.equal(linear.weight_clip_val.detach(), alphas[f"model.{name}"].float())
        assert torch.equal(linear.weight.detach(), linears[f"model.{name}"].weight.float())
    save_checkpoint(to_checkpoint(build_model(checkpoint), None), tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert all(torch.equal(again[name], tensor.float()) for name, tensor in tensors.items())


def test_layer_sharing_survives(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "shared", layer_sharing=True)
    assert load_checkpoint(directory).config.layer_sharing


def test_a_directory_without_tokenizer_has_none(tmp_path: Path) -> None:
    save_llama(tmp_path)
    assert load_checkpoint(tmp_path).tokenizer is None


@pytest.mark.parametrize("rows", [304, 304 + 128])
def test_a_vocabulary_may_be_padded(rows: int, tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "padded", vocab_size=rows)
    assert load_checkpoint(directory).config.vocab_size == rows


def test_both_tokenizer_files_json_first(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "both")
    (directory / "tokenizer.model").write_bytes(b"not read")
    assert load_checkpoint(directory).tokenizer == directory / "tokenizer.json"


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    checkpoint: Checkpoint = tiny_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "half", torch.float16)
    loaded = load_checkpoint(tmp_path / "half")
    assert all(torch.equal(t, checkpoint.weights[n].half().float()) for n, t in loaded.weights.items())
    too_large = {**checkpoint.weights, "norm.weight": checkpoint.weights["norm.weight"] * 1e6}
    with pytest.raises(ValueError, match=r"model.norm.weight: NaN, or values that torch.float16 cannot hold"):
        save_checkpoint(replace(checkpoint, weights=too_large), tmp_path / "large", torch.float16)
    assert not (tmp_path / "large").exists()


def test_half_precision_leaves_learned_scales_alone(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(TRAINABLE[0])
    save_checkpoint(checkpoint, tmp_path / "half", torch.float16)
    assert all(
        torch.equal(a, checkpoint.alphas[n]) for n, a in load_checkpoint(tmp_path / "half").alphas.items()
    )


def test_loading_leaves_the_files_alone(tmp_path: Path) -> None:
    """Training in place must not change the file, from which weights may be mapped."""
    directory = save_tiny(tmp_path / "model")
    shutil.copytree(directory, tmp_path / "before")
    model = build_model(load_checkpoint(directory))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for path in directory.iterdir():
        assert path.read_bytes() == (tmp_path / "before" / path.name).read_bytes()
