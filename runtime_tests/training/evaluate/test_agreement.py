"""A program's figures and its fake-quantised model's lie within the stated bounds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.formats import BITS_CHOICES, format_for_bits
from edge.manifest import read_manifest
from edge.training.data import PackedBlocks
from edge.training.evaluate.agreement import agreement
from edge.training.evaluate.multiple_choice import accuracy, read_questions
from edge.training.evaluate.perplexity import file_perplexity, perplexity
from edge.training.evaluate.subject import open_subject
from export import to_pte
from runtime_tests.conftest import shared_data
from runtime_tests.tiny import save_tiny

OPTIONS = [
    *((bits, "8", "fp32") for bits in BITS_CHOICES),
    (2, "4", "fp32"),
    (2, "16", "fp32"),
    (2, "8", "int8"),
]


def export(directory, bits, *options):
    to_pte.main(["--bits", f"{bits:g}", *options, "--output", str(directory)])
    return str(directory)


@pytest.fixture(scope="module", params=OPTIONS, ids=str)
def pair(request, tmp_path_factory):
    """A tiny checkpoint and its program."""
    bits, embedding, cache = request.param
    directory = tmp_path_factory.mktemp("pair")
    checkpoint = str(save_tiny(directory / "checkpoint", format_for_bits(bits), head_dim=12))
    options = ["--model", checkpoint, "--embedding-bits", embedding, "--kv-cache", cache]
    return open_subject(checkpoint), open_subject(export(directory / "out", bits, *options))


def test_logits_and_perplexity(pair):
    checkpoint, program = pair
    e = program.agreement.logit_rms
    tokens = np.random.default_rng(1).integers(3, 304, 4 * 64).astype(np.int32)
    blocks = PackedBlocks(tokens, context=63)
    difference = []
    for block in blocks.blocks.tolist():
        with torch.no_grad():
            logits = checkpoint.model.model(torch.tensor([block]))[0]
        steps = [program.model.program.forward([token], at) for at, token in enumerate(block)]
        difference.append(torch.stack(steps) - logits)
    rms = torch.stack(difference).square().mean().sqrt().item()
    ratio = perplexity(program.model, blocks)[0] / perplexity(checkpoint.model, blocks)[0]
    print(f"logits {rms:.3g} of {e:.3g}; perplexity {ratio:.4f} of {program.agreement.perplexity_factor:.4g}")
    assert rms <= e
    assert abs(math.log(ratio)) <= math.log(program.agreement.perplexity_factor)


def test_accuracy(pair, tmp_path):
    checkpoint, program = pair
    generator = np.random.default_rng(2)
    words = ["mouse", "cake", "night", "baker", "ants", "sat", "beside", "glad", "kept", "away"]
    rows = [
        {
            "query": " ".join(generator.choice(words, 5)),
            "choices": [" ".join(generator.choice(words, n)) for n in (1, 2, 3)],
            "gold": int(generator.integers(3)),
        }
        for _ in range(60)
    ]
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = read_questions(str(path))
    _check_accuracy(accuracy(checkpoint, file), accuracy(program, file))


def _check_accuracy(checkpoint, program):
    for a, b in ((checkpoint.raw, program.raw), (checkpoint.normalized, program.normalized)):
        print(f"accuracy {a.value:.3f}, program {b.value:.3f}, undecided {b.undecided:.3f}")
        assert abs(a.value - b.value) <= b.undecided


def test_other_programs_have_no_bound(pair):
    manifest = read_manifest(Path(pair[1].facts.model))
    assert agreement(manifest) == pair[1].agreement
    assert agreement(manifest.model_copy(update={"recipe": "xnnpack-8da4w"})) is None


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The embedded 2-bit model and its program."""
    directory = tmp_path_factory.mktemp("embedded") / "out"
    return open_subject("default/2bit"), open_subject(export(directory, 2))


def test_perplexity_of_the_embedded_model(embedded):
    """Ten thousand tokens of held-out stories; the model of another bit width is outside the bound's reach
    of what program and checkpoint really differ by."""
    text = f"{shared_data('tinystories/heldout.txt')}:10000"
    checkpoint, program = (file_perplexity(subject, text, None) for subject in embedded)
    distance = abs(math.log(program.value / checkpoint.value))
    print(f"{checkpoint.value:.4f}, program {program.value:.4f}, bound {program.factor:.4f}")
    assert distance <= math.log(program.factor)
    other = file_perplexity(open_subject("default/1bit"), text, None)
    assert distance < abs(math.log(other.value / checkpoint.value)) / 4


@pytest.mark.parametrize("name", ["arc_easy", "boolq", "winogrande"])
def test_accuracy_of_the_embedded_model(embedded, name):
    file = read_questions(str(shared_data(f"zeroshot/{name}.jsonl")), 150)
    _check_accuracy(*(accuracy(subject, file) for subject in embedded))
