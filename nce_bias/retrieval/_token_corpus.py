"""A data set as an encoder that is trained reads it: ids of every text, marks around mentions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from nce_bias._checks import refuse
from nce_bias.data import EntityLinking, Mention
from nce_bias.retrieval.tokens import TokenTexts
from nce_bias.text import Bert

MARKS = ("[unused0]", "[unused1]")  # before and after a mention: reserved in BERT's vocabularies


def entity_texts(data: EntityLinking, encoder: Bert) -> TokenTexts:
    """[CLS] title : description [SEP] of each entity."""
    begin, end = encoder.special("[CLS]", "[SEP]")
    room = encoder.max_tokens - 2
    found = encoder.pieces([entity.description for entity in data.entities])
    _say_cut("entities", sum(len(ids) > room for ids in found), len(found), encoder.max_tokens)
    return _joined([np.array([begin, *ids[:room], end], np.int32) for ids in found])


def mention_texts(
    mentions: Sequence[Mention], encoder: Bert, marks: tuple[str, str] = MARKS
) -> TokenTexts:
    """[CLS] left [unused0] mention [unused1] right [SEP] of each mention.

    A text that is too long loses the words farthest from its mention, on both sides alike.
    """
    begin, end, opens, closes = encoder.special("[CLS]", "[SEP]", *marks)
    sides = (encoder.pieces([getattr(m, part) for m in mentions]) for part in Mention._fields[1:4])
    room = encoder.max_tokens - 4
    if room < 1:
        raise refuse(
            "encoder",
            f"got max_tokens = {encoder.max_tokens}",
            "5 or more: a mention stands between four marks",
            "Make the encoder with a larger max_tokens.",
        )
    found, cut = [], 0
    for left, inside, right in zip(*sides, strict=True):
        cut += len(left) + len(inside) + len(right) > room
        inside = inside[:room]
        free = room - len(inside)
        before = min(len(left), max(free - len(right), free // 2))
        left, right = left[len(left) - before :], right[: free - before]
        found.append(np.array([begin, *left, opens, *inside, closes, *right, end], np.int32))
    _say_cut("mentions", cut, len(found), encoder.max_tokens)
    return _joined(found)


def _joined(texts: Sequence[np.ndarray]) -> TokenTexts:
    starts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return TokenTexts(np.concatenate([np.zeros(0, np.int32), *texts]), starts)


def _say_cut(what: str, cut: int, total: int, room: int) -> None:
    if cut:
        warnings.warn(
            f"corpus: {cut} of {total} {what} are longer than {room} tokens and were cut; "
            "nb.text.bert(path, max_tokens=...) reads more.",
            stacklevel=4,
        )
