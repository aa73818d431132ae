"""Training part and held-out part of the WordNet definitions: one split for all sets made of them.

A definition is held out or not by a hash of its identifier: no seed, the same split on every
machine, and no other argument moves a definition.  (About one definition in a hundred has the
wording of another, which may stand in the other part.)
"""

import hashlib

from nce_bias.data import wordnet

Words = tuple[str, ...]


def split(held_out: float) -> tuple[list[Words], list[Words]]:
    """Words of each training definition, and of each held out, in the order of the identifiers.

    Raises
    ------
    ValueError
        For a share that is not strictly between 0 and 1, or that leaves one part empty.
    """
    if not 0 < held_out < 1:
        raise ValueError(
            f"held_out is {held_out}, expected a share of definitions strictly between 0 and 1"
        )
    parts: tuple[list[Words], list[Words]] = ([], [])
    for definition in wordnet.definitions():
        parts[_position(definition.document_id) < held_out].append(definition.words)
    training, reserved = parts
    if not training or not reserved:
        raise ValueError(
            f"held_out is {held_out}, which leaves {len(training)} definitions for training and "
            f"{len(reserved)} held out; choose a share further from 0 and 1"
        )
    return parts


def _position(document_id: str) -> float:
    """Give a number in [0, 1) that depends on the identifier alone: 53 bits of its BLAKE2b hash."""
    digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53
