"""Quantised checkpoints that are damaged, or cannot be run: one sentence names each fault."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edge.checkpoints.hugging_face import load_checkpoint
from edge.checkpoints.packed import open_model
from edge.cli import main_guard
from export import to_pte
from runtime_tests.checkpoints.hf_models import edit_config
from runtime_tests.checkpoints.quantized_files import write
from runtime_tests.checkpoints.test_hugging_face_errors import edit

DOWN = "model.layers.0.mlp.down_proj"
FORMS: dict[str, dict[str, Any]] = {
    "gptq": {"symmetric": True, "permuted": True},
    "head": {"form": "gptq", "others": {"lm_head": {"symmetric": True}}},
    "gemm": {},
    "pack-quantized": {"permuted": True},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of each form. Do not change them."""
    folder = tmp_path_factory.mktemp("quantised")
    for form, options in FORMS.items():
        write(folder / form, **{"form": form, "num_hidden_layers": 1} | options)
    return folder


@pytest.fixture
def copies(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "copies")


def refusal(directory: Path) -> str:
    """The error message for a directory whose weights are all read."""
    with pytest.raises(ValueError, match=r"\S") as raised:
        dict(open_model(directory).weights)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def put(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], None]:
    def changed(tensors: dict[str, Tensor]) -> None:
        tensors[name] = change(tensors[name]).contiguous()

    return changed


def setting(value: float, *place: int) -> Callable[[Tensor], Tensor]:
    """Set one value of a tensor."""

    def changed(tensor: Tensor) -> Tensor:
        tensor[place] = value
        return tensor

    return changed


def removing(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.__delitem__(name)


def adding(name: str, shape: tuple[int, ...]) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.update({name: torch.ones(shape)})


DAMAGES = [
    ("gptq", put(f"{DOWN}.qweight", lambda t: t[1:]), r"qweight is \[16, 72\] where .* implies \[17, 72\]"),
    ("gptq", put(f"{DOWN}.qweight", lambda t: t.float()), "qweight is torch.float32; .* has torch.int32"),
    ("gptq", put(f"{DOWN}.qzeros", lambda t: t[:-1]), r"qzeros is \[4, 9\] where .* implies \[5, 9\]"),
    ("gptq", put(f"{DOWN}.qzeros", setting(-1, 1, 1)), "a zero is 0 where config.json promises 8 everywhere"),
    ("gptq", removing(f"{DOWN}.qzeros"), "mlp.down_proj.qzeros is missing"),
    ("gptq", removing(f"{DOWN}.g_idx"), "g_idx is missing, which desc_act needs"),
    ("gptq", put(f"{DOWN}.g_idx", setting(5, 3)), "g_idx names group 5, and there are 5"),
    ("gptq", put(f"{DOWN}.g_idx", setting(-1, 3)), "g_idx names group -1"),
    ("gptq", put(f"{DOWN}.g_idx", lambda t: t.clamp_min(1)), "g_idx gives group 0 0 columns instead of 32"),
    ("gptq", put(f"{DOWN}.g_idx", lambda t: t[:-1]), r"g_idx is \[135\] where config.json implies \[136\]"),
    ("gptq", put(f"{DOWN}.scales", setting(float("nan"), 2, 2)), "down_proj.qweight: scale must be finite"),
    ("gptq", put(f"{DOWN}.scales", setting(-1.0, 2, 2)), "down_proj.qweight: scale must be positive"),
    ("gptq", put(f"{DOWN}.scales", setting(5000.0, 2, 2)), "so large that weights overflow torch.float16"),
    ("gptq", put(f"{DOWN}.scales", lambda t: t.T), r"scales is \[72, 5\] where .* implies \[5, 72\]"),
    ("gptq", adding("lm_head.qweight", (9, 304)), "lm_head.qweight is torch.float32; .* has torch.int32"),
    ("head", adding("lm_head.weight", (304, 72)), "does not imply: lm_head.weight"),
    ("head", put("lm_head.scales", lambda t: t[1:]), r"lm_head.scales is \[2, 304\] where"),
    ("head", put("lm_head.scales", setting(0, 1, 303)), "lm_head.qweight: scale must be positive"),
    ("gptq", adding("model.embed_tokens.qweight", (9, 72)), "a quantised embedding is not read"),
    ("gptq", adding("model.spare", (3,)), "does not imply: model.spare"),
    ("gptq", adding(f"{DOWN}.bias", (72,)), "down_proj.bias is a bias"),
    ("gptq", removing("model.norm.weight"), "lacks model.norm.weight"),
    ("gemm", put(f"{DOWN}.qweight", lambda t: t.T), r"qweight is \[9, 136\] where .* implies \[136, 9\]"),
    ("gemm", put(f"{DOWN}.qzeros", lambda t: t[:, 1:]), r"qzeros is \[5, 8\]"),
    ("pack-quantized", put(f"{DOWN}.weight_shape", setting(71, 0)), r"weight_shape says \[71, 136\] where"),
    ("pack-quantized", put(f"{DOWN}.weight_zero_point", lambda t: t[:, :4]), r"zero_point is \[9, 4\]"),
    ("pack-quantized", removing(f"{DOWN}.weight_zero_point"), "weight_zero_point is missing"),
    ("pack-quantized", removing(f"{DOWN}.weight_scale"), "weight_scale is missing"),
    ("pack-quantized", put(f"{DOWN}.weight_scale", lambda t: t.float() / 3), "these need float32"),
    ("pack-quantized", put(f"{DOWN}.weight_g_idx", setting(-1, 3)), "g_idx names group -1"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "change", "sentence"), DAMAGES, ids=[s[:24] for _, _, s in DAMAGES])
def test_damaged_tensors(copies, form, change, sentence):
    found = refusal(edit(copies / form, change))
    assert re.search(f"^{copies / form}.*{sentence}", found), found


def a_group(**changes: Any) -> dict[str, Any]:
    """The config_groups of compressed-tensors, with changes of its weights or of the group."""
    weights = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 32}
    group = {key: changes.pop(key) for key in ("format", "input_activations") if key in changes}
    return {"group_0": {"targets": ["Linear"], "weights": weights | changes} | group}


