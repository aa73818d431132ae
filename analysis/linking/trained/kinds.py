"""What a trained run's negatives are called in `analysis.linking`, where its runs stand; sums."""

import pathlib

#: Kinds of `analysis.linking` that a run's own negatives are one of.
OWN = {"random": "random", "mixed": "mixed-50", "hard": "hard"}
#: Bias and recall of each run on a frozen encoder.
FROZEN = pathlib.Path(__file__).parents[1] / "results" / "scatter.csv"
#: Between the names of what was added up: "dual & words".
AND = " & "


def own(negatives: str) -> str:
    """The kind of the last pass: "hard" of "hard+hard"."""
    return negatives.rsplit("+", 1)[-1]


def encoders_of(score: str, negatives: str) -> list[tuple[str, str]]:
    """Score and negatives of each encoder of a sum: "hard" of all, or "random/hard" one by one."""
    scores = score.split(AND)[:-1]
    kinds = negatives.split("/") if "/" in negatives else [negatives] * len(scores)
    return list(zip(scores, kinds, strict=True))


def beside(score: str) -> str:
    """What was added to the encoders of a sum, as a figure says it."""
    return score.rsplit(AND, 1)[1].replace(",", " and")
