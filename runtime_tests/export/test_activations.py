"""The cost of int8 activations in the manifest, on a real model with outliers, before and after smoothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import ASSETS, open_model
from edge.checkpoints.write import save_checkpoint
from edge.formats import BY_NAME, grid_for_bits
from edge.model.decoder import named_linears
from edge.model.tokenizer import Tokenizer
from edge.quantize.__main__ import main as quantize
from edge.quantize.activations.planted import with_outliers
from edge.quantizers import paretoq
from edge.quantizers.embedding import quantize_embedding
from edge.runtime.manifest import Manifest, read_manifest
from export import to_pte

TEXT = ASSETS / "sample.txt"


@torch.no_grad()
def slow_perplexity(model: Path, rounds: bool) -> float:
    """Perplexity of the sample with weights as an export at 4 bits has them, by the plainest arithmetic."""
    checkpoint, grid = open_model(model), grid_for_bits(4)
    assert checkpoint.tokenizer is not None
    decoder = build_model(checkpoint)
    for linear in named_linears(decoder).values():
        weight = linear.weight.detach()
        linear.weight.copy_(paretoq.quantize(weight, paretoq.initial_alpha(weight, grid), grid).dequantize())
    table = decoder.embed_tokens.weight
    table.copy_(quantize_embedding(table, BY_NAME["int8"]).dequantize())
    for module in (*named_linears(decoder).values(), decoder.lm_head):
        if rounds:
            module.register_forward_pre_hook(rounded)
    ids = [checkpoint.config.bos_id, *Tokenizer(checkpoint.tokenizer).encode(TEXT.read_text())][:160]
    tokens = torch.tensor(ids)
    return math.exp(float(F.cross_entropy(decoder(tokens[None])[0, :-1].double(), tokens[1:])))


def rounded(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    x = args[0].double()
    step = x.abs().amax(-1, keepdim=True) / 127
    return ((x / step).round() * step).float(), *args[1:]


def exported(model: Path, output: Path) -> Manifest:
    assert to_pte.main(["--bits=4", f"--model={model}", f"--output={output}"]) == 0
    return read_manifest(output)


def test_smoothing_mends_what_outliers_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    planted, smooth = tmp_path / "planted", tmp_path / "smooth"
    save_checkpoint(with_outliers(open_model("default/16bit")), planted)
    flags = ["--bits=16", "--smooth", "--samples=4", "--length=128"]
    assert quantize([*flags, f"--model={planted}", f"--output={smooth}", f"--calibration={TEXT}"]) == 0
    capsys.readouterr()
    found, said = [], []
    for model in (planted, smooth):
        found.append(exported(model, model.with_name(f"{model.name}-program")))
        said.append(" ".join(capsys.readouterr().out.split()))
        proof = found[-1].verification
        assert proof.activations is not None
        assert proof.perplexity_eager == pytest.approx(slow_perplexity(model, rounds=False), rel=1e-4)
        slow = slow_perplexity(model, rounds=True)
        assert proof.activations.perplexity == pytest.approx(slow, rel=5e-3)
        assert proof.activations.perplexity_ratio == proof.activations.perplexity / proof.perplexity_eager
    before, after = (manifest.verification.activations.perplexity_ratio for manifest in found)
    assert before > 1.05
    assert after < 1.01
    sentence = f"int8 activations alone raise perplexity there by {before - 1:.1%}; smooth the full-precision"
    assert sentence in said[0]
    assert "activations alone" not in said[1]
    one, other = ({**m.part_bytes, "tables": m.tables} for m in found)  # the same program, other values
    assert one == other
