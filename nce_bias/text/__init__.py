"""Token states of texts, E(x) [T, H]: one vector per token.

Three kinds of encoder: `minilm`, pretrained, and `bert`, any other of its kind; `hashed`, learnable
character n-grams; `from_function`, any function of the user's.  Each one's ``encode(texts)`` gives
`TokenStates`; `cached` keeps those on disk.  `minilm` needs the extra ``retrieval`` and a package
of weights, and its error says how to install them; everything else works without weights.
"""

from nce_bias.text.cache import cached
from nce_bias.text.encoders import Encoder, FunctionEncoder, from_function
from nce_bias.text.extra import MissingExtra
from nce_bias.text.hashing import Hashed, hashed
from nce_bias.text.minilm import minilm
from nce_bias.text.pretrained import Bert, bert
from nce_bias.text.states import TokenStates

__all__ = [
    "Bert",
    "Encoder",
    "FunctionEncoder",
    "Hashed",
    "MissingExtra",
    "TokenStates",
    "bert",
    "cached",
    "from_function",
    "hashed",
    "minilm",
]
