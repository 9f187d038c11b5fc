"""ParetoQ and MatQuant as methods of torchao's ``quantize_``, on the linears of any model.

Importing this package registers the configs with torchao, and the weights with its safetensors files.
"""

from edge.integrations.torchao.config import MatQuantConfig, ParetoQConfig, PostTrainingConfig, linears
from edge.integrations.torchao.tensor import LowBitTensor

__all__ = ["LowBitTensor", "MatQuantConfig", "ParetoQConfig", "PostTrainingConfig", "linears"]
