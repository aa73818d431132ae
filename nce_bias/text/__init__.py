"""Token states of texts, E(x): one vector per token, from a frozen or a learnable encoder."""

from nce_bias.text.minilm import MiniLM, minilm
from nce_bias.text.states import TokenStates

__all__ = ["MiniLM", "TokenStates", "minilm"]
