"""A program's figures and its fake-quantised model's lie within the stated bounds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.data import PackedBlocks
from edge.evaluation.bounds import error_bounds
from edge.evaluation.candidate import open_candidate
from edge.evaluation.multiple_choice import accuracy
from edge.evaluation.perplexity import file_perplexity, perplexity
from edge.evaluation.questions import read_questions
from edge.formats import grid_for_bits
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.conftest import shared_data
from runtime_tests.tiny import save_tiny

#: Bits, bits of the embedding, and KV cache: every kind of error that a bound has a term for.
OPTIONS = [(1, 8, "fp32"), (1.58, 8, "int8"), (2, 4, "fp32"), (3, 8, "fp32"), (4, 16, "fp32")]
WORDS = ["mouse", "cake", "night", "baker", "ants", "sat", "beside", "glad", "kept", "away"]


def export(directory, bits, *options):
    to_pte.main(["--bits", f"{bits:g}", *options, "--output", str(directory)])
    return open_candidate(str(directory))


@pytest.fixture(scope="module", params=OPTIONS, ids=str)
def pair(request, tmp_path_factory):
    """A tiny checkpoint and its program."""
    bits, embedding_bits, cache = request.param
    directory = tmp_path_factory.mktemp("pair")
    checkpoint = str(save_tiny(directory / "checkpoint", grid_for_bits(bits), head_dim=12))
    options = ["--model", checkpoint, "--embedding-bits", str(embedding_bits), "--kv-cache", cache]
    return open_candidate(checkpoint), export(directory / "out", bits, *options)


def test_logits_and_perplexity(pair):
    checkpoint, program = pair
    tokens = np.random.default_rng(1).integers(3, 304, 4 * 64).astype(np.int32)
    blocks = PackedBlocks(tokens, context=63)
    errors = []
    checkpoint.model.model.reach(64)
    for block in blocks.blocks.tolist():
        with torch.no_grad():
            logits = checkpoint.model.model(torch.tensor([block]))[0]
        steps = [program.model.program.forward([token], at) for at, token in enumerate(block)]
        errors.append(torch.stack(steps) - logits)
    assert 0 < torch.stack(errors).square().mean().sqrt() <= program.bounds.logit_rms

    (value, count), (of_program, _) = (perplexity(candidate.model, blocks) for candidate in pair)
    distance, bound = abs(math.log(of_program / value)), math.log(program.bounds.perplexity_factor(count))
    print(f"log-perplexities differ by {distance:.4f} of {bound:.4f}")
    assert distance <= bound


def test_accuracy(pair, tmp_path):
    generator = np.random.default_rng(2)
    rows = [
        {
            "query": " ".join(generator.choice(WORDS, 5)),
            "choices": [" ".join(generator.choice(WORDS, n)) for n in (1, 2, 3)],
            "gold": int(generator.integers(3)),
        }
        for _ in range(60)
    ]
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _check_accuracies(pair, read_questions(str(path)))


def _check_accuracies(pair, questions, widest=0.11):
    """Args: widest: the bound must be worth something; it grows with the questions that are nearly a tie."""
    checkpoint, program = (accuracy(candidate, questions) for candidate in pair)
    for a, b in ((checkpoint.raw, program.raw), (checkpoint.normalized, program.normalized)):
        print(f"accuracy {a.value:.3f}, of the program {b.value:.3f}, within {b.distance:.3f}")
        assert abs(a.value - b.value) <= b.distance < widest


def test_a_program_without_a_fake_quantised_model_has_no_bound(pair):
    manifest = read_manifest(Path(pair[1].facts.model))
    assert error_bounds(manifest) == pair[1].bounds
    kept = {"format": "mixed", "formats": {"layers.0.mlp.up_proj": "fp16", "layers.1.mlp.up_proj": "int2"}}
    for change in ({"recipe": "xnnpack-8da4w"}, {"recipe": "fp32"}, {"format": "fp16"}, kept):
        assert error_bounds(manifest.model_copy(update=change)) is None


def test_a_table_on_its_learned_grid_adds_no_error(pair):
    manifest = read_manifest(Path(pair[1].facts.model)).model_copy(update={"embedding_learned": True})
    proof = manifest.verification
    assert error_bounds(manifest).logit_rms == math.hypot(proof.rounding_rms, proof.program_rms)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The embedded 2-bit model and its program."""
    return open_candidate("default/2bit"), export(tmp_path_factory.mktemp("embedded") / "out", 2)


def test_perplexity_of_the_embedded_model(embedded):
    """On held-out stories; the bound is narrow enough to tell the model from that of another bit width."""
    text = f"{shared_data('tinystories/heldout.txt')}:4000"
    other = open_candidate("default/1bit")
    checkpoint, program, another = (file_perplexity(each, text, None) for each in (*embedded, other))
    bound = math.log(program.factor)
    print(f"{checkpoint.value:.4f}, of the program {program.value:.4f}, within a factor {program.factor:.4f}")
    assert abs(math.log(program.value / checkpoint.value)) <= bound
    assert abs(math.log(another.value / checkpoint.value)) > 2 * bound


@pytest.mark.parametrize(("name", "widest"), [("arc_easy", 0.1), ("winogrande", 0.2)])
def test_accuracy_of_the_embedded_model(embedded, name, widest):
    _check_accuracies(embedded, read_questions(str(shared_data(f"zeroshot/{name}.jsonl")), 50), widest)
