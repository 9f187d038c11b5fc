"""List the methods that quantise a trained model; a new one is a file and a row here."""

from edge.quantizers.gptq import GPTQ
from edge.quantizers.nested import WeightedSlices
from edge.quantizers.omniquant import OmniQuant
from edge.quantizers.post_training import PostTraining
from edge.quantizers.rtn import RTN

POST_METHODS: dict[str, PostTraining] = {
    method.name: method
    for method in (
        RTN(),
        GPTQ(),
        GPTQ("gptq-in-order", act_order=False),
        OmniQuant(),
        OmniQuant("omniquant-clipping", transforms=False),
        OmniQuant("matquant", slices=WeightedSlices()),
    )
}
