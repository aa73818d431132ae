"""What ``--negatives`` may say, and the samplers it stands for.

=============================  =====================================================================
spec                           negatives
=============================  =====================================================================
``uniform``                    every label alike
``popularity:power=0.75``      by pop(y) to a power (1 by default)
``log_uniform``                by rank of popularity
``model:T=2``                  by the scores at a temperature (1 by default)
``0.5*uniform+0.5*model``      a mixture: each draw comes from one of them, with that probability
``from_probabilities:q.npy``   a distribution of your own, from a file
``top``                        the m highest-scoring wrong labels
=============================  =====================================================================

The field's other words are understood: ``random`` is uniform, ``unigram`` popularity, ``hard`` the
model, ``mixed`` half uniform and half model.
"""

import inspect
import math
import pathlib

from nce_bias.cli.arrays import load_array
from nce_bias.cli.errors import check_known
from nce_bias.proposals import PROPOSALS, Proposal, from_probabilities, mixture
from nce_bias.samplers import SAMPLERS, Sampler

TOP = "top"
FROM_FILE = "from_probabilities"
#: Names a term may begin with; a mixture is written as a weighted sum.
NAMES = [name for name in PROPOSALS if name != "mixture"]
SHORT = {"T": "temperature"}
#: Other words for a kind of negatives.
SYNONYMS = {
    "random": "uniform",
    "unigram": "popularity",
    "hard": "model",
    "mixed": "0.5*uniform+0.5*model",
}
#: Samplers that take a proposal.
DRAWN = [name for name in SAMPLERS if name != TOP]


def parse_proposal(spec: str) -> Proposal:
    """The proposal that a spec stands for.

    Raises ValueError that names the spec and says what is known.

    Examples
    --------
    >>> parse_proposal("0.25*uniform+0.75*model:T=2")
    mixture(uniform, model(temperature=2), share=0.25)
    """
    terms = SYNONYMS.get(spec.strip(), spec).split("+")
    if len(terms) == 1 and "*" not in terms[0]:
        return _term(spec, terms[0])
    shares, parts = [], []
    for term in terms:
        share, star, name = term.partition("*")
        if not star:
            raise ValueError(
                f"--negatives {spec}: {term!r} has no share; write 0.5*{term}, all shares summing "
                "to 1."
            )
        shares.append(_number(spec, "a share", share))
        parts.append(_term(spec, name))
    if min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise ValueError(
            f"--negatives {spec}: the shares are {', '.join(f'{s:g}' for s in shares)}; expected "
            "numbers >= 0 that sum to 1."
        )
    mixed, total = parts[0], shares[0]
    for part, share in zip(parts[1:], shares[1:], strict=True):
        total += share
        mixed = mixture(mixed, part, share=1 - share / total if total else 1.0)
    return mixed


def make_sampler(spec: str, m: int, *, sampler: str, hits: str) -> Sampler:
    """The sampler for a spec: m draws as `sampler` says, or the top m.

    Raises ValueError, naming the spec.
    """
    if spec.strip() == TOP:
        return SAMPLERS[TOP](m)
    proposal = parse_proposal(spec)
    if sampler == "iid":
        return SAMPLERS[sampler](proposal, m, hits=hits)
    return SAMPLERS[sampler](proposal, m)


def _term(spec: str, term: str) -> Proposal:
    name, colon, rest = (part.strip() for part in term.partition(":"))
    name = SYNONYMS[name] if name in SYNONYMS and name != "mixed" else name
    check_known(f"--negatives {spec}", name, [*NAMES, TOP, "sums such as 0.5*uniform+0.5*model"])
    if name == TOP:
        raise ValueError(
            f"--negatives {spec}: top is no distribution and cannot be part of a sum or take "
            "parameters; write --negatives top."
        )
    if name == FROM_FILE:
        if not rest:
            raise ValueError(f"--negatives {spec}: name a file, {FROM_FILE}:q.npy.")
        return from_probabilities(load_array(pathlib.Path(rest), "q"))
    factory = PROPOSALS[name]
    given = dict(_setting(spec, factory, setting) for setting in rest.split(",")) if colon else {}
    try:
        return factory(**given)
    except ValueError as error:
        raise ValueError(f"--negatives {spec}: {error}") from error


def _setting(spec: str, factory: object, setting: str) -> tuple[str, float]:
    assert callable(factory)
    key, equals, value = (part.strip() for part in setting.partition("="))
    known = list(inspect.signature(factory).parameters)
    name = SHORT.get(key, key)
    if not equals or name not in known:
        listed = ", ".join(f"{parameter}=NUMBER" for parameter in known) or "none"
        raise ValueError(
            f"--negatives {spec}: {setting!r} is no parameter; known parameters are {listed}."
        )
    return name, _number(spec, name, value)


def _number(spec: str, what: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--negatives {spec}: {what} is {text.strip()!r}; expected a number."
        ) from None
