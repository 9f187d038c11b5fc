"""Fuzz what reads files in Python: each mutated file is read, or refused with one sentence.

python -m runtime_tests.fuzzing.readers checkpoints --seconds 60 --seed 7
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
import transformers
from sentencepiece import SentencePieceTrainer

from edge.checkpoints.hf_config import config_from_hf, config_to_hf, read_hf_config
from edge.checkpoints.hugging_face import parse_config
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.formats import FULL_PRECISION, grid_for_bits
from edge.formats.weight import QuantizedWeight
from edge.latency.report.markdown import markdown
from edge.latency.report.page import page
from edge.latency.schema import read_report
from edge.model.tokenizer import Tokenizer
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.checkpoints import quantized_files
from runtime_tests.checkpoints.published_form import published, write
from runtime_tests.fuzzing.mutations import mutated_bytes, mutated_json
from runtime_tests.latency.reports import emulated_report, made_up_report
from runtime_tests.tiny import TEXT, save_tiny, tiny_checkpoint, tiny_tokenizer

#: No file of these sizes takes longer to read or to refuse.
LONGEST_SECONDS = 20

#: Reads one mutated file; raises ValueError to refuse it, and anything else is a finding.
Attempt = Callable[[random.Random], None]


def manifests(folder: Path) -> Attempt:
    """Mutate a manifest, most often with the checksum of what it then says."""
    save_tiny(folder / "model", grid_for_bits(2), n_layers=1)
    to_pte.main(["--bits", "2", "--model", str(folder / "model"), "--output", str(folder / "out")])
    path = folder / "out/manifest.json"
    original = json.loads(path.read_text())
    del original["checksum"]

    def attempt(dice: random.Random) -> None:
        changed = mutated_json(original, dice)
        if isinstance(changed, dict) and dice.random() < 0.9:
            content = json.dumps(changed, sort_keys=True).encode()
            changed["checksum"] = hashlib.sha256(content).hexdigest()
        _write_json(path, changed, dice)
        manifest = read_manifest(folder / "out")
        assert manifest.config.bos_id < manifest.config.vocab_size

    return attempt


def configs(folder: Path) -> Attempt:
    """Mutate the config.json of models of several kinds."""
    grids = {"w_bits": 2, "w_bits_by_linear": {"model.layers.0.mlp.down_proj": 4}, "embedding_w_bits": 4}
    llama3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    plain = json.loads((save_tiny(folder / "model") / "config.json").read_text())
    types = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}
    gemma = {**plain, **types, "hidden_act": "gelu_pytorch_tanh", "query_pre_attn_scalar": 12}
    originals = [
        plain,
        {**plain, **grids},
        {**plain, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, **llama3}},
        {**plain, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
        {**plain, "model_type": "mobilellm", "share_embedding": True, "layer_sharing": True},
        {**plain, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 32},
        {**plain, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False},
        {**plain, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]},
        {**plain, "model_type": "olmo2", "architectures": ["Olmo2ForCausalLM"]},
        {**plain, "model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1, 0]},
        {
            **gemma,
            "model_type": "gemma2",
            "architectures": ["Gemma2ForCausalLM"],
            "attn_logit_softcapping": 9.0,
        },
        {
            **gemma,
            "model_type": "gemma3_text",
            "architectures": ["Gemma3ForCausalLM"],
            "rope_local_base_freq": 9.0,
        },
    ]

    def attempt(dice: random.Random) -> None:
        _write_json(folder / "config.json", mutated_json(dice.choice(originals), dice), dice)
        config, _ = parse_config(folder, read_hf_config(folder))
        assert config_from_hf(config_to_hf(config)) == config

    return attempt


def checkpoints(folder: Path) -> Attempt:
    """Mutate the tensors' header, any bytes of their file, or config.json, of several kinds of checkpoint."""
    save_tiny(folder / "full", FULL_PRECISION, n_layers=1)
    save_tiny(folder / "learned", grid_for_bits(1.58), n_layers=1)
    save_packed_checkpoint(tiny_checkpoint(grid_for_bits(3), n_layers=1), folder / "packed")
    write(folder / "published", published(2), None, "safetensors")
    quantized = {"gptq": {"permuted": True}, "gemv": {}, "pack-quantized": {}}
    for form, options in quantized.items():
        quantized_files.write(folder / form, form, num_hidden_layers=1, **options)
    names = ("full", "learned", "packed", "published", *quantized)
    originals = [shutil.copytree(folder / name, folder / f"{name}-mutated") for name in names]

    def attempt(dice: random.Random) -> None:
        mutated = dice.choice(originals)
        original = folder / mutated.name.removesuffix("-mutated")
        data = (original / "model.safetensors").read_bytes()
        config = json.loads((original / "config.json").read_text())
        which = dice.randrange(4)
        if which < 2:
            data = _mutated_header(data, dice)
        elif which == 2:
            data = mutated_bytes(data, dice)
        (mutated / "model.safetensors").write_bytes(data)
        _write_json(mutated / "config.json", mutated_json(config, dice) if which == 3 else config, None)
        checkpoint = open_model(mutated)
        assert all(bool(torch.isfinite(weight).all()) for weight in checkpoint.weights.values())
        assert all(isinstance(codes, QuantizedWeight) for codes in checkpoint.quantized.values())

    return attempt


