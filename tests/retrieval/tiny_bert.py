"""A random BERT of two layers, H = 16, for the words of the tiny data set, as files."""

import json
import pathlib
import re
from typing import Any

import numpy as np
import safetensors.numpy
import tokenizers

import nce_bias as nb
from tests.retrieval import tiny_linking as tiny

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[unused0]", "[unused1]"]
HIDDEN, INNER, LAYERS, HEADS, POSITIONS = 16, 24, 2, 2, 64


def words() -> list[str]:
    data = tiny.data()
    texts = [entity.description for entity in data.entities]
    texts += [mention.context for some in data.mentions.values() for mention in some]
    return sorted({word for text in texts for word in re.findall(r"\w+|:|,", text.lower())})


def tensors(vocabulary: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (0.5 * random.normal(size=shape)).astype("f4")

    sizes = {"word": vocabulary, "position": POSITIONS, "token_type": 2}
    found = {f"embeddings.{k}_embeddings.weight": normal(n, HIDDEN) for k, n in sizes.items()}
    dense = {"intermediate.dense": (INNER, HIDDEN), "output.dense": (HIDDEN, INNER)}
    for name in ("self.query", "self.key", "self.value", "output.dense"):
        dense[f"attention.{name}"] = (HIDDEN, HIDDEN)
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        for name, shape in dense.items():
            found[f"encoder.layer.{layer}.{name}.weight"] = normal(*shape)
            found[f"encoder.layer.{layer}.{name}.bias"] = normal(shape[0])
        norms += [f"encoder.layer.{layer}.{n}LayerNorm" for n in ("attention.output.", "output.")]
    found |= {f"{name}.weight": 1 + normal(HIDDEN) for name in norms}
    return found | {f"{name}.bias": normal(HIDDEN) / 5 for name in norms}


def write(folder: pathlib.Path, marks: list[str] = MARKS, **changed: Any) -> pathlib.Path:
    """The three files; `changed` are tensors in place of the random ones, None for none."""
    pieces = [*marks, *words()]
    found = tensors(len(pieces)) | {name.replace("__", "."): a for name, a in changed.items()}
    kept = {name: array for name, array in found.items() if array is not None}
    safetensors.numpy.save_file(kept, folder / "model.safetensors")
    config = {
        "model_type": "bert", "vocab_size": len(pieces), "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "layer_norm_eps": 1e-12, "max_position_embeddings": POSITIONS,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    ids = {piece: number for number, piece in enumerate(pieces)}
    kind = tokenizers.models.WordPiece(ids, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(kind)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"])
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def encoder(folder: pathlib.Path, max_tokens: int = POSITIONS) -> nb.text.Bert:
    return nb.text.bert(write(folder), max_tokens=max_tokens)
