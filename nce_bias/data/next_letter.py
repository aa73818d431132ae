"""Next-letter prediction on real text: so few labels that everything can be enumerated."""

import functools
import math
import re
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from nce_bias._checks import check_count, refuse
from nce_bias.data import wordnet
from nce_bias.data.from_counts import from_counts
from nce_bias.data.label_space import LabelSpace
from nce_bias.data.split import split

Part = Literal["training", "held_out"]
BLANK = " "
START = "\n"  # a blank that is never predicted
LETTERS = BLANK + "abcdefghijklmnopqrstuvwxyz"
#: About 820,000 contexts of eight letters occur, whose counts take 180 MB.
LONGEST = 8


def next_letter(context: int = 1, part: Part = "training", *, held_out: float = 0.1) -> LabelSpace:
    """Next-letter prediction on the definitions of WordNet 3.0: x the letters before, y the next.

    A definition becomes a row of 27 labels, a to z and the blank:

    * Upper case is lower case.  Everything that is not a letter (punctuation, digits, apostrophes)
      separates words, as a blank does; blanks that follow one another are one.  "The dog's 2 ears"
      is read as "the dog s ears".
    * `context` blanks stand before it, which are never predicted, and one blank after it, which is.

    Each position is one example, so that a definition of n letters and blanks gives n + 1 (one
    without letters would give none).  The counts of (context, next letter) are the joint
    distribution: pop(y|x) is exact.  Nothing is dropped and no letter is unknown.

    Labels are numbered by falling frequency in the training part, the order that log-uniform
    negatives suppose: 0 is the blank, 1 the "e".  The held-out part has the same numbers.  Inputs
    are the contexts that occur in the part, as strings with the letter right before the target
    last, sorted by the labels of their letters; with one letter of context they are the labels.
    Definitions are held out as in `next_word`: the same ones for the same share.

    With 1, 2 and 3 letters of context the training part has X = 27, 607 and 6767 contexts and
    H(y|x) = 2.341, 1.906 and 1.487 nats.  Part of the fall is that rarer contexts have been seen
    with fewer letters: the held-out part, nine times smaller, has 1.458 nats at 3.

    Parameters
    ----------
    context
        Letters before the target that make up x, 1 to 8.
    part
        "training" or "held_out".
    held_out
        Share of definitions held out, strictly between 0 and 1.

    Returns
    -------
    LabelSpace
        Kept in memory: asking again costs nothing.

    Raises
    ------
    ValueError
        For an argument outside its range, or a share that leaves one part empty.

    Examples
    --------
    >>> space = nb.data.next_letter()
    >>> space
    LabelSpace
      labels       27
      inputs       27
      examples     3734289
      conditional  2.341 nats (label given input)
      entropy      2.856 nats (popularity)
      top-1 share  16.91% (' ')
      source       letters of the definitions of WordNet 3.0, Princeton University
      licence      WordNet 3.0 license (permissive; nce_bias/data/WORDNET_LICENSE)
    >>> after_q = space.population[space.inputs.index("q")]
    >>> space.names[after_q.argmax()], f"{after_q.max():.3f}"
    ('u', '0.988')

    A model that embeds letters needs the numbers of those in each context:

    >>> ids = [[space.names.index(letter) for letter in x] for x in space.inputs]

    Source: the alphabet is that of Mahoney's text8, which spells digits out.
    """
    context = check_count("context", context)
    if context > LONGEST:
        raise refuse(
            "context",
            f"got {context}",
            f"1 to {LONGEST} letters",
            "The counts are a dense table of all contexts that occur: take a shorter context.",
        )
    if part not in get_args(Part):
        raise refuse("part", f"got {part!r}", "'training' or 'held_out'", "Ask for one of the two.")
    return _build(context, part, float(held_out))


@functools.lru_cache(maxsize=4)
def _build(context: int, part: Part, held_out: float) -> LabelSpace:
    parts = dict(zip(get_args(Part), _texts(held_out), strict=True))
    names = _by_frequency(parts["training"])
    codes, targets = _windows(parts[part], names, context)
    found, rows = np.unique(codes, return_inverse=True)
    shape = (found.size, len(names))
    counts = np.bincount(rows * len(names) + targets, minlength=math.prod(shape)).reshape(shape)
    return from_counts(
        counts,
        names,
        _written(found, names, context),
        source=f"letters of the {wordnet.SOURCE}",
        licence=wordnet.LICENCE,
    )


@functools.lru_cache(maxsize=1)
def _texts(held_out: float) -> tuple[tuple[str, ...], ...]:
    """Both parts, each definition as words of letters a to z with one blank after each."""
    return tuple(tuple(map(_letters, part)) for part in split(held_out))


def _letters(words: tuple[str, ...]) -> str:
    return "".join(word + BLANK for word in re.findall("[a-z]+", BLANK.join(words).lower()))


def _by_frequency(texts: tuple[str, ...]) -> tuple[str, ...]:
    whole = "".join(texts)
    return tuple(sorted(LETTERS, key=lambda letter: (-whole.count(letter), letter)))


def _windows(
    texts: tuple[str, ...], names: tuple[str, ...], context: int
) -> tuple[Int[np.ndarray, "N"], Int[np.ndarray, "N"]]:
    """Each position's context, its labels read as the digits of one number, and its label."""
    padding = START * context
    stream = np.frombuffer("".join(padding + text for text in texts).encode("ascii"), np.uint8)
    digits = np.zeros(128, np.int64)
    digits[[ord(letter) for letter in names]] = np.arange(len(names))
    digits[ord(START)] = names.index(BLANK)
    labels = digits[stream]
    (places,) = np.nonzero(stream != ord(START))
    codes = np.zeros(places.size, np.int64)
    for back in range(context, 0, -1):
        codes = codes * len(names) + labels[places - back]
    return codes, labels[places]


def _written(codes: Int[np.ndarray, "X"], names: tuple[str, ...], context: int) -> tuple[str, ...]:
    """The contexts that `_windows` wrote as numbers."""
    powers = len(names) ** np.arange(context - 1, -1, -1)
    letters = np.array(names)[codes[:, None] // powers % len(names)]
    return tuple(map("".join, letters))
