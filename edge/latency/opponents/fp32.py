"""The model as it is, in fp32 on XNNPACK."""

from edge.latency.opponents.recipe import Recipe

FP32 = Recipe("fp32", bits=16, shown_bits=32)
