"""Invalid checkpoints: one sentence names each fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge.checkpoints.convert import build_model
from edge.checkpoints.hugging_face import load_checkpoint
from edge.formats import BY_NAME
from edge.quantizers import paretoq
from edge.text import first_of
from runtime_tests.checkpoints.hf_models import edit_config, random_llama, save_llama
from runtime_tests.tiny import save_tiny

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
ALPHA = "model.layers.1.mlp.down_proj.weight_clip_val"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A full-precision checkpoint with an untied head and a tokenizer."""
    return save_tiny(tmp_path / "model", tied_embedding=False)


@pytest.fixture
def qat(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "qat", BY_NAME["int2"])


def edit(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """Apply a change to the dictionary of a directory's tensors."""
    path = directory / "model.safetensors"
    tensors = {name: t.clone() for name, t in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)
    return directory


def refusal(directory: Path) -> str:
    """The error message for a directory."""
    with pytest.raises(ValueError, match=r"\S") as raised:
        dict(load_checkpoint(directory).weights)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_fixtures_are_in_order(model: Path, qat: Path) -> None:
    assert load_checkpoint(model).tokenizer is not None
    assert load_checkpoint(qat).alphas


def test_errors_of_config_json_name_the_file(model: Path) -> None:
    edit_config(model, model_type="gpt2")
    assert refusal(model).startswith(f"{model / 'config.json'}: model_type 'gpt2' is not supported")


# Which files there are


def test_no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()
    assert "has no weights that can be read: expected model.safetensors or pytorch_model.bin" in refusal(
        model
    )


@pytest.mark.parametrize("name", ["consolidated.00.pth", "model.gguf"])
def test_weights_of_another_kind(name: str, model: Path) -> None:
    (model / "model.safetensors").rename(model / name)
    assert refusal(model).endswith(f"its index; {name} cannot be read")


def shards(directory: Path) -> list[Path]:
    random_llama().save_pretrained(directory, max_shard_size="20KB")
    return sorted(directory.glob("model-*.safetensors"))


def test_a_shard_is_missing(tmp_path: Path) -> None:
    lost = shards(tmp_path)[1]
    lost.unlink()
    assert f"lacks files that its model.safetensors.index.json lists: {lost.name}" in refusal(tmp_path)


def test_a_shard_lacks_what_the_index_lists(tmp_path: Path) -> None:
    shard = shards(tmp_path)[-1]
    tensors = {name: tensor.clone() for name, tensor in load_file(shard).items()}
    lost = min(tensors)
    del tensors[lost]
    save_file(tensors, shard)
    assert f"lists tensors that its files lack: {lost}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ("{", "is not an index"),
        ("[]", "is not an index"),
        ('{"weight_map": {}}', "weight_map must be an object that lists tensors"),
        ('{"weight_map": {"a": 3}}', "lists 3, which is not the name of a file beside it"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "which is not the name of a file beside it"),
    ],
)
def test_a_bad_index(index: str, sentence: str, model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(index)
    assert sentence in refusal(model)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file(keep: int, model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors is truncated or no safetensors file" in refusal(model)


def test_a_file_of_another_kind(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 20)
    assert "is truncated or no safetensors file" in refusal(model)


# Which tensors there are


def test_missing_tensors_are_named(model: Path) -> None:
    edit(model, lambda t: [t.pop(n) for n in list(t) if "layers.1.mlp" in n])
    names = [f"model.layers.1.mlp.{n}_proj.weight" for n in ("down", "gate", "up")]
    assert f"lacks {', '.join(names)}" in refusal(model)


def test_extra_tensors_are_named(model: Path) -> None:
    edit(model, lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(40)}))
    assert "that config.json does not imply: model.layers.0.self_attn.q_proj.bias" in refusal(model)


def test_more_layers_than_config_json_says(model: Path) -> None:
    edit_config(model, num_hidden_layers=1)
    assert "does not imply: model.layers.1.input_layernorm.weight, model.layers.1.mlp" in refusal(model)


def test_a_name_twice(model: Path) -> None:
    edit(model, lambda t: t.update({"norm.weight": torch.ones(36)}))
    assert "holds model.norm.weight twice" in refusal(model)


def test_many_names_are_cut_short() -> None:
    assert first_of("edcba") == "a, b, c and 2 more"
    assert first_of("cb") == "b, c"


@pytest.mark.parametrize("change", [lambda t: t[:-1].clone(), lambda t: t.T.contiguous(), lambda t: t[None]])
def test_wrong_shapes_are_named(change: Callable[[Tensor], Tensor], model: Path) -> None:
    edit(model, lambda t: t.update({Q_PROJ: change(t[Q_PROJ])}))
    message = refusal(model)
    assert f"wrong shape: {Q_PROJ} [" in message
    assert "where config.json implies [40, 36]" in message


def test_a_vocabulary_of_another_size(model: Path) -> None:
    edit_config(model, vocab_size=300)
    assert "model.embed_tokens.weight [304, 36] where config.json implies [300, 36]" in refusal(model)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8, torch.bool, torch.float64], ids=str)
