"""The question: how exact is `exact`, by its own account.

For V = 1000 labels and up to 4096 negatives: the error bound that a result carries, beside what can
be seen without another method, the distance of the selection probabilities' sum from 1. That the
bound is never too small is shown by tests against independent oracles.
"""

import jax.numpy as jnp
import pandas as pd

import nce_bias as nb
from analysis.problems import zipf

LABELS = 1000
SIZES = (1, 4, 64, 4096)
COLUMNS = {
    "negatives": "negatives",
    "loss_name": "loss",
    "m": "m",
    "nodes": "nodes",
    "error": "`error`",
    "sum_off": "\\|Σγ − 1\\|",
}
#: What the numbers have to keep below: of `error`, of the sum.
TARGETS = {"error": 1e-9, "sum_off": 1e-12}


def run(*, labels: int = LABELS, sizes: tuple[int, ...] = SIZES) -> pd.DataFrame:
    problem = zipf(labels)
    proposals = (nb.uniform(), nb.model())
    rows = []
    for loss in (nb.infonce, nb.sampled_softmax):
        for proposal in proposals:
            for m in sizes:
                found = nb.exact(problem, nb.iid(proposal, m), loss, split=False)
                rows.append(
                    {
                        "negatives": repr(proposal),
                        "loss_name": loss.name,
                        "m": m,
                        "nodes": int(found.method.split()[1]),
                        "error": float(found.error),
                        "sum_off": float(jnp.abs(jnp.sum(found.selection) - 1)),
                    }
                )
    return pd.DataFrame(rows)
