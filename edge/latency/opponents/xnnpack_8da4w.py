"""XNNPACK's 4-bit linears with 8-bit activations: what ExecuTorch ships today."""

from edge.latency.opponents.recipe import Recipe

XNNPACK_8DA4W = Recipe("xnnpack-8da4w", bits=4, shown_bits=4)