def test_other_dtypes(dtype: torch.dtype, model: Path) -> None:
    edit(model, lambda t: t.update({Q_PROJ: t[Q_PROJ].to(dtype)}))
    assert f"{Q_PROJ} is {str(dtype)[6:]}; weights must be one of float32, float16, bfloat16" in refusal(
        model
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", [Q_PROJ, "model.norm.weight", "lm_head.weight"])
def test_values_that_are_not_finite(value: float, name: str, model: Path) -> None:
    edit(model, lambda t: t[name].view(-1)[-1:].fill_(value))
    assert f"{name} holds NaN or infinite values" in refusal(model)


def test_a_head_that_was_lost(model: Path) -> None:
    edit_config(model, tie_word_embeddings=False)
    edit(model, lambda t: t.pop("lm_head.weight"))
    assert "lm_head.weight is missing" in refusal(model)


def test_a_tied_head_that_differs(model: Path) -> None:
    edit_config(model, tie_word_embeddings=True)
    assert "tied, but lm_head.weight differs from model.embed_tokens.weight" in refusal(model)


# Learned scales


def test_scales_without_w_bits(qat: Path) -> None:
    edit_config(qat, remove=("w_bits",))
    assert "has learned scales (weight_clip_val) but its config.json has no w_bits" in refusal(qat)


def test_w_bits_without_scales(model: Path) -> None:
    edit_config(model, w_bits=2)
    assert (
        "no learned scales (weight_clip_val), which w_bits 2 needs, and its weights are on no grid"
        in refusal(model)
    )


def test_w_bits_16_means_no_scales(qat: Path, model: Path) -> None:
    assert "but w_bits 16 means unquantised" in refusal(edit_config(qat, w_bits=16))
    assert not load_checkpoint(edit_config(model, w_bits=16)).plan.is_quantized


def test_unknown_w_bits(qat: Path) -> None:
    assert "config.json: w_bits 7 is unknown; known are" in refusal(edit_config(qat, w_bits=7))


def test_missing_scales_are_named(qat: Path) -> None:
    assert f"lacks {ALPHA}" in refusal(edit(qat, lambda t: t.pop(ALPHA)))


def test_extra_scales_are_named(qat: Path) -> None:
    edit(qat, lambda t: t.update({"lm_head.weight_clip_val": torch.ones(304, 1)}))
    assert "does not imply: lm_head.weight_clip_val" in refusal(qat)


@pytest.mark.parametrize("shape", [(36,), (1, 36), (35, 1), (36, 2), ()], ids=str)
def test_scales_of_the_wrong_shape(shape: tuple[int, ...], qat: Path) -> None:
    edit(qat, lambda t: t.update({ALPHA: torch.ones(shape)}))
    assert f"{ALPHA} {list(shape)} where config.json implies [36, 1]" in refusal(qat)


@pytest.mark.parametrize("value", [0.0, -0.0, -1e-3])
def test_a_scale_that_is_not_positive_acts_as_its_floor(value: float, qat: Path) -> None:
    """As in the reference code, whose own start gives 0 for a row of zeros."""
    edit(qat, lambda t: t[ALPHA][5].fill_(value))
    name = ALPHA.removeprefix("model.").removesuffix(".weight_clip_val")
    scale = build_model(load_checkpoint(qat)).get_submodule(name).quantized().scale
    floor = paretoq.ALPHA_FLOOR * BY_NAME["int2"].spacing
    assert scale[5].item() == pytest.approx(floor)
    assert bool((scale > 10 * floor).sum() == len(scale) - 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scales_must_be_finite(value: float, qat: Path) -> None:
    edit(qat, lambda t: t[ALPHA][5].fill_(value))
    assert f"{ALPHA} holds NaN or infinite values" in refusal(qat)


# Tokenizers


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [(303, "has 304 entries and the model 303"), (304 + 139, "has 304 entries and the model 443")],
)
def test_a_vocabulary_that_disagrees(rows: int, sentence: str, tmp_path: Path) -> None:
    assert sentence in refusal(save_tiny(tmp_path / "model", vocab_size=rows))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 100], ids=["empty", "object", "zeros"])
def test_an_unreadable_tokenizer(name: str, content: bytes, tmp_path: Path) -> None:
    save_llama(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert f"{name} is not a readable tokenizer" in refusal(tmp_path)


def test_a_tokenizer_of_another_model(model: Path) -> None:
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    extra = {"content": "<pad>", "single_word": False, "lstrip": False, "rstrip": False}
    tokenizer["added_tokens"].append({"id": 304, "normalized": False, "special": True, **extra})
    path.write_text(json.dumps(tokenizer))
    assert "has 305 entries and the model 304" in refusal(model)


def test_a_packed_checkpoint_is_not_for_training(model: Path) -> None:
    edit_config(model, packed=1)
    assert "is a packed checkpoint, made for export" in refusal(model)


def test_nothing_was_left_behind(model: Path) -> None:
    before = sorted(path.name for path in model.parent.iterdir())
    shutil.rmtree(model)
    with pytest.raises(ValueError, match="not a hub id either"):
        load_checkpoint(model)
    assert sorted(path.name for path in model.parent.iterdir()) == [n for n in before if n != "model"]
