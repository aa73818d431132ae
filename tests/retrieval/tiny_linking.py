"""A tiny data set for entity linking, whose mentions name entities by other words.

An entity is a colour and an animal, a mention says both by synonyms: before training nothing
links them, and what is learnt in three worlds is true in all five. Train worlds are not neighbours
and not of one size, mentions of a world are not neighbours either, and texts are of all lengths.
"""

import re
from typing import Any, ClassVar

import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.data.linking import Entity, EntityLinking, Mention
from nce_bias.retrieval import ranking, training
from nce_bias.train import loop
from tests.oracles import tower as oracle

COLOURS = {"red": "crimson", "blue": "azure", "green": "verdant", "white": "pale"}
ANIMALS = {"dog": "hound", "cat": "feline", "bird": "avian"}
WORLDS = {"ash": 12, "elm": 12, "birch": 11, "fir": 12, "cedar": 12}  # their entities
SPLITS = {"train": ("ash", "birch", "cedar"), "val": ("elm",), "test": ("fir",)}
MENTIONS = {"train": 40, "val": 12, "test": 12}
HIDDEN, SIZE = 16, 8  # H and d
BUCKETS = 512
LONGEST = 32  # words of a text that are read


def kinds(count: int) -> list[tuple[str, str]]:
    return [(colour, animal) for colour in COLOURS for animal in ANIMALS][:count]


def data() -> EntityLinking:
    entities, spans = [], {}
    for world, count in WORLDS.items():
        spans[world] = slice(len(entities), len(entities) + count)
        for place, (colour, animal) in enumerate(kinds(count)):
            length = {2: 40, 5: 9}.get(place, place % 3)  # words: 40 is more than is read
            text = " ".join(["of", world, *(["so", "on"] * 20)][:length])
            title = f"{colour} {animal}"
            entities.append(Entity(f"{world}{place}", title, text, world, 3 * place % 7))
    mentions = {}
    for split, worlds in SPLITS.items():
        found = []
        for index in range(MENTIONS[split]):
            world = worlds[index % len(worlds)]
            place = 5 * index % WORLDS[world]
            colour, animal = kinds(WORLDS[world])[place]
            left = ["", "a", "there, a", "and then in the end we saw a"][index % 4]
            right = ["", "ran", "so on " * 20][(index // 2) % 3]
            named = f"{COLOURS[colour]} {ANIMALS[animal]}"
            label = spans[world].start + place
            found.append(Mention(f"{split}{index}", left, named, right, label, world, ""))
        mentions[split] = tuple(found)
    return EntityLinking(tuple(entities), mentions, spans, "tiny", "none")


class Marked:
    """Words of `nb.text.hashed` between marks of its own, whose states are huge."""

    marks: ClassVar = (1, 2)
    fingerprint = "marked"

    def __init__(self) -> None:
        self.words = nb.text.hashed(HIDDEN, BUCKETS)

    def encode(self, texts: Any, progress: bool = True) -> nb.text.TokenStates:
        inner = self.words.encode(texts)
        values, ids = [], []
        for low, high in zip(inner.starts[:-1], inner.starts[1:], strict=True):
            for count, own in zip(self.marks, (slice(low, high), None), strict=True):
                values.append(np.full((count, HIDDEN), 1e4, np.float32))
                ids.append(np.full(count, 7, np.int32))
                if own is not None:
                    values.append(inner.values[own])
                    ids.append(inner.ids[own])
        starts = np.cumsum([0, *(inner.lengths + sum(self.marks))])
        return nb.text.TokenStates(np.concatenate(values), np.concatenate(ids), starts, BUCKETS)

    def lengths(self, texts: Any) -> np.ndarray:
        return self.words.lengths(texts)


def corpus(folder: Any) -> nb.retrieval.Corpus:
    return nb.retrieval.corpus(data(), Marked(), folder=folder)


def small_blocks(replace: Any) -> None:
    """Blocks for worlds of a dozen entities; `replace` is setattr, or that of monkeypatch."""
    replace(ranking, "INPUTS", 16)
    replace(ranking, "LABELS", 16)


# --- a run that is stopped

#: 4 epochs of 2 steps.
CONFIG = nb.retrieval.TrainingConfig(
    epochs=4, batch=20, mentions=40, learning_rate=1e-2, dim=SIZE, seed=1
)
SAMPLER = nb.top(3) + nb.iid(nb.uniform(), 3)
CHECKPOINTS = (0, 2, 3, 6)


def train(corpus: nb.retrieval.Corpus, folder: Any = None, **options: Any) -> nb.train.Fit:
    given = {
        "score": nb.scores.Dual(), "sampler": SAMPLER, "config": CONFIG,
        "checkpoints": CHECKPOINTS, "every": 2,
    }  # fmt: skip
    return nb.retrieval.train_retriever(corpus, folder=folder, progress=False, **(given | options))


def interrupt(patch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Ctrl-C in the call-th call of a function of training, before it does anything."""
    module = loop if name == "update" else training
    function, calls = getattr(module, name), []

    def interrupting(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    patch.setattr(module, name, interrupting)


# --- the same texts, word by word


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def read(found: list[str], roles: list[int]) -> oracle.Text:
    """A text of the words that are read."""
    states = nb.text.hashed(HIDDEN, BUCKETS).encode(found)  # each a text of its own
    count = min(len(found), LONGEST)
    return oracle.Text(states.values[:count], states.ids[:count], np.array(roles[:count]))


def entity(label: int) -> oracle.Text:
    found = words(data().entities[label].description)
    return read(found, [0] * len(found))


def mention(split: str, row: int) -> oracle.Text:
    one = data().mentions[split][row]
    parts = [words(part) for part in (one.left, one.text, one.right)]
    roles = [role for role, part in zip((0, 1, 0), parts, strict=True) for _ in part]
    return read([word for part in parts for word in part], roles)


def numbers(model: Any) -> Any:
    """A model with its arrays in NumPy's float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model)
