"""``paretoq`` in transformers: models of several families are loaded, trained, saved, exported and run."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from executorch.exir import to_edge
from executorch.runtime import Runtime
from torch import nn
from torchao.quantization import quantize_
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Qwen3Config,
    ViTConfig,
)

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import ASSETS, open_model
from edge.integrations.torchao import LowBitTensor, ParetoQConfig, linears
from edge.integrations.torchao.modules import PreparedLinear
from edge.runtime.load import open_program
from export.to_pte import main as export
from runtime_tests.greedy import greedy_tokens
from runtime_tests.tiny import tiny_tokenizer

SIZES = {
    "vocab_size": 304, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64,
    "initializer_range": 0.1, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
IDS = torch.tensor([[1, 5, 9, 30]])


def how(step="convert", bits=2, **more):
    return {"quant_method": "paretoq", "bits": bits, "step": step, **more}


@pytest.fixture(scope="module", params=[LlamaConfig, Qwen3Config], ids=["Llama", "Qwen3"])
def full(request, tmp_path_factory):
    """A full-precision model of a family, with random weights."""
    directory = tmp_path_factory.mktemp("full")
    torch.manual_seed(0)
    tied = {"tie_word_embeddings": request.param is LlamaConfig}
    AutoModelForCausalLM.from_config(request.param(**SIZES, **tied)).save_pretrained(directory)
    shutil.copy(tiny_tokenizer(), directory)
    return directory


def train(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        model(IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_prepare_train_convert_save_load_and_export(full, tmp_path):
    """The way of a user; the program's greedy tokens are those of generate."""
    model = AutoModelForCausalLM.from_pretrained(full, quantization_config=how("prepare"))
    assert isinstance(model.model.layers[1].mlp.down_proj, PreparedLinear)
    assert not isinstance(model.get_output_embeddings(), PreparedLinear)
    train(model)
    grids = {n: m.quantized() for n, m in model.named_modules() if isinstance(m, PreparedLinear)}
    assert len(grids) == 14
    model.save_pretrained(tmp_path / "trained")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "trained")
    assert torch.equal(again(IDS).logits, model(IDS).logits)

    packed = again
    quantize_(packed, ParetoQConfig(bits=2, step="convert"), filter_fn=linears(packed))
    for name, grid in grids.items():
        assert packed.get_submodule(name).weight.quantized().equals(grid)
    packed.save_pretrained(tmp_path / "packed")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    assert isinstance(loaded.model.layers[0].self_attn.q_proj.weight, LowBitTensor)
    assert torch.equal(loaded(IDS).logits, packed(IDS).logits)

    shutil.copy(tiny_tokenizer(), tmp_path / "packed")
    program = tmp_path / "program"
    words = ["--bits=2", f"--model={tmp_path / 'packed'}", f"--output={program}", "--max-seq-len=64"]
    assert export(words) == 0
    generated = loaded.generate(IDS, max_new_tokens=12, do_sample=False, eos_token_id=None)
    assert generated[0, 4:].tolist() == greedy_tokens(open_program(program)[1], IDS[0].tolist(), 12)


def test_the_embedded_model_loads():
    """A packed checkpoint of this project, its int8 embedding too; its logits are our decoder's but for int8
    activations."""
    model = AutoModelForCausalLM.from_pretrained(ASSETS / "default/2bit", quantization_config=how())
    assert isinstance(model.model.embed_tokens.weight, LowBitTensor)
    tokens = torch.arange(100, 140)[None]
    wanted = build_model(open_model("default/2bit"), positions=64)(tokens)
    difference = (model(tokens).logits - wanted).detach()
    assert difference.square().mean().sqrt() < 0.04 * wanted.square().mean().sqrt()  # .023 was measured


