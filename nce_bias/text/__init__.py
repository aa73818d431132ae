"""Token states E(x) of texts: a frozen encoder, learned hashed subwords, or any function.

An encoder has `encode(texts) -> TokenStates`, `lengths(texts)` (tokens of each text, without
special ones), `prefix` (special tokens before a text's own) and `fingerprint` (what names its
states on disk, so that those of other weights are never taken for them). `cached` keeps states.
"""

from nce_bias.text.cache import cached, default_folder
from nce_bias.text.function import from_function
from nce_bias.text.hashed import Embedding, embedding, hashed
from nce_bias.text.minilm import MissingExtra, minilm
from nce_bias.text.states import TokenStates

__all__ = [
    "Embedding",
    "MissingExtra",
    "TokenStates",
    "cached",
    "default_folder",
    "embedding",
    "from_function",
    "hashed",
    "minilm",
]
