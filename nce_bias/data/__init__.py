"""Real label spaces, shipped with the package: nothing is downloaded, nothing written to disk."""

from nce_bias.data.batches import minibatches
from nce_bias.data.next_word import NextWord, next_word

__all__ = ["NextWord", "minibatches", "next_word"]
