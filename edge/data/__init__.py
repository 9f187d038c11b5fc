"""Text from local files or hub datasets, tokenised once into a cache and packed into blocks."""

from edge.data.blocks import PackedBlocks, TokenStream, load_blocks, token_stream
from edge.data.order import EpochAfterEpoch
from edge.data.readers import DOCUMENT_SEPARATOR
from edge.data.sources import Source, documents

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
