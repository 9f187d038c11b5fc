"""Nested clusters and residuals against versions that are written out number by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.model.decoder import named_linears
from edge.quantize.nested import others
from edge.quantize.nested.any_precision import clustered, nested_codes
from edge.quantize.nested.residual import residual
from runtime_tests.tiny import tiny_checkpoint

ROWS, COLUMNS = 3, 40


@pytest.fixture(scope="module")
def weight() -> torch.Tensor:
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def shares() -> torch.Tensor:
    return torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1)) ** 4


def mean(members: list[tuple[float, float]]) -> float:
    return sum(s * x for x, s in members) / sum(s for _, s in members)


def error(members: list[tuple[float, float]]) -> float:
    return sum(s * (x - mean(members)) ** 2 for x, s in members) if members else 0.0


def slow_halves(members: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Try every place to split a sorted cluster."""
    places = range(1, len(members))
    place = min(places, key=lambda p: error(members[:p]) + error(members[p:]), default=len(members))
    return [members[:place], members[place:]]


def slow_values(weight: torch.Tensor, shares: torch.Tensor, codes: torch.Tensor, first: int, bits: int):
    """Weights of ``bits``, from the clusters of the first width on."""
    values = torch.empty_like(weight, dtype=torch.float64)
    for row in range(len(weight)):
        pairs = sorted(zip(weight[row].tolist(), shares[row].tolist(), range(COLUMNS), strict=True))
        first_codes = (codes[row] >> (8 - first)).tolist()
        clusters = [[(x, s) for x, s, i in pairs if first_codes[i] == c] for c in range(2**first)]
        for _ in range(first, bits):
            clusters = [half for cluster in clusters for half in slow_halves(cluster)]
        of = {x: mean(cluster) for cluster in clusters for x, _ in cluster}
        values[row] = torch.tensor([of[x] for x in weight[row].tolist()], dtype=torch.float64)
    return values


@pytest.mark.parametrize("first", [2, 3])
def test_each_cluster_is_split_where_the_error_becomes_least(weight, shares, first: int):
    codes = nested_codes(weight, shares, first)
    for bits in range(first, 9):
        expected = slow_values(weight, shares, codes, first, bits)
        torch.testing.assert_close(
            clustered(weight, shares, codes, bits).double(), expected, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("first", [2, 3])
def test_no_weight_is_nearer_to_another_cluster_of_the_first_width(weight, shares, first: int):
    """Tests that k-means ended, and that it did not stop at the halves that it began with."""
    codes = nested_codes(weight, shares, first) >> (8 - first)
    values = clustered(weight, shares, codes << (8 - first), first)
    for row in range(ROWS):
        distance = (weight[row][:, None] - values[row].unique()[None]).abs()
        torch.testing.assert_close(distance.min(dim=1).values, (weight[row] - values[row]).abs())
        assert values[row].unique().numel() == 2**first


@pytest.mark.parametrize("first", [2, 3])
def test_a_wider_codebook_refines_the_narrower(weight, shares, first: int):
    codes = nested_codes(weight, shares, first)
    errors = []
    for bits in range(first, 9):
        wide, narrow = (clustered(weight, shares, codes, b) for b in (min(bits + 1, 8), bits))
        for row in range(ROWS):
            for value in wide[row].unique():
                assert narrow[row][wide[row] == value].unique().numel() == 1
        errors.append(float((shares * (weight - narrow) ** 2).sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9  # 40 weights have clusters of their own


def test_weights_count_by_their_shares(weight, shares):
    """A weight that counts a thousand times as much is met better."""
    heavy = shares.clone()
    heavy[0, 7] = 1000.0
    found = clustered(weight, heavy, nested_codes(weight, heavy, 2), 2)
    assert abs(float(found[0, 7] - weight[0, 7])) < 1e-2


def test_rows_that_give_little_to_cluster():
    weight = torch.tensor([[0.5] * 6, [0.0] * 6, [3.0, -1.0, 3.0, -1.0, 3.0, 2.0]])
    for shares in (torch.zeros_like(weight), torch.eye(6)[:3]):
        codes = nested_codes(weight, shares, 3)
        assert 0 <= int(codes.min()) <= int(codes.max()) < 256
        torch.testing.assert_close(clustered(weight, shares, codes, 3), weight)


def test_a_weight_counts_as_its_squared_gradient():
    checkpoint = tiny_checkpoint()
    samples = torch.randint(304, (2, 12), generator=torch.Generator().manual_seed(3))
    found = others.squared_gradients(checkpoint, samples)
    model = build_model(checkpoint)
    name, linear = list(named_linears(model.double()).items())[5]

    def loss(sample: torch.Tensor, change: float) -> float:
        with torch.no_grad():
            linear.weight[2, 3] += change
            value = float(F.cross_entropy(model(sample[None, :-1])[0], sample[1:]))
            linear.weight[2, 3] -= change
        return value

    slopes = [(loss(sample, 1e-4) - loss(sample, -1e-4)) / 2e-4 for sample in samples]
    assert float(found[name][2, 3]) == pytest.approx(np.mean(np.square(slopes)), rel=1e-3)


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_residuals_are_rounded_one_after_another(weight, bits: int):
    left, total = weight.double().numpy(), np.zeros((ROWS, COLUMNS))
    for _ in range(bits // 2):
        low, high = left.min(axis=1, keepdims=True), left.max(axis=1, keepdims=True)
        step = (high - low) / 3
        part = low + np.rint((left - low) / step) * step
        left, total = left - part, total + part
    np.testing.assert_allclose(residual(weight, bits).numpy(), total, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method=residual", "--bits=3"], "add up to 2, 4, 6 or 8 bits, not 3"),
        (["--method=any-precision", "--bits=2"], "any-precision from 3 bits has no model of 2"),
        (["--method=any-precision", "--bits=4"], "any-precision needs --calibration"),
    ],
)
def test_what_a_scheme_does_not_have(full: Path, tmp_path: Path, words: list[str], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        others.main([f"--model={full}", f"--output={tmp_path / 'out'}", *words])


def test_only_linears_are_rounded(full: Path, tmp_path: Path):
    words = ["--method=residual", "--bits=2", f"--model={full}", f"--output={tmp_path / 'out'}"]
    assert others.main(words) == 0
    before, after = open_model(full), open_model(tmp_path / "out")
    linears = {f"{name}.weight" for name in named_linears(build_model(before))}
    for name in before.weights:
        expected = residual(before.weights[name], 2) if name in linears else before.weights[name]
        assert torch.equal(after.weights[name], expected), name
