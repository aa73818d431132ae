"""Next-word prediction on real text: a label space with a natural, Zipf-like popularity."""

import dataclasses
import functools
import itertools
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from nce_bias.data import wordnet
from nce_bias.data.card import card, entropy
from nce_bias.data.split import split
from nce_bias.problem import Problem


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class NextWord:
    """Word-level language modelling: x = the words before, y = the next word.

    Labels are numbered by falling frequency, so that label 0 is the most frequent word (the
    order that a log-uniform proposal supposes).  Inputs use two further ids: `unknown`, V, for any
    word outside the vocabulary, and `start`, V + 1, for the places before the first word; an
    embedding of inputs therefore needs `input_ids` = V + 2 rows.  All arrays are read-only.

    Attributes
    ----------
    words : tuple of str, length V
        The labels.
    inputs, targets : int32 [N, context], int32 [N]
        Training examples; the last column of `inputs` is the word right before the target.
    held_out_inputs, held_out_targets : int32 [M, context], int32 [M]
        Examples from definitions that are not in the training part.
    popularity : float64 [V]
        pop(y): share of each label among the training targets; sums to 1, falls, never 0.
    dropped : float
        Share of the training positions whose next word is outside the vocabulary; no examples.
    source, licence : str
        Where the text comes from and how it may be used.
    """

    words: tuple[str, ...]
    inputs: Int[np.ndarray, "N context"]
    targets: Int[np.ndarray, "N"]
    held_out_inputs: Int[np.ndarray, "M context"]
    held_out_targets: Int[np.ndarray, "M"]
    popularity: Float[np.ndarray, "V"]
    dropped: float
    source: str
    licence: str

    @property
    def labels(self) -> int:
        """V, the number of labels."""
        return len(self.words)

    @property
    def unknown(self) -> int:
        """Input id of a word outside the vocabulary; never a target."""
        return self.labels

    @property
    def start(self) -> int:
        """Input id of the places before the first word; never a target."""
        return self.labels + 1

    @property
    def input_ids(self) -> int:
        """Number of different input ids, V + 2."""
        return self.labels + 2

    @property
    def entropy(self) -> float:
        """Entropy of `popularity` in nats: the cross entropy of a model that ignores x."""
        return entropy(self.popularity)

    def text(self, ids: Int[np.ndarray, "n"] | Sequence[int]) -> str:
        """Write a row of input ids, or one of targets, as words."""
        names = (*self.words, "<unk>", "<s>")
        return " ".join(names[index] for index in np.asarray(ids))

    def population(self, targets: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n V"]:
        """pop(y|x) of examples with these observed targets: one row each, 1 at the target.

        The true conditional of text is not known.  One observed word per example is the exact
        conditional of the *data distribution*: averaged over examples, these rows give the gold
        the training loss sees, so the averages of losses and gradients (and the parameter-space
        bias, which is linear in them) are those of the data.  A norm taken per input, before
        averaging, is a norm of the bias given the observed gold, not of one averaged over golds.
        """
        targets = np.asarray(targets)
        if targets.size and not (0 <= targets.min() and targets.max() < self.labels):
            raise ValueError(
                f"targets run from {targets.min()} to {targets.max()}, expected labels from 0 to "
                f"{self.labels - 1}; <unk> and <s> are inputs only"
            )
        rows = np.zeros((targets.size, self.labels))
        rows[np.arange(targets.size), targets] = 1.0
        return rows

    def problem(self, scores: Any, targets: Any, weights: Any = None) -> Problem:
        """The problem of scores `[N, V]` and the words that were observed, `[N]`.

        The word of each example is an integer gold (`Problem.from_golds`): no rows as long as the
        vocabulary are made. Popularity is that of the training part.
        """
        return Problem.from_golds(scores, targets, self.popularity, weights)

    def __repr__(self) -> str:
        """Write the card of the label space: size, entropy, source, licence."""
        head = [
            ("labels", f"{self.labels} words"),
            ("input", f"the {self.inputs.shape[1]} words before, {self.input_ids} ids"),
            ("examples", f"{len(self.targets)} training, {len(self.held_out_targets)} held out"),
            ("dropped", f"{self.dropped:.1%} of positions: next word outside the vocabulary"),
        ]
        origin = self.source, self.licence
        return card("NextWord", head, self.popularity, self.words, "popularity", origin)


def next_word(vocabulary: int = 1000, context: int = 2, held_out: float = 0.1) -> NextWord:
    """Next-word prediction on the definitions of WordNet 3.0.

    * A definition is held out or not by a hash of its identifier: no seed, the same split on every
      machine, and a change of the other arguments moves no definition.  (About one definition in
      a hundred has the wording of another, which may stand in the other part.)
    * Labels are the most frequent words of the training part; equal counts go in code-point order.
    * A position whose next word is not a label is dropped, so that every label is a word.  As
      *context* such a word stays, as `NextWord.unknown`.

    A larger vocabulary is dearer where rows over the labels are made (`NextWord.population`: 8 V
    bytes an example), not here: 10,000 labels take half a second and 8.5 MB, 1,000 take 6.3 MB.
    They drop 6.3 % of the positions instead of 30.0 %, and the entropy is 6.556 nats instead of
    5.030.

    Parameters
    ----------
    vocabulary
        V, number of labels, from 2 to the number of different words in the training part.
    context
        Words before the target that make up x, 1 or more.
    held_out
        Share of definitions held out, strictly between 0 and 1.

    Returns
    -------
    NextWord
        Kept in memory: asking again costs nothing.

    Raises
    ------
    ValueError
        For an argument outside its range, or a share that leaves one part empty.

    Examples
    --------
    >>> data = next_word()
    >>> data.words[:3], data.labels
    (('a', 'of', 'the'), 1000)
    """
    vocabulary, context = operator.index(vocabulary), operator.index(context)
    if vocabulary < 2:
        raise ValueError(f"vocabulary is {vocabulary}, expected 2 or more labels")
    if context < 1:
        raise ValueError(f"context is {context}, expected 1 or more words before the target")
    return _build(vocabulary, context, float(held_out))


@functools.lru_cache(maxsize=4)
def _build(vocabulary: int, context: int, held_out: float) -> NextWord:
    training, reserved = split(held_out)
    counts = Counter(itertools.chain.from_iterable(training))
    if vocabulary > len(counts):
        raise ValueError(
            f"vocabulary is {vocabulary}, but the training part has {len(counts)} different "
            "words; ask for at most that many"
        )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:vocabulary]
    words = tuple(word for word, _ in ranked)
    inputs, targets = _examples(training, words, context)
    held_out_inputs, held_out_targets = _examples(reserved, words, context)
    frequencies = np.bincount(targets, minlength=vocabulary)
    popularity = frequencies / frequencies.sum()
    for array in (inputs, targets, held_out_inputs, held_out_targets, popularity):
        array.flags.writeable = False  # the result is shared by all who ask for it
    return NextWord(
        words,
        inputs,
        targets,
        held_out_inputs,
        held_out_targets,
        popularity,
        dropped=1 - len(targets) / counts.total(),
        source=wordnet.SOURCE,
        licence=wordnet.LICENCE,
    )


def _examples(
    texts: list[tuple[str, ...]], words: tuple[str, ...], context: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every position of every text whose word is a label, with the `context` ids before it."""
    ids = {word: index for index, word in enumerate(words)}
    unknown, start = len(words), len(words) + 1
    padding = [start] * context
    stream: list[int] = []
    for text in texts:
        stream += padding
        stream += [ids.get(word, unknown) for word in text]
    flat = np.array(stream, dtype=np.int32)
    (places,) = np.nonzero(flat < len(words))
    before = np.arange(-context, 0)
    return flat[places[:, None] + before], flat[places]
