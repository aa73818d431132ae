"""Real label spaces, shipped with the package: nothing is downloaded, nothing written to disk.

Text with one observed label per input: `next_word`, `entity_linking` (`load_zeshel` for files of
that format).  Label spaces with an exact population, ready for `nb.Problem`: `next_letter`,
`sense_frequency`, and your own by `from_counts` and `from_arrays`.
"""

from nce_bias.data.batches import minibatches
from nce_bias.data.from_arrays import from_arrays
from nce_bias.data.from_counts import from_counts
from nce_bias.data.label_space import LabelSpace
from nce_bias.data.linking import Entity, EntityLinking, Mention
from nce_bias.data.next_letter import next_letter
from nce_bias.data.next_word import NextWord, next_word
from nce_bias.data.sense_frequency import sense_frequency
from nce_bias.data.zeshel import entity_linking, load_zeshel

__all__ = [
    "Entity",
    "EntityLinking",
    "LabelSpace",
    "Mention",
    "NextWord",
    "entity_linking",
    "from_arrays",
    "from_counts",
    "load_zeshel",
    "minibatches",
    "next_letter",
    "next_word",
    "sense_frequency",
]
