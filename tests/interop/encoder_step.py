"""One step of DUAL with its encoder trained, in seconds of PyTorch's: the same model and batches.

``python -m tests.interop.encoder_step`` in the environment of ``make test-interop``. A BERT of
MiniLM's sizes with random weights, 64 mentions and 192 entities a step with as many tokens as those
of WordNet's mentions have words, dropout, clipping, AdamW. PyTorch pads the texts of each side to
the longest; here they are packed.
"""

import json
import pathlib
import sys
from typing import Any

import equinox as eqx
import jax
import numpy as np
import torch

import nce_bias as nb
from analysis.benchmarks.timing import FEWER_ROUNDS, median, ratio, rounds
from nce_bias.retrieval import EncoderConfig, EncoderRetriever, pool
from nce_bias.retrieval.encoder import BertStates, Head
from nce_bias.retrieval.encoder_training import optimizer
from nce_bias.retrieval.tokens import packed, rounded
from nce_bias.text.bert import Form, Weights, arrange, shapes
from nce_bias.train.loop import update
from tests.interop import torch_encoder

MINILM = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
}
BATCH, MINED, STEPS, LONGEST = 64, 2, 4, 64
SCALE, RATE = 20.0, 0.1


def weights_of(config: dict[str, int], seed: int = 0) -> Weights:
    """Random ones, of the sizes that BERT begins with."""
    generator = np.random.default_rng(seed)
    tensors = {
        name: (0.02 * generator.normal(size=shape) + name.endswith("Norm.weight")).astype("f4")
        for name, shape in shapes(config).items()
    }
    return arrange(tensors, config["num_hidden_layers"])


def model_of(weights: Weights, config: dict[str, int], rate: float) -> EncoderRetriever:
    """DUAL on them: means of states, no map."""
    states = BertStates(weights, Form(config["num_attention_heads"], 1e-12), rate, remat=False)
    none = np.zeros((0, config["hidden_size"]), np.float32)
    head = Head(None, jax.numpy.asarray(none), None, mean=True)
    return EncoderRetriever(
        encoder=states,
        label_encoder=None,
        inputs=head,
        labels=head,
        score=nb.scores.Dual(),
        scale=SCALE,
    )


def texts_like(words: list[int], vocabulary: int, seed: int) -> list[np.ndarray]:
    """Texts of random tokens, four for three words and both marks."""
    generator = np.random.default_rng(seed)
    lengths = [min(LONGEST, 2 + round(count * 4 / 3)) for count in words]
    return [generator.integers(1, vocabulary, n).astype(np.int32) for n in lengths]


def batches(config: dict[str, int], count: int = STEPS) -> list[tuple[Any, Any, np.ndarray]]:
    """Mentions, pools and which texts of a pool are negatives."""
    data, generator = nb.data.entity_linking(), np.random.default_rng(0)
    found = []
    for step in range(count):
        rows = generator.choice(len(data.mentions["train"]), BATCH, replace=False)
        mentions = [data.mentions["train"][row] for row in rows]
        golds = data.labels("train")[rows]
        mined = generator.choice(len(data.entities), BATCH * MINED, replace=False)
        labels = np.concatenate([golds, mined])
        both = (
            [len(mention.context.split()) for mention in mentions],
            [len(data.entities[label].description.split()) for label in labels],
        )
        texts = [texts_like(w, config["vocab_size"], 2 * step + k) for k, w in enumerate(both)]
        found.append((*texts, golds[:, None] != labels))
    return found


def pool_of(batch: tuple[Any, Any, np.ndarray], step: int) -> pool.Pool:
    """The same batch, packed."""
    mentions, entities, present = batch
    texts = [*mentions, *entities]
    both = packed(texts, np.arange(len(texts)), rounded(max(map(len, texts)), pool.LEAST))
    return pool.Pool(both._replace(noise=np.array([0, step], np.uint32)), present)


def main(out: pathlib.Path) -> None:
    """Measure, print, write."""
    weights, given = weights_of(MINILM), batches(MINILM)
    steps, config = len(given), EncoderConfig(dropout=RATE)
    trained, constants = eqx.partition(model_of(weights, MINILM, RATE), eqx.is_inexact_array)
    chain, loss = optimizer(config, 1000), pool.PoolLoss(nb.infonce)
    moments = chain.init(trained)
    theirs = torch_encoder.parameters(weights)
    leaves = torch_encoder.leaves(theirs)
    adam = torch.optim.AdamW(leaves, lr=config.learning_rate, weight_decay=config.weight_decay)

    def ours() -> Any:
        state = trained, moments
        for step, batch in enumerate(given):
            state = update(loss, chain, constants, *state, pool_of(batch, step))[:2]
        return state

    def torchs() -> None:
        for batch in given:
            adam.zero_grad()
            heads = MINILM["num_attention_heads"]
            torch_encoder.loss_of(theirs, *batch, heads=heads, scale=SCALE, dropout=RATE).backward()
            torch.nn.utils.clip_grad_norm_(leaves, config.clip)
            adam.step()

    timed = rounds({"nce_bias": ours, "torch": torchs}, FEWER_ROUNDS)
    found = {name: median(timed, name) / steps for name in ("nce_bias", "torch")}
    tokens = [sum(map(len, [*mentions, *entities])) for mentions, entities, _ in given]
    about = {
        "seconds_a_step": found,
        "ratio": ratio(timed, "nce_bias", "torch"),
        "ratios": (
            timed.pivot(index="round", columns="call", values="wall")
            .eval("nce_bias / torch")
            .round(3)
            .tolist()
        ),
        "tokens_a_step": float(np.mean(tokens)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "jax": jax.__version__,
    }
    out.write_text(json.dumps(about, indent=1) + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
