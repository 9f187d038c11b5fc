"""Quantised weights as values: dequantising, joining and splitting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge.formats.encoding import ENCODING_BY_NAME
from edge.formats.weight import QuantizedWeight, can_share_a_table, concatenate
from runtime_tests.ops.tables import QUANTIZED, Form, name_of, random_weight

BITS4 = ENCODING_BY_NAME["bits4"]


@pytest.mark.parametrize("form", QUANTIZED, ids=name_of)
def test_each_weight_is_scale_times_code_less_zero(form: Form):
    weight = random_weight(5, 100, form)
    values, size = weight.dequantize(), form.group_size or 100
    for row in range(5):
        for column in range(100):
            group = column // size
            zero = weight.zero[row, group].item() if form.has_zeros else weight.zero
            difference = np.float32(np.float32(weight.codes[row, column].item()) - np.float32(zero))
            assert values[row, column].item() == difference * np.float32(weight.scale[row, group].item())


@pytest.mark.parametrize("form", QUANTIZED, ids=name_of)
def test_joining_and_splitting_are_inverse(form: Form):
    parts = [random_weight(rows, 100, form, seed=rows) for rows in (3, 1, 7)]
    joined = concatenate(parts)
    assert joined.rows == 11
    assert torch.equal(joined.dequantize(), torch.cat([part.dequantize() for part in parts]))
    for part, again in zip(parts, joined.split([3, 1, 7]), strict=True):
        assert part.equals(again)


def test_weights_of_different_forms_share_no_table():
    codes, scale = torch.zeros(2, 64, dtype=torch.uint8), torch.ones(2, 1)
    plain = QuantizedWeight(codes, scale, 8.0, BITS4)
    others = [
        QuantizedWeight(codes, scale, 7.5, BITS4),
        QuantizedWeight(codes, scale, torch.full((2, 1), 8.0), BITS4),
        QuantizedWeight(codes, torch.ones(2, 2), 8.0, BITS4, 32),
        QuantizedWeight(codes, scale, 8.0, ENCODING_BY_NAME["bits5"]),
        QuantizedWeight(codes, scale, 8.0, BITS4, order=torch.arange(64).flip(0)),
    ]
    assert can_share_a_table(plain, QuantizedWeight(codes, 2 * scale, 8.0, BITS4))
    for other in others:
        assert not can_share_a_table(plain, other)
        assert not plain.equals(other)
        with pytest.raises(ValueError, match="only weights of one encoding, group size and kind of zero"):
            concatenate([plain, other])


def test_sorted_columns_are_put_back():
    weight = random_weight(5, 100, Form(BITS4, group_size=32))
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    ordered = replace(weight, order=order)
    assert torch.equal(ordered.dequantize()[:, order], weight.dequantize())
    assert torch.equal(ordered[1:3].dequantize(), ordered.dequantize()[1:3])
    assert not ordered.equals(weight)
    for wrong in (torch.zeros(100, dtype=torch.int64), torch.arange(99)):
        with pytest.raises(ValueError, match="order must name each column once"):
            replace(weight, order=wrong)
