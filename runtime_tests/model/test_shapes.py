"""Shapes in words: published names and sizes."""

from __future__ import annotations

import pytest

from edge.model.config import MOBILELLM, NAMED_MODELS, ModelConfig
from edge.model.shapes import parse_shape, shape_text


@pytest.mark.parametrize("name", NAMED_MODELS)
def test_a_name_is_that_shape(name):
    assert parse_shape(name) is NAMED_MODELS[name]
    assert shape_text(NAMED_MODELS[name]) == name


def test_sizes_of_a_published_shape_are_that_shape():
    assert parse_shape("dim=576,layers=30,heads=9,kv_heads=3,ffn_dim=1536") == MOBILELLM["125M"]


def test_sizes_come_back():
    config = ModelConfig(512, 96, 4, 6, 3, 256, head_dim=16)
    text = "dim=96,layers=4,heads=6,kv_heads=3,ffn_dim=256,head_dim=16,vocab_size=512"
    assert shape_text(config) == text
    assert parse_shape(text) == config


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("7B", "unknown shape 7B; known are default, 125M"),
        ("dim=576", "lacks layers, heads, kv_heads, ffn_dim"),
        ("dim=576,layers=-3,heads=9,kv_heads=3,ffn_dim=1536", "has 'layers=-3'"),
        ("dim=576,dim=576,layers=3,heads=9,kv_heads=3,ffn_dim=1536", "has 'dim=576'"),
        ("dim=576,layers=3,heads=9,kv_heads=3,ffn_dim=1536,depth=3", "has 'depth=3'"),
        ("dim=576,layers=3,heads=9,kv_heads=2,ffn_dim=1536", "9 heads cannot share 2 key/value heads evenly"),
        ("dim=0,layers=3,heads=9,kv_heads=3,ffn_dim=1536", "dim must be a positive integer"),
    ],
)
def test_a_shape_that_is_none_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_shape(text)
