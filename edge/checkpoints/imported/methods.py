"""Find the format of a checkpoint that another project quantised, by its ``quantization_config``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.checkpoints.hf_config import CONFIG_NAME
from edge.checkpoints.hf_grids import QUANTIZATION_KEY
from edge.checkpoints.hf_values import short_json
from edge.checkpoints.imported.awq import Awq
from edge.checkpoints.imported.compressed_tensors import CompressedTensors
from edge.checkpoints.imported.formats import Format
from edge.checkpoints.imported.gptq import Gptq

#: By ``quant_method``; another format is a file and a row here.
FORMATS: dict[str, type[Format]] = {
    "gptq": Gptq,
    "awq": Awq,
    "compressed-tensors": CompressedTensors,
}
#: Why the weights of some other methods cannot be taken over.
_REASONS = {
    "bitsandbytes": "its levels are not evenly spaced (NF4, FP4), or columns stay in half precision (int8)",
    "fp8": "its levels are floating-point numbers",
    "fbgemm_fp8": "its levels are floating-point numbers",
    "mxfp4": "its levels are floating-point numbers",
    "hqq": "its zeros lie between the codes, and are quantised themselves",
    "aqlm": "its weights are sums of vectors from a codebook",
    "vptq": "its weights are vectors from a codebook",
    "spqr": "some of its weights stay in full precision",
    "higgs": "its levels are not evenly spaced",
}


def format_of(directory: Path, hf: dict[str, Any]) -> Format:
    """Read the ``quantization_config`` of a config.json that has one.

    Raises:
        ValueError: another method, or settings that are wrong or cannot be run.
    """
    settings = hf[QUANTIZATION_KEY]
    try:
        if not isinstance(settings, dict):
            raise ValueError(f"must be an object, not {short_json(settings)}")
        method = settings.get("quant_method")
        if method not in tuple(FORMATS):
            reason = _REASONS.get(str(method), "this project does not read its files")
            raise ValueError(
                f"quant_method is {short_json(method)}: {reason}; give the checkpoint from before it was "
                f"quantised, or one quantised by {', '.join(FORMATS)}"
            )
        return FORMATS[method].of(settings)
    except ValueError as error:
        raise ValueError(f"{directory / CONFIG_NAME}: {QUANTIZATION_KEY}: {error}") from error
