"""The bias and variance of contrastive-loss gradients, exactly and by honest Monte Carlo.

>>> import nce_bias as nb
>>> problem = nb.Problem([1.0, 0.0, -1.0], [0.7, 0.2, 0.1])
>>> nb.exact(problem, nb.iid(nb.model(), m=2)).bias_norm.shape
()

What is drawn: proposals (`uniform`, `popularity`, `log_uniform`, `model`, `mixture`,
`from_probabilities`, any callable) and samplers (`iid`, `without_replacement`, `poisson`, `top`,
`unique`, `until_distinct`, `either`, `in_batch`, `best_of`, `resampled`, `queue`, `listed`, `a +
b`). What is computed on it: losses (`infonce`, `sampled_softmax`, `sampled_softmax_both`,
`ranking_nce`, `self_normalized`, `binary_nce`, `negative_sampling`, `debiased`, `hard_reweighted`,
`with_inclusion(loss)`, any `Additive`, `LogSums` or `Loss`). How expectations are taken: `exact`,
`monte_carlo`; for the parameters of a `ScoreModel`, `gradient_bias` and `pull_back`; for batches
whose rows share candidates `batch_variance`, for rows and columns of one `both_directions`; for
many cells at once, `sweep`. What follows from them: `optimal_proposal`, `fixed_point`. Conventions
of published code by name: `preset`, `presets`; all of them on one's own scores: `audit`; which of
them one's own code is: `which`; what to cite: `cite`. Whether a sampler or a data pipeline draws
what it says: `check_sampler`. Real label spaces, text and its scores, training, retrievers,
figures: `data`, `text`, `scores`, `train`, `retrieval`, `plot`, loaded when first used.

The library never changes JAX's configuration. For float64 results start with
``jax.config.update("jax_enable_x64", True)``; in float32 each exact result says what it lost.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from nce_bias import presets
from nce_bias._audit import Audit, audit
from nce_bias._checks import NoExactMethod
from nce_bias._gate import UnusualInput
from nce_bias._near_gold import margin, near_gold, semi_hard, window
from nce_bias._reads import proposal
from nce_bias._sweep import sweep
from nce_bias.check import SamplerCheck, check_sampler
from nce_bias.engine._batch_variance import batch_variance
from nce_bias.engine._both_directions import BothDirections, both_directions
from nce_bias.engine._exact import exact
from nce_bias.engine._gradient_bias import GradientBias, gradient_bias
from nce_bias.engine._monte_carlo import monte_carlo
from nce_bias.engine._pull_back import ScoreModel, pull_back
from nce_bias.engine.batches import BatchVariance
from nce_bias.engine.moments import Moments
from nce_bias.losses import (
    LOSSES,
    Additive,
    Corrected,
    LogSum,
    LogSums,
    Loss,
    WeightedMean,
    binary_nce,
    blackout,
    bpr,
    ccl,
    debiased,
    exponential_nce,
    gbce,
    gce,
    hard_reweighted,
    hinge,
    infonce,
    jackknifed_softmax,
    jsd,
    mil_nce,
    negative_sampling,
    nwj,
    one_vs_each,
    psl,
    ranking_nce,
    rince,
    sampled_softmax,
    sampled_softmax_both,
    self_adversarial,
    self_normalized,
    siglip,
    smile,
    spectral,
    with_inclusion,
)
from nce_bias.presets import preset
from nce_bias.problem import Problem
from nce_bias.proposals import (
    PROPOSALS,
    from_probabilities,
    log_uniform,
    mixture,
    model,
    popularity,
    uniform,
)
from nce_bias.samplers import (
    SAMPLERS,
    best_of,
    either,
    iid,
    in_batch,
    listed,
    poisson,
    queue,
    resampled,
    top,
    unique,
    until_distinct,
    without_replacement,
)

if TYPE_CHECKING:
    from nce_bias import data, plot, retrieval, scores, text, train
    from nce_bias._cite import Citations, cite
    from nce_bias._explore import explore
    from nce_bias._fixed_point import FixedPoint, fixed_point
    from nce_bias._which import Which, which
    from nce_bias.optimal import OptimalProposal, optimal_proposal

__version__ = "0.1.0"

#: What is loaded when first used: modules, and names of modules.
_LAZY = ("data", "plot", "retrieval", "scores", "text", "train")
_LAZY_NAMES = {
    "Citations": "_cite",
    "explore": "_explore",
    "FixedPoint": "_fixed_point",
    "Which": "_which",
    "cite": "_cite",
    "fixed_point": "_fixed_point",
    "which": "_which",
    "OptimalProposal": "optimal",
    "optimal_proposal": "optimal",
}

__all__ = [
    "LOSSES",
    "PROPOSALS",
    "SAMPLERS",
    "Additive",
    "Audit",
    "BatchVariance",
    "BothDirections",
    "Citations",
    "Corrected",
    "FixedPoint",
    "GradientBias",
    "LogSum",
    "LogSums",
    "Loss",
    "Moments",
    "NoExactMethod",
    "OptimalProposal",
    "Problem",
    "SamplerCheck",
    "ScoreModel",
    "UnusualInput",
    "WeightedMean",
    "Which",
    "audit",
    "batch_variance",
    "best_of",
    "binary_nce",
    "blackout",
    "both_directions",
    "bpr",
    "ccl",
    "check_sampler",
    "cite",
    "data",
    "debiased",
    "either",
    "exact",
    "explore",
    "exponential_nce",
    "fixed_point",
    "from_probabilities",
    "gbce",
    "gce",
    "gradient_bias",
    "hard_reweighted",
    "hinge",
    "iid",
    "in_batch",
    "infonce",
    "jackknifed_softmax",
    "jsd",
    "listed",
    "log_uniform",
    "margin",
    "mil_nce",
    "mixture",
    "model",
    "monte_carlo",
    "near_gold",
    "negative_sampling",
    "nwj",
    "one_vs_each",
    "optimal_proposal",
    "plot",
    "poisson",
    "popularity",
    "preset",
    "presets",
    "proposal",
    "psl",
    "pull_back",
    "queue",
    "ranking_nce",
    "resampled",
    "retrieval",
    "rince",
    "sampled_softmax",
    "sampled_softmax_both",
    "scores",
    "self_adversarial",
    "self_normalized",
    "semi_hard",
    "siglip",
    "smile",
    "spectral",
    "sweep",
    "text",
    "top",
    "train",
    "uniform",
    "unique",
    "until_distinct",
    "which",
    "window",
    "with_inclusion",
    "without_replacement",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return import_module(f"nce_bias.{name}")
    if name in _LAZY_NAMES:
        return getattr(import_module(f"nce_bias.{_LAZY_NAMES[name]}"), name)
    raise AttributeError(f"module 'nce_bias' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
