"""BM25: entity linking by shared words, the baseline without any training.

Sources: Robertson & Zaragoza (2009), *The Probabilistic Relevance Framework: BM25 and Beyond*; Lù
(2024), *BM25S: Orders of magnitude faster lexical search via eager sparse scoring*; Harman (1991),
*How effective is suffixing?*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from nce_bias._checks import check_count, refuse
from nce_bias._progress import Bar
from nce_bias.data.linking import EntityLinking, Mention
from nce_bias.retrieval.ranking import Scored, gold_ranks
from nce_bias.retrieval.worlds import worlds_of
from nce_bias.text.extra import needed

PURPOSE = "nb.retrieval.bm25_ranks()"
BLOCK = 64  # mentions whose scores are there at a time
QUERIES: dict[str, Callable[[Mention], str]] = {
    "mention": lambda mention: mention.text,
    "context": lambda mention: mention.context,
    "mention + context": lambda mention: f"{mention.text} {mention.context}",
}


def singular(word: str) -> str:
    """Harman's S stemmer: plural endings alone, "ies" to "y", "es" to "e", "s" to nothing.

    Examples
    --------
    >>> [singular(word) for word in ("ponies", "horses", "portals", "glass", "virus", "toes")]
    ['pony', 'horse', 'portal', 'glass', 'virus', 'toe']
    """
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def bm25_ranks(  # noqa: PLR0913
    data: EntityLinking,
    split: str,
    *,
    query: str = "mention + context",
    titles: int = 1,
    stem: Callable[[str], str] | None = singular,
    stopwords: Iterable[str] = (),
    k1: float = 1.5,
    b: float = 0.75,
    progress: bool = True,
) -> Int[np.ndarray, " n"]:
    """Rank of each mention's entity by BM25 among the entities of its world: 1 is best.

    With the words t of the query, each as often as it is there, an entity d of V has the score

        Σ_t log(1 + (V − V_t + ½) / (V_t + ½)) · f / (f + k1 (1 − b + b |d| / mean |d|))

    where f is how often t is in d, |d| the number of words of d, and V_t the number of entities of
    the world with t (Lucene's variant, the library's default: never negative).  Ties count against
    the entity, as in `rank`: one that shares no word with the query is last, not among the best of
    those that share none either.

    Words are runs of two or more letters, digits or underscores, in lower case.  The defaults are
    k1 and b of the library, and the stemmer and (no) stop words with the best mean reciprocal rank
    on the validation split of the WordNet set; there a title that counts several times
    (`titles`) is better still.

    Parameters
    ----------
    data : EntityLinking
    split : "train", "val" or "test"
    query : "mention", "context" or "mention + context"
        The context has the mention in its place, so that the last has it twice.
    titles : int
        How often the title of an entity is in its document, before its text once.
    stem : function of a word, optional
        Applied to the words of queries and documents; None leaves them.
    stopwords : words
        Left out, in lower case and not stemmed.
    k1, b : float
        How slowly repetition saturates, k1 ≥ 0, and how much length counts, 0 ≤ b ≤ 1.
    progress : bool
        Show a bar on a terminal once ranking has taken two seconds.

    Returns
    -------
    int `[n]`
        In the order of ``data.mentions[split]``.

    Raises
    ------
    MissingExtra
        (an ImportError) If bm25s is not installed; the message is the command that installs it.
    ValueError
        For a split, query or number out of range.

    Examples
    --------
    >>> from nce_bias.data.linking import Entity, EntityLinking, Mention
    >>> entities = (Entity("a", "bank", "sloping land beside water", "w", 0),
    ...             Entity("b", "bank", "accepts deposits of money", "w", 0),
    ...             Entity("c", "money", "a medium of exchange", "w", 0))
    >>> mention = Mention("m", "he put his money in the", "bank", "", 1, "w", "HIGH_OVERLAP")
    >>> data = EntityLinking(entities, {"test": (mention,)}, {"w": slice(0, 3)}, "", "")
    >>> bm25_ranks(data, "test").tolist()
    [1]
    >>> bm25_ranks(data, "test", query="mention").tolist()   # two banks: a tie, counted against it
    [2]
    """
    words = Bm25(query, titles, stem, tuple(stopwords), k1, b)
    golds = data.labels(split)
    ranks = np.zeros(len(golds), int)
    for part in words.scores(data, split, progress=progress):
        ranks[part.rows] = gold_ranks(part, golds)
    return ranks


@dataclasses.dataclass(frozen=True)
class Bm25:
    """The scores behind `bm25_ranks`, whose arguments and errors its own are.

    What is wrong with a split, or a library that is not there, is said when the first scores are
    asked for.

    Examples
    --------
    >>> from nce_bias.data.linking import Entity, EntityLinking, Mention
    >>> entities = (Entity("a", "bank", "of a river", "w", 0), Entity("b", "lift", "", "w", 0))
    >>> mention = Mention("m", "take the", "lift", "", 1, "w", "HIGH_OVERLAP")
    >>> data = EntityLinking(entities, {"test": (mention,)}, {"w": slice(0, 2)}, "", "")
    >>> (part,) = Bm25().scores(data, "test")
    >>> part.first, [float(score) > 0 for score in part.scores[0]]
    (0, [False, True])
    """

    query: str = "mention + context"
    titles: int = 1
    stem: Callable[[str], str] | None = singular
    stopwords: tuple[str, ...] = ()
    k1: float = 1.5
    b: float = 0.75

    def __post_init__(self) -> None:
        """Refuse what has no scores."""
        if self.query not in QUERIES:
            known = ", ".join(repr(name) for name in QUERIES)
            raise refuse(
                "query", f"got {self.query!r}", f"one of {known}", "Pass query='mention + context'."
            )
        if not 0 <= self.k1 < np.inf:
            raise refuse("k1", f"got {self.k1!r}", "a finite number >= 0", "Pass k1=1.5.")
        if not 0 <= self.b <= 1:
            raise refuse("b", f"got {self.b!r}", "a number in [0, 1]", "Pass b=0.75.")
        check_count("titles", self.titles)

    def scores(self, data: EntityLinking, split: str, *, progress: bool = True) -> Iterator[Scored]:
        """Scores of mentions against all entities of their world, `BLOCK` mentions at a time."""
        mentions = data.mentions[split]
        library = needed("bm25s", PURPOSE)
        with Bar(len(mentions), "ranking", enabled=progress) as bar:
            for first, end, inside in worlds_of(data.candidates(split)):
                entities = data.entities[first:end]
                texts = (" ".join([e.title] * self.titles + [e.text]) for e in entities)
                index = library.BM25(k1=self.k1, b=self.b, dtype="float64")
                index.index(self._words(texts), show_progress=False)
                for start in range(0, len(inside), BLOCK):
                    rows = inside[start : start + BLOCK]
                    asked = self._words(QUERIES[self.query](mentions[row]) for row in rows)
                    found = np.stack([_against(index, words, end - first) for words in asked])
                    yield Scored(rows, first, found)
                    bar.advance(len(rows))

    def _words(self, texts: Iterable[str]) -> list[list[str]]:
        """Texts as lists of words."""
        stem = self.stem
        stemmer: Any = None if stem is None else lambda some: [stem(word) for word in some]
        return needed("bm25s", PURPOSE).tokenize(
            list(texts),
            stopwords=list(self.stopwords),
            stemmer=stemmer,
            return_ids=False,
            show_progress=False,
        )


def _against(index: Any, words: list[str], count: int) -> Float[np.ndarray, " V"]:
    """Scores of all documents; 0 of each where no word is known."""
    known = index.get_tokens_ids(words)
    return index.get_scores_from_ids(known) if known else np.zeros(count)
