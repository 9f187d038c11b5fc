"""The table of opponents that our exporter makes."""

from edge.latency.opponents.fp32 import FP32
from edge.latency.opponents.xnnpack_8da4w import XNNPACK_8DA4W

RECIPES = {recipe.name: recipe for recipe in (XNNPACK_8DA4W, FP32)}