def test_a_vision_transformer(tmp_path):
    """A family that no decoder of ours knows: trained, packed, saved, loaded, and exported."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = ViTConfig(**sizes, image_size=16, patch_size=8, num_labels=3, attn_implementation="eager")
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "full")
    kept = {"modules_to_not_convert": ["classifier"]}
    model = AutoModelForImageClassification.from_pretrained(
        tmp_path / "full", quantization_config=how("prepare", **kept)
    )
    image = torch.randn(1, 3, 16, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        model(image, labels=torch.tensor([1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(tmp_path / "trained")
    packed = AutoModelForImageClassification.from_pretrained(tmp_path / "trained")
    quantize_(packed, ParetoQConfig(bits=2, step="convert"), filter_fn=linears(packed, "classifier"))
    low = [n for n, m in packed.named_modules() if isinstance(getattr(m, "weight", None), LowBitTensor)]
    assert len(low) == 12
    assert not any("classifier" in name for name in low)
    torch.testing.assert_close(packed(image).logits, model(image).logits, rtol=0.1, atol=0.1)
    packed.save_pretrained(tmp_path / "packed")
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "packed").eval()
    with torch.no_grad():
        logits = loaded(image).logits
    assert torch.equal(logits, packed.eval()(image).logits)

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = loaded

        def forward(self, pixels):
            return self.model(pixels).logits

    program = to_edge(torch.export.export(Logits(), (image,))).to_executorch()
    method = Runtime.get().load_program(program.buffer).load_method("forward")
    np.testing.assert_allclose(method.execute([image])[0].numpy(), logits.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (how(bits=5), "no weight format has 5 bits"),
        (how(step="train"), "step must be 'prepare', before training, or 'convert', after it, not 'train'"),
    ],
)
def test_configs_that_cannot_be(full, config, said):
    with pytest.raises(ValueError, match=said):
        AutoModelForCausalLM.from_pretrained(full, quantization_config=config)


def test_linears_that_are_kept_are_named(full, tmp_path):
    """config.json says which linears are in full precision, for our loaders."""
    config = how(modules_to_not_convert=["layers.0.mlp"])
    model = AutoModelForCausalLM.from_pretrained(full, quantization_config=config)
    model.save_pretrained(tmp_path)
    plan = open_model(tmp_path).plan
    kept = [f"layers.0.mlp.{part}_proj" for part in ("gate", "up", "down")]
    assert {name for name, grid in plan.others.items() if not grid.is_quantized} == set(kept)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_another_head(full, tmp_path):
    """A new head has no scales in the file: it stays plain; the body is on the stored grid, or packed."""
    model = AutoModelForCausalLM.from_pretrained(full, quantization_config=how("prepare"))
    train(model)
    model.save_pretrained(tmp_path / "trained")
    quantize_(model, ParetoQConfig(bits=2, step="convert"), filter_fn=linears(model))
    model.save_pretrained(tmp_path / "packed")
    wanted = model.model(IDS).last_hidden_state
    for form in ("trained", "packed"):
        base = AutoModel.from_pretrained(tmp_path / form)
        torch.testing.assert_close(base(IDS).last_hidden_state, wanted, rtol=0.05, atol=0.05)
        classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path / form, num_labels=3)
        assert type(classifier.score) is nn.Linear
        body = classifier.model(IDS).last_hidden_state
        assert torch.equal(body, base(IDS).last_hidden_state)
    base.save_pretrained(tmp_path / "base")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.equal(whole.model(IDS).last_hidden_state, wanted)


def test_experts_that_are_no_linears_are_told(tmp_path):
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    AutoModelForCausalLM.from_config(MixtralConfig(**SIZES, **experts)).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="quantised 14% of the weights of MixtralForCausalLM beside"):
        AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=how())


def test_an_embedded_model_is_saved_again(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(ASSETS / "default/2bit", quantization_config=how())
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_bits_that_contradict_the_checkpoint():
    with pytest.raises(ValueError, match=r"config.json says w_bits 2, which is not bits=4"):
        AutoModelForCausalLM.from_pretrained(ASSETS / "default/2bit", quantization_config=how(bits=4))


def test_a_family_without_linears(tmp_path):
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 20, "n_positions": 8}
    AutoModelForCausalLM.from_config(GPT2Config(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="GPT2LMHeadModel has no linears that paretoq quantises"):
        AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=how())
