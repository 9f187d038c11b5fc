"""ParetoQ and MatQuant as methods of torchao's ``quantize_``, on the linears of any model.

Importing this package registers the configs with torchao, and ``paretoq`` with transformers.
"""

from edge.integrations.torchao.compare import compare, nbytes
from edge.integrations.torchao.config import (
    MatQuantConfig,
    ParetoQConfig,
    PostTrainingConfig,
    linears,
    set_width,
)
from edge.integrations.torchao.tensor import LowBitTensor
from edge.integrations.torchao.transformers_method import ParetoQQuantizationConfig

__all__ = [
    "LowBitTensor",
    "MatQuantConfig",
    "ParetoQConfig",
    "ParetoQQuantizationConfig",
    "PostTrainingConfig",
    "compare",
    "linears",
    "nbytes",
    "set_width",
]
