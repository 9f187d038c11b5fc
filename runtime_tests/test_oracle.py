"""Exported programs against an implementation that shares no code with the project (``oracle_model.py``).

The two differ by the program's float32, 2^-24 per operation, which adds up to less than ``CLOSE``. Int8
activations can make the difference larger: a value near the boundary between two codes may be rounded to the
other side. The oracle reports how near any value came. So

- positions that depend on no value within ``NEAR`` of a boundary must agree to CLOSE, and each case must have
  such positions. The largest activation is 127 steps, so 8 of its roundings move it by less than NEAR;
- an int8 cache rounds queries, keys and values the same way, and the op then weighs the values with 14 bits,
  which the oracle does not: there CLOSE allows half a step for each of the six positions. The model has one
  layer, for a second one would round to int8 what differs by as much;
- programs without int8 (16 bits for linears and tables) must agree everywhere, to FAR: RoPE's angles grow
  with the position, and so does their rounding;
- elsewhere codes differ: two independent roundings of the same activations differ by sqrt(2) times the change
  by rounding itself, which the oracle measures by leaving rounding out.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from edge.runtime.load import Program
from export import to_pte
from runtime_tests.oracle_model import LINEARS, OracleModel
from runtime_tests.tiny import tiny_tokenizer

CLOSE = 5e-6  # root mean square error over root mean square logit
FAR = CLOSE + 96 * 2**-24  # the same, 96 positions into the cache
NEAR = 127 * 8 * 2**-24  # int8 steps
WEIGHT = 2**-15  # what half a step of 14 bits is to the largest: the op's weights of values in an int8 cache
VOCAB = 304

BASE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 96,
    "tie_word_embeddings": True,
}
ODD = {
    "hidden_size": 100,
    "intermediate_size": 273,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
    "head_dim": 20,
    "tie_word_embeddings": False,
}
ONE_LAYER = {"head_dim": 12, "num_hidden_layers": 1}
LLAMA3 = {
    "rope_theta": 500.0,
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
}
LINEAR_ROPE = {"rope_theta": 1000.0, "rope_type": "linear", "factor": 4.0}


#: Every width, in every group of linears that would share a table.
MIXED = {
    "0.self_attn.k_proj": 4,
    "0.self_attn.o_proj": 16,
    "0.mlp.gate_proj": 1,
    "0.mlp.down_proj": 0,
    "1.self_attn.q_proj": 16,
    "1.self_attn.v_proj": 0,
    "1.mlp.up_proj": 16,
    "1.mlp.down_proj": 1,
}
#: A learned scale over the mean of a row's absolute weights, by w_bits.
SCALES = {1: 1.0, 0: 2.0, 2: 2.5, 3: 0.7, 4: 0.35, 8: 0.03}


@dataclass(frozen=True)
class Case:
    """A checkpoint and how to export it; ``w_bits`` makes it one of ParetoQ's form.

    With ``mixed`` the linears of these names (without ``model.layers.``) have other ``w_bits``; with
    ``learned_tables`` token embedding and head have learned scales too.
    """

    name: str
    bits: float
    w_bits: int | None = None
    embedding_bits: int = 8
    dtype: torch.dtype = torch.float32
    shards: bool = False
    int8_cache: bool = False
    mixed: dict[str, int] = field(default_factory=dict)
    learned_tables: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def close(self) -> float:
        return 6 * WEIGHT if self.int8_cache else CLOSE


CASES = (
    Case("paretoq 1 bit, odd widths, untied", 1, 1, changes=ODD),
    Case("paretoq ternary, odd widths, untied", 1.58, 0, changes=ODD),
    Case("paretoq 2 bit, llama3 rope", 2, 2, changes={"rope_parameters": LLAMA3}),
    Case("paretoq 3 bit, bf16 shards", 3, 3, dtype=torch.bfloat16, shards=True),
    Case("paretoq ternary, bf16", 1.58, 0, dtype=torch.bfloat16),
    Case("paretoq 2 bit, bf16, odd", 2, 2, dtype=torch.bfloat16, changes=ODD),
    Case("paretoq 4 bit, 4 bit tables, odd", 4, 4, embedding_bits=4, changes=ODD),
    Case(
        "mixed with kept linears, int8 tables learned, untied",
        2,
        2,
        mixed=MIXED,
        learned_tables=True,
        changes=ODD,
    ),
    Case("mixed, int4 tables learned", 3, 3, embedding_bits=4, mixed=MIXED, learned_tables=True),
    Case("rounded 1 bit", 1),
    Case("rounded ternary, bf16 shards", 1.58, dtype=torch.bfloat16, shards=True),
    Case("rounded 2 bit, odd, untied", 2, changes=ODD),
    Case("rounded 3 bit, linear rope", 3, changes={"rope_parameters": LINEAR_ROPE}),
    Case("rounded 4 bit, llama3 rope", 4, changes={"rope_parameters": LLAMA3}),
    Case("half precision, int8 tables", 16, changes={"tie_word_embeddings": False}),
    Case("int8 cache, half precision, one layer", 16, embedding_bits=16, int8_cache=True, changes=ONE_LAYER),
)
WITHOUT_INT8 = (
    Case("plain", 16, embedding_bits=16),
    Case("odd, untied", 16, embedding_bits=16, changes=ODD),
    Case(
        "linear rope, bf16 shards",
        16,
        embedding_bits=16,
        dtype=torch.bfloat16,
        shards=True,
        changes={"rope_parameters": LINEAR_ROPE},
    ),
    Case("llama3 rope", 16, embedding_bits=16, changes={"rope_parameters": LLAMA3}),
)


def save_case(case: Case, directory: Path) -> None:
    """Random weights large enough that logits vary; learned scales that no rule for initial ones gives."""
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**{**BASE, **case.changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=2 / parameter.shape[1] ** 0.5)
            else:
                parameter.uniform_(0.5, 1.5)
    model.to(case.dtype).save_pretrained(directory, max_shard_size="60KB" if case.shards else "1GB")
    assert (len(list(directory.glob("*.safetensors"))) > 1) == case.shards
    shutil.copyfile(tiny_tokenizer(), directory / "tokenizer.json")
    if case.w_bits is not None:
        _add_learned_scales(directory, case)


def _add_learned_scales(directory: Path, case: Case) -> None:
    path = sorted(directory.glob("*.safetensors"))[-1]
    added = {}
    for shard in directory.glob("*.safetensors"):
        for name, weight in load_file(shard).items():
            w_bits = _learned_w_bits(name.removesuffix(".weight"), case)
            if w_bits is not None:
                typical = weight.float().abs().mean(dim=1, keepdim=True)
                scale = typical * SCALES[w_bits] * torch.empty_like(typical).uniform_(0.6, 1.5)
                added[name.replace(".weight", ".weight_clip_val")] = scale.to(case.dtype)
    kept = list(case.mixed.values()).count(16)
    own_tables = case.learned_tables * (1 if case.changes.get("tie_word_embeddings", True) else 2)
    assert len(added) == 7 * BASE["num_hidden_layers"] - kept + own_tables
    save_file(load_file(path) | added, path, metadata={"format": "pt"})
    index = directory / "model.safetensors.index.json"
    if index.exists():
        entries = json.loads(index.read_text())
        entries["weight_map"] |= dict.fromkeys(added, path.name)
        index.write_text(json.dumps(entries))
    config = json.loads((directory / "config.json").read_text())
    config["w_bits"] = case.w_bits
    if case.mixed:
        config["w_bits_by_linear"] = {f"model.layers.{name}": bits for name, bits in case.mixed.items()}
    if case.learned_tables:
        config["embedding_w_bits"] = case.embedding_bits
    (directory / "config.json").write_text(json.dumps(config))


def _learned_w_bits(module: str, case: Case) -> int | None:
    """None where a module has no learned scales."""
    if module in ("model.embed_tokens", "lm_head"):
        return case.embedding_bits if case.learned_tables else None
    if module.split(".", 3)[-1] not in LINEARS:
        return None
    w_bits = case.mixed.get(module.removeprefix("model.layers."), case.w_bits)
    return None if w_bits == 16 else w_bits


def export(case: Case, directory: Path) -> Program:
    out = directory.with_name("out")
    arguments = ["--bits", f"{case.bits:g}", "--embedding-bits", str(case.embedding_bits)]
    arguments += ["--kv-cache", "int8" if case.int8_cache else "fp32"]
    assert to_pte.main([*arguments, "--model", str(directory), "--output", str(out)]) == 0
    return Program(out / "model.pte", threads=2)


def program_logits(program: Program, tokens: list[int], prefill: int = 1) -> np.ndarray:
    """[T - prefill + 1, vocab]: after a prefill of that many tokens, and after each token that follows."""
    rows = [program.forward(tokens[:prefill], 0)]
    rows += [program.forward([tokens[i]], i) for i in range(prefill, len(tokens))]
    return torch.stack(rows).double().numpy()


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_program_equals_the_oracle(case, tmp_path):
    save_case(case, tmp_path / "model")
    program = export(case, tmp_path / "model")
    oracle = OracleModel(tmp_path / "model", case.bits, case.embedding_bits, int8_cache=case.int8_cache)
    unrounded = OracleModel(tmp_path / "model", case.bits, case.embedding_bits, int8_activations=False)
    draw = np.random.default_rng(1)
    clear, differences, roundings = [], [], []
    for _ in range(16):
        tokens = draw.integers(VOCAB, size=6).tolist()
        expected = oracle.run(tokens)
        size = rms(expected.logits)
        assert size > 0.1  # logits that say something
        difference = program_logits(program, tokens) - expected.logits
        prefill = program_logits(program, tokens, prefill=len(tokens))[0] - expected.logits[-1]
        clear += [
            rms(d) / size for d, margin in zip(difference, expected.margin, strict=True) if margin > NEAR
        ]
        if expected.margin[-1] > NEAR:
            clear.append(rms(prefill) / size)
        differences += [*difference, prefill]
        roundings.append(unrounded.run(tokens).logits - expected.logits)
    assert len(clear) >= 16
    assert max(clear) < case.close
    assert rms(np.array(differences)) < np.sqrt(2) * rms(np.array(roundings))


@pytest.mark.parametrize("case", WITHOUT_INT8, ids=lambda case: case.name)
def test_without_int8_every_position_is_close(case, tmp_path):
    save_case(case, tmp_path / "model")
    oracle = OracleModel(tmp_path / "model", 16, 16)
    tokens = np.random.default_rng(2).integers(VOCAB, size=96).tolist()
    expected = oracle.run(tokens).logits
    program = export(case, tmp_path / "model")
    for prefill in (1, 50, 96):
        difference = program_logits(program, tokens, prefill) - expected[prefill - 1 :]
        assert rms(difference) < FAR * rms(expected)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    with torch.no_grad():  # and that the oracle itself is right: transformers, on half precision's weights
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(parameter.half())
        reference = model(torch.tensor([tokens])).logits[0].double().numpy()
    assert rms(reference - expected) < FAR * rms(expected)
