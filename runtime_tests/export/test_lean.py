"""An export needs the memory of its program and of one layer, not of the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from edge.runtime.manifest import read_manifest
from export.weights import skeleton
from runtime_tests.tiny import tiny_checkpoint

DIM, FFN, LAYERS, VOCABULARY = 1024, 4096, 8, 32000
SHAPE = {
    "model_type": "llama",
    "hidden_size": DIM,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
#: Prints the most memory that the process had in use, in KiB, after the command. getrusage would count that
#: of the process that started it too.
MEASURED = (
    "import re, sys; from export.to_pte import main; code = main(sys.argv[1:]);"
    "print('peak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
)


def write_shards(directory: Path) -> int:
    """A model of 150 million random weights in two shards of bfloat16; returns their number."""
    dice, files, index = torch.Generator().manual_seed(0), [{}, {}], {}
    shapes = {"self_attn.q_proj": (DIM, DIM), "self_attn.o_proj": (DIM, DIM), "mlp.down_proj": (DIM, FFN)}
    shapes |= {f"self_attn.{kind}_proj": (DIM // 4, DIM) for kind in "kv"}
    shapes |= {f"mlp.{kind}_proj": (FFN, DIM) for kind in ("gate", "up")}
    names = {"model.embed_tokens": (VOCABULARY, DIM), "model.norm": (DIM,)}
    for layer in range(LAYERS):
        names |= {f"model.layers.{layer}.{name}": shape for name, shape in shapes.items()}
        norms = ("input_layernorm", "post_attention_layernorm")
        names |= {f"model.layers.{layer}.{name}": (DIM,) for name in norms}
    for number, (name, shape) in enumerate(names.items()):
        drawn = torch.randn(shape, generator=dice) * 0.02 if len(shape) == 2 else torch.ones(shape)
        files[number % 2][f"{name}.weight"] = drawn.bfloat16()
    for number, tensors in enumerate(files):
        save_file(tensors, directory / f"model-{number}.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, f"model-{number}.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (directory / "config.json").write_text(json.dumps(SHAPE))
    return sum(tensor.numel() for tensors in files for tensor in tensors.values())


def test_a_sharded_model_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    weights = write_shards(tmp_path)
    words = ["--bits", "2", "--model", str(tmp_path), "--output", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=True
    )
    peak = 1024 * int(result.stdout.split("peak")[1])
    assert weights > 150e6
    assert (
        peak < read_manifest(tmp_path / "out").program.bytes + 8 * weights
    )  # twelve when all of it was in memory
    assert peak < read_manifest(tmp_path / "out").program.bytes + 1.2e9  # 0.4 of it before anything is read


def test_a_skeleton_has_norms_and_biases_but_no_matrices() -> None:
    model = skeleton(tiny_checkpoint(qkv_bias=True), positions=8)
    assert {name for name, p in model.named_parameters() if p.is_meta} == {
        name for name, p in model.named_parameters() if p.dim() == 2
    }