def _mutated_header(data: bytes, dice: random.Random) -> bytes:
    """Mutate the header of a safetensors file: its JSON, with the right length, or its bytes."""
    length = int.from_bytes(data[:8], "little")
    header, tensors = data[8 : 8 + length], data[8 + length :]
    if dice.random() < 0.7:
        header = json.dumps(mutated_json(json.loads(header), dice)).encode()
        return len(header).to_bytes(8, "little") + header + tensors
    return mutated_bytes(data[: 8 + length], dice) + tensors


def tokenizers(folder: Path) -> Attempt:
    """Mutate tokenizer.json and tokenizer.model; one that opens encodes and decodes."""
    original = json.loads(tiny_tokenizer().read_text())
    original["model"]["merges"] = original["model"]["merges"][:20]
    (folder / "text").write_text(TEXT)
    SentencePieceTrainer.train(
        input=folder / "text", model_prefix=folder / "trained", vocab_size=30, minloglevel=2
    )
    trained = (folder / "trained.model").read_bytes()

    def attempt(dice: random.Random) -> None:
        path = folder / dice.choice(("tokenizer.json", "tokenizer.model"))
        if path.suffix == ".json":
            _write_json(path, mutated_json(original, dice), dice)
        else:
            path.write_bytes(mutated_bytes(trained, dice))
        tokenizer = Tokenizer(path)
        tokenizer.decode(tokenizer.encode("The mouse</s> \0 é sat"))

    return attempt


def reports(folder: Path) -> Attempt:
    """Mutate a latency report and render it; no text of the file becomes markup of the page."""
    originals = [json.loads(r.model_dump_json()) for r in (made_up_report(), emulated_report())]

    def attempt(dice: random.Random) -> None:
        _write_json(folder / "report.json", mutated_json(dice.choice(originals), dice), dice)
        report = read_report(folder / "report.json")
        assert markdown(report)
        assert "<script>fuzz" not in page(report)

    return attempt


READERS: dict[str, Callable[[Path], Attempt]] = {
    reader.__name__: reader for reader in (manifests, configs, checkpoints, tokenizers, reports)
}


def _write_json(path: Path, value: Any, dice: random.Random | None) -> None:
    """Write a value as JSON; with dice, the bytes are mutated too, now and then."""
    data = json.dumps(value).encode()
    path.write_bytes(mutated_bytes(data, dice) if dice is not None and dice.random() < 0.15 else data)


def fuzz(name: str, seed: int, inputs: int, seconds: float, first: int = 0) -> Counter[str]:
    """Read mutated files until ``inputs`` of them or ``seconds`` are over.

    Returns:
        how many were "read" and "refused".

    Raises:
        AssertionError: a reader did something else than to read, or to refuse with one sentence.
    """
    endings: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        attempt = READERS[name](Path(folder))
        end = time.monotonic() + seconds
        for index in count(first):
            began = time.monotonic()
            if index == first + inputs or began > end:
                return endings
            try:
                endings[_ending(attempt, random.Random(f"{name} {seed} {index}"))] += 1
                assert time.monotonic() - began < LONGEST_SECONDS, "it took too long"
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                raise AssertionError(f"{name}: input {index} of seed {seed}") from error
    raise AssertionError("unreachable")


def _ending(attempt: Attempt, dice: random.Random) -> str:
    try:
        attempt(dice)
    except ValueError as error:
        refusal = error
    else:
        return "read"
    sentence = str(refusal)
    assert type(refusal) is ValueError, f"{type(refusal).__name__} instead of a sentence: {sentence}"
    assert sentence.encode(), "an empty sentence, or one that cannot be printed"
    assert "\n" not in sentence, f"more than one line: {sentence}"
    return "refused"


def main() -> int:
    """Run the command; returns 1 if there was a finding."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="stop after this many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="start with this input, to repeat a finding")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    try:
        endings = fuzz(arguments.reader, arguments.seed, arguments.inputs, arguments.seconds, arguments.first)
    except AssertionError:
        traceback.print_exc()
        return 1
    print(f"{arguments.reader}: {endings.total():,} inputs, {endings['read']:,} read, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
