"""How fast all entities of a world are scored, beside one pair at a time.

``python -m analysis.linking.speed`` writes ``results/speed.csv`` and ``results/speed.json``.
"""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pandas as pd

import nce_bias as nb
from analysis.benchmarks.timing import median, ratio, rounds
from analysis.linking import setup
from nce_bias.provenance import write_meta
from nce_bias.retrieval import ranking

HERE = pathlib.Path(__file__).parent
WORLD, MENTIONS, ROUNDS = "noun.artifact", 64, 5
PLAIN = 2_000  # pairs that the loop of single calls takes; its time is per pair


def run(out: pathlib.Path = HERE / "results") -> pd.DataFrame:
    """Seconds for 10^5 pairs by blocks, by a compiled loop over pairs, and by single calls.

    Columns of both sides are there in each case: scoring alone is timed.
    """
    data = nb.data.entity_linking()
    corpus = nb.retrieval.corpus(data, nb.text.minilm(dtype="float16"))
    span = data.spans[WORLD]
    inside = np.array([mention.world == WORLD for mention in data.mentions["test"]])
    mentions = np.flatnonzero(inside)[:MENTIONS]
    rows = []
    for name in ("dual", "multi8", "som"):
        model = nb.retrieval.retriever(corpus, setup.scores()[name])
        world = np.arange(span.start, span.stop)
        labels = list(ranking.encode(model, corpus.entities, world, "labels"))
        inputs = list(ranking.encode(model, corpus["test"].texts, mentions, "inputs"))
        timed = rounds(_calls(model, inputs, labels), ROUNDS)
        pairs = {"blocks": MENTIONS * (span.stop - span.start)}
        pairs["loop"] = len(inputs) * (span.stop - span.start)
        pairs["calls"] = min(PLAIN, pairs["loop"])
        each = {call: median(timed, call) / count for call, count in pairs.items()}
        rows.append(
            {
                "score": name,
                "labels": span.stop - span.start,
                **{f"microseconds_{call}": 1e6 * value for call, value in each.items()},
                **{
                    f"{call}_over_blocks": ratio(timed, call, "blocks")
                    * (pairs["blocks"] / pairs[call])
                    for call in ("loop", "calls")
                },
            }
        )
    out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(out / "speed.csv", index=False)
    write_meta(out / "speed.json", analysis="linking.speed", mentions=MENTIONS, rounds=ROUNDS)
    return table


def _calls(model: Any, inputs: list[Any], labels: list[Any]) -> dict[str, Any]:
    """Blocks as the library takes them; and one mention of each block, pair by pair."""
    score = model.score

    def blocks() -> list[Any]:
        return [model_against(model, i.columns, j.columns) for i in inputs for j in labels]

    @eqx.filter_jit
    def over_pairs(one, columns):
        return jax.lax.map(lambda label: score(*one, *label), tuple(columns))

    @eqx.filter_jit
    def single(one, label):
        return score(*one, *label)

    firsts = [tuple(leaf[0] for leaf in block.columns) for block in inputs]
    every = ((block.columns, k) for block in labels for k in range(len(block.rows)))
    some = [tuple(leaf[k] for leaf in block) for block, k in itertools.islice(every, PLAIN)]

    def loop() -> list[Any]:
        return [over_pairs(one, j.columns) for one in firsts for j in labels]

    def calls() -> list[Any]:
        return [single(firsts[0], label) for label in some]

    return {"blocks": blocks, "loop": loop, "calls": calls}


@eqx.filter_jit
def model_against(model, inputs, labels):
    """As `nb.retrieval.rank` does it."""
    return model.against(inputs, labels)


if __name__ == "__main__":
    print(run().round(3).to_string())
