"""Zero-shot entity linking as a data set: worlds of entities, and mentions of them in context."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nce_bias._checks import refuse
from nce_bias.data.card import card

SPLITS = ("train", "val", "test")


class Entity(NamedTuple):
    """A label: what may be linked to."""

    id: str
    title: str
    text: str
    world: str
    count: int  # tagged occurrences of it in a corpus, 0 where the files do not say

    @property
    def description(self) -> str:
        """Title and text as an encoder reads them: "title : text"."""
        return f"{self.title} : {self.text}"


class Mention(NamedTuple):
    """An input: the words of a mention with those around it, and the entity it means."""

    id: str
    left: str
    text: str
    right: str
    label: int  # an index into the entities
    world: str
    category: str  # overlap of mention and title, as ZeShEL defines it: HIGH_OVERLAP, ...

    @property
    def context(self) -> str:
        """The mention within the words on both sides of it."""
        return " ".join(part for part in (self.left, self.text, self.right) if part)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EntityLinking:
    """Mentions of three splits, and the entities of their worlds.

    A mention is linked among the entities of its own *world*: these are its label space.  No world
    is in two splits, so that every entity of a test mention is new: zero-shot.

    Attributes
    ----------
    entities : tuple of Entity, length N
        World after world; within a world in the order of the files.
    mentions : mapping of "train", "val", "test" to tuples of Mention
        In the order of the files.
    spans : mapping of world to slice
        The entities of each world.
    source, licence : str
        Where the text comes from and how it may be used.

    Raises
    ------
    ValueError
        For a mention of an unknown world, and one whose entity is none of its world's.

    Source: Logeswaran et al. (2019), *Zero-Shot Entity Linking by Reading Entity Descriptions*.
    """

    entities: tuple[Entity, ...]
    mentions: Mapping[str, tuple[Mention, ...]]
    spans: Mapping[str, slice]
    source: str
    licence: str

    def __post_init__(self) -> None:
        """Refuse a mention of an unknown world, or whose entity is none of its world's."""
        for split, mentions in self.mentions.items():
            for place, mention in enumerate(mentions):
                span = self.spans.get(mention.world)
                if span is None:
                    known = ", ".join(sorted(self.spans)) or "none"
                    raise refuse(
                        "mentions",
                        f"mention {place} of {split!r} is of the world {mention.world!r}",
                        f"one of {known}",
                        "Give each world its span of entities.",
                    )
                whole = isinstance(mention.label, int | np.integer)
                if not (whole and span.start <= mention.label < span.stop):
                    raise refuse(
                        "mentions",
                        f"mention {place} of {split!r} has the label {mention.label!r}",
                        f"an entity of its world {mention.world!r}, from {span.start} to "
                        f"{span.stop - 1}",
                        "A label numbers all entities from 0; leave out mentions without one.",
                    )

    def worlds(self, split: str) -> tuple[str, ...]:
        """Worlds with a mention in this split, sorted."""
        return tuple(sorted({mention.world for mention in self._split(split)}))

    def labels(self, split: str) -> Int[np.ndarray, "n"]:
        """The entity each mention of the split means."""
        return np.array([mention.label for mention in self._split(split)])

    def candidates(self, split: str) -> Int[np.ndarray, "n 2"]:
        """First and one-past-last entity of each mention's world."""
        spans = (self.spans[mention.world] for mention in self._split(split))
        return np.array([(span.start, span.stop) for span in spans])

    def among(self, world: str | None = None) -> tuple[Entity, ...]:
        """The entities of a world, or all: a label space."""
        if world is None:
            return self.entities
        if world not in self.spans:
            known = ", ".join(sorted(self.spans))
            raise ValueError(f"world is {world!r}, expected one of {known}")
        return self.entities[self.spans[world]]

    def smoothed_counts(self, world: str | None = None) -> Float[np.ndarray, "V"]:
        """Tagged occurrences of each entity of a world, or of all, each counted once more.

        The one added (Laplace's rule) gives entities never seen a popularity above 0: a popularity
        proposal must be able to draw every label.
        """
        return np.array([entity.count for entity in self.among(world)]) + 1.0

    def popularity(self, world: str) -> Float[np.ndarray, "V"]:
        """Share of each entity of a world among the `smoothed_counts`; sums to 1, never 0."""
        counts = self.smoothed_counts(world)
        return counts / counts.sum()

    def _split(self, split: str) -> tuple[Mention, ...]:
        if split not in self.mentions:
            raise ValueError(f"split is {split!r}, expected one of {', '.join(self.mentions)}")
        return self.mentions[split]

    def __repr__(self) -> str:
        """Write the card: entities and mentions of each split, entropy, source, licence."""
        head = [("labels", f"{len(self.entities)} entities in {len(self.spans)} worlds")]
        for split, mentions in self.mentions.items():
            worlds = self.worlds(split)
            inside = sum(self.spans[w].stop - self.spans[w].start for w in worlds)
            where = f"{len(worlds)} worlds" if len(worlds) > 3 else ", ".join(worlds)
            head.append((split, f"{len(mentions)} mentions, {inside} entities ({where})"))
        golds = Counter(mention.label for found in self.mentions.values() for mention in found)
        shares = np.array(list(golds.values())) / golds.total()
        titles = [self.entities[label].title for label in golds]
        origin = self.source, self.licence
        return card("EntityLinking", head, shares, titles, "linked entities", origin)
