"""Text to packed blocks of tokens: local files and shards, or hub datasets, tokenised once into a cache."""

from edge.training.data.blocks import PackedBlocks, TokenStream, load_blocks, token_stream
from edge.training.data.order import EpochAfterEpoch
from edge.training.data.readers import DOCUMENT_SEPARATOR
from edge.training.data.sources import Source, documents

__all__ = [
    "DOCUMENT_SEPARATOR",
    "EpochAfterEpoch",
    "PackedBlocks",
    "Source",
    "TokenStream",
    "documents",
    "load_blocks",
    "token_stream",
]
