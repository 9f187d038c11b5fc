"""The export recipes by name; the first is the default. ``base.py`` has their protocol.

A new recipe is one file beside these and one row here.
"""

from export.recipes.base import Recipe
from export.recipes.fp32 import Fp32
from export.recipes.lowbit import Lowbit
from export.recipes.xnnpack_8da4w import Xnnpack8da4w

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (Lowbit(), Xnnpack8da4w(), Fp32())}