SETTINGS = [
    ("gptq", {"quant_method": "bitsandbytes"}, "not evenly spaced .*; give the checkpoint from before"),
    ("gptq", {"quant_method": "fp8"}, "floating-point .* quantised by gptq, awq, compressed-tensors"),
    ("gptq", {"quant_method": ["awq"]}, "this project does not read its files"),
    ("gptq", {"quant_method": None}, "quant_method is null"),
    ("gptq", {"bits": 5}, "bits is 5; GPTQ is read with 2, 3, 4 or 8"),
    ("gptq", {"bits": "4"}, "bits must be a positive integer"),
    ("gptq", {"group_size": 48}, "group_size is 48; a program's groups have 32, 64, 128, 256 or a multiple"),
    ("gptq", {"group_size": True}, "group_size is true"),
    ("gptq", {"checkpoint_format": "marlin"}, "\"marlin\", .*save the model as gptq or gptq_v2"),
    ("gptq", {"checkpoint_format": "gptq_v2"}, "a zero is 7 where config.json promises 8 .* another version"),
    ("gptq", {"dynamic": {".*q_proj": {"bits": 8}}}, r"q_proj.qweight is .* implies \[18, 48\]"),
    ("gptq", {"dynamic": {"+:.*up_proj": {"group_size": 64}}}, "up_proj.qzeros is .* config.json implies"),
    ("gptq", {"dynamic": {".*": {}, r"-:.*\.v_proj$": {}}}, "v_proj.qweight is there, where dynamic"),
    ("gptq", {"dynamic": {".*q_proj": {}, ".*": {"bits": 8}}}, r"k_proj.qweight is .* implies \[18, 24\]"),
    ("gptq", {"dynamic": {"+:.*": {"bits": 5}}}, r'dynamic: "\+:.\*": bits is 5; GPTQ is read with'),
    ("gptq", {"dynamic": {"+:(": {}}}, r'dynamic: "\+:\(": missing \)'),
    ("gptq", {"dynamic": {"+:.*": 4}}, "dynamic must be an object of objects"),
    ("head", {"dynamic": {"-:lm_head": {}}}, "lm_head.qweight is there, where dynamic leaves"),
    ("gptq", {"dynamic": [4]}, "dynamic must be an object of objects"),
    ("gptq", {"bits": 8}, r"qweight is \[9, 48\] where config.json implies \[18, 48\]"),
    ("gemm", {"quant_method": "gptq"}, "config.json implies"),
    ("gemm", {"bits": 8}, "bits is 8; AWQ is read with 4"),
    ("gemm", {"version": "gemv_fast"}, "version is \"gemv_fast\"; save the model as gemm or gemv"),
    ("gemm", {"version": "gemv"}, r"qweight is \[72, 6\] where config.json implies \[48, 9\]"),
    ("gemm", {"quant_method": "compressed-tensors"}, "config_groups must be an object"),
    ("pack-quantized", {"format": "int-quantized"}, "save the model as pack-quantized"),
    ("pack-quantized", {"kv_cache_scheme": {"num_bits": 8}}, "quantised keys and values are not read"),
    ("pack-quantized", {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse weights are not read"),
    ("pack-quantized", {"config_groups": a_group(num_bits=9)}, "of 9 bits; read are int of 1 to 8"),
    ("pack-quantized", {"config_groups": a_group(num_bits=True)}, "num_bits must be .* integer, not true"),
    ("pack-quantized", {"config_groups": a_group(num_bits="4")}, "num_bits must be .* integer, not \"4\""),
    ("pack-quantized", {"config_groups": a_group(num_bits=3), "version": "0.17.1"}, "of 3 bits have gaps"),
    ("pack-quantized", {"config_groups": a_group(type="float")}, "weights are \"float\" of 4 bits"),
    ("pack-quantized", {"config_groups": a_group(group_size=0)}, "group_size is 0; a program's groups"),
    ("pack-quantized", {"config_groups": a_group(symmetric=True)}, "zero_point is there, where config"),
    *(
        ("pack-quantized", {"config_groups": a_group(strategy=s)}, f"is \"{s}\"; read are group and channel")
        for s in ("tensor", "token", "block", "tensor_group")
    ),
    ("pack-quantized", {"config_groups": a_group(input_activations={"bits": 8})}, "quantise weights only"),
    ("pack-quantized", {"config_groups": a_group(group_size=128)}, r"weight_scale is \[48, 3\] where"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "changes", "sentence"), SETTINGS, ids=[s[:40] for _, _, s in SETTINGS])
def test_settings_that_cannot_be_run(copies, form, changes, sentence):
    settings = json.loads((copies / form / "config.json").read_text())["quantization_config"]
    found = refusal(edit_config(copies / form, quantization_config=settings | changes))
    assert re.search(sentence, found), found


def test_settings_that_are_no_object_and_tensors_that_are_not_there(copies):
    directory = copies / "gptq"
    assert "quantization_config: must be an object" in refusal(
        edit_config(directory, quantization_config=[4])
    )
    other = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": a_group()}
    edit_config(directory, quantization_config=other)
    assert "no linear is quantised, though config.json says so" in refusal(directory)


def test_a_quantised_head_that_is_the_embedding(copies):
    found = refusal(edit_config(copies / "head", tie_word_embeddings=True))
    assert "lm_head.qweight is there, and config.json says that the embedding is the head's table" in found


def test_training_does_not_start_from_them(written):
    with pytest.raises(ValueError, match="was quantised after its training; give the checkpoint from before"):
        load_checkpoint(written / "gptq")


@pytest.mark.parametrize(
    ("change", "bits", "sentence"),
    [
        (put(f"{DOWN}.g_idx", setting(9, 0)), "4", "g_idx names group 9"),
        (put(f"{DOWN}.qzeros", setting(0, 0, 0)), "4", "a zero is 1 where config.json promises 8"),
        (
            lambda tensors: None,
            "3",
            "was quantised to 4 bits, and its codes are kept: export it with --bits 4",
        ),
    ],
)
def test_the_exporter_ends_with_code_2(copies, change, bits, sentence, capfd):
    directory = edit(copies / "gptq", change)
    with pytest.raises(SystemExit) as stop:
        main_guard(
            lambda: to_pte.main(["--bits", bits, "--model", str(directory), "--output", str(copies / "out")])
        )
    assert stop.value.code == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert sentence in last
    assert not (copies / "out").exists()
