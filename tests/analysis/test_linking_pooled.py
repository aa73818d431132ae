"""The law of candidates that a batch shares, against every batch there is."""

import dataclasses
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nce_bias as nb
from analysis.linking.trained import pooled, setup
from nce_bias.retrieval import ranking

LABELS, DRAWS = 7, 4000
SCORES = np.array([0.3, -1.0, 0.8, 0.1, -0.4, 1.2, 0.0])
GOLDS = np.array([2, 5, 2, 0])
#: The first mention's candidates are golds of others, and the second's are its gold.
BEST = np.array([[5, 0], [2, 6], [0, 4], [5, 2]])
SPLIT = pooled.Split(GOLDS, BEST, LABELS)


def minings(kind: str, row: int) -> list[list[int]]:
    """Everything that a mention can bring, each as likely as the others."""
    if kind == "in-batch":
        return [[]]
    best = BEST[row].tolist()
    if kind == "hard":
        return [best]
    kept = best[:1] if kind == "mixed" else []
    free = [label for label in range(LABELS) if label not in (*kept, GOLDS[row])]
    return [[*kept, *more] for more in itertools.permutations(free, 2 - len(kept))]


def by_hand(kind: str, row: int, batch: int, masked: bool = True) -> np.ndarray:
    """E gamma over the other mentions of a batch, and over what all of them bring."""
    total, count, gold = np.zeros(LABELS), 0, int(GOLDS[row])
    others = [other for other in range(len(GOLDS)) if other != row]
    for drawn in itertools.combinations(others, batch - 1):
        for brought in itertools.product(*(minings(kind, some) for some in (row, *drawn))):
            negatives = [*GOLDS[[*drawn]].tolist(), *itertools.chain(*brought)]
            some = [gold, *(label for label in negatives if label != gold or not masked)]
            exps = np.exp(SCORES[some])
            np.add.at(total, some, exps / exps.sum())
            count += 1
    return total / count


@pytest.mark.parametrize("kind", setup.NEGATIVES)
def test_expectations_are_those_of_all_batches(kind: str) -> None:
    batch = 3 if kind == "in-batch" else 2  # of two golds alone, one masked or not is the same
    pools = pooled.Pools(kind, SPLIT, batch)
    draws = np.stack(
        [pools.expected(SCORES, 0, 1, np.random.default_rng(seed)) for seed in range(DRAWS)]
    )
    error = draws.std(axis=0) / np.sqrt(DRAWS) + 1e-9
    # seven labels: five standard errors are missed once in 10^5
    assert (np.abs(draws.mean(axis=0) - by_hand(kind, 0, batch)) < 5 * error).all()
    unmasked = by_hand(kind, 0, batch, masked=False)
    assert (np.abs(draws.mean(axis=0) - unmasked) > 5 * error).any()


def test_what_is_measured_is_exact_where_a_batch_is_all_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches of all four mentions, with golds alone or hard ones: nothing is random."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(4, LABELS))
    first, spans = 10, np.array([[10, 14], [10, 14], [14, 17], [14, 17]])
    mentions = Mentions(np.arange(4), GOLDS + first, spans)
    corpus: Any = {"test": mentions}
    monkeypatch.setattr(pooled.bias, "measured_rows", lambda *_: [np.array([0, 1]), np.array([3])])
    monkeypatch.setattr(pooled, "world_scores", lambda _, some: scored(scores, some))
    monkeypatch.setattr(
        setup, "FULL", SimpleNamespace(plan=nb.retrieval.EncoderConfig(batch=len(GOLDS)))
    )
    best = np.concatenate([BEST[:, :1], GOLDS[:, None], BEST[:, 1:]], axis=1) + first
    rows = {row["kind"]: row for row in pooled.measure(None, corpus, best)}
    for kind in ("in-batch", "hard"):
        eps, exact = [], []
        for row in (0, 1, 3):
            negatives = [*np.delete(GOLDS, row)]
            if kind == "hard":
                negatives += BEST.ravel().tolist()
            gold = GOLDS[row]
            some = [gold, *(label for label in negatives if label != gold)]
            gamma = np.zeros(LABELS)
            for label in some:
                gamma[label] += np.exp(scores[row, label])
            p = np.exp(scores[row]) / np.exp(scores[row]).sum()
            eps.append(p - gamma / gamma.sum())
            exact.append(p - np.eye(LABELS)[gold])
        eps, exact = np.array(eps), np.array(exact)
        assert rows[kind]["bias_norm"] == pytest.approx(np.sqrt((eps**2).sum() / 3), rel=1e-12)
        relative = np.linalg.norm(eps) / np.linalg.norm(exact)
        assert rows[kind]["relative_bias"] == pytest.approx(relative, rel=1e-12)
        size = np.linalg.norm(exact - eps) * np.linalg.norm(exact)
        assert rows[kind]["cosine"] == pytest.approx(np.sum((exact - eps) * exact) / size)
    assert set(rows) == set(setup.NEGATIVES)


@dataclasses.dataclass
class Mentions:
    """As much of `nb.retrieval.Mentions` as is used."""

    rows: np.ndarray
    labels: np.ndarray
    spans: np.ndarray

    def __getitem__(self, some: Any) -> "Mentions":
        return Mentions(self.rows[some], self.labels[some], self.spans[some])


def scored(scores: np.ndarray, mentions: Any) -> Any:
    assert (mentions.spans == [10, 17]).all()  # both worlds
    yield ranking.Scored(np.arange(len(mentions.rows)), 10, scores[mentions.rows])
