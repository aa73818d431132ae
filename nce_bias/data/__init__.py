"""Real label spaces, shipped with the package: nothing is downloaded, nothing written to disk."""

from nce_bias.data.batches import minibatches
from nce_bias.data.linking import Entity, EntityLinking, Mention
from nce_bias.data.next_word import NextWord, next_word
from nce_bias.data.zeshel import entity_linking, load_zeshel

__all__ = [
    "Entity",
    "EntityLinking",
    "Mention",
    "NextWord",
    "entity_linking",
    "load_zeshel",
    "minibatches",
    "next_word",
]
