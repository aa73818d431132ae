r"""How m negatives are drawn: a sampler is a Laplace functional and a draw, nothing else.

For one input a sampler becomes a `Law`: the joint distribution of the negatives y_2..y_K given each
possible gold g. Everything exact is computed from its Laplace functional

    F_g(z) = E[ exp(-sum_k z(y_k)) | gold g ],        z(y) = t w(y) >= 0 the *exposure* of label y,

and everything sampled from its draw. To add a sampler, subclass `Law` and `Sampler`; no engine
changes. `log_laplace` returns the logarithm for *every* gold at once, which is what makes the
average over the gold cost O(V) per node of the quadrature instead of O(V^2): golds share their sums
but for one term (`nce_bias.numerics.leave_one_out`).

Source: THEORY of the project's documentation, "The Laplace potential".
"""

from nce_bias.samplers._best_of import BestOf, best_of
from nce_bias.samplers._best_of_clocks import BestOfClocksLaw
from nce_bias.samplers._best_of_distinct import BestOfDistinctLaw
from nce_bias.samplers._best_of_draws import BestOfDrawsLaw
from nce_bias.samplers._blocks import BlocksLaw
from nce_bias.samplers._concatenation import Concatenation, ConcatenationLaw
from nce_bias.samplers._distinct_hits import DistinctHits, DistinctHitsLaw, without_replacement
from nce_bias.samplers._either import Either, EitherLaw, either
from nce_bias.samplers._epoch import EpochLaw
from nce_bias.samplers._hard_rows import HardRowsLaw
from nce_bias.samplers._iid import HITS, Iid, IidLaw, iid
from nce_bias.samplers._in_batch import InBatch, in_batch
from nce_bias.samplers._listed import Listed, ListedLaw, listed
from nce_bias.samplers._poisson import Poisson, PoissonLaw, poisson
from nce_bias.samplers._queue import Queue, queue
from nce_bias.samplers._queue_law import QueueLaw
from nce_bias.samplers._resampled import Resampled, resampled
from nce_bias.samplers._resampled_draws import ResampledLaw
from nce_bias.samplers._resampled_once import ResampledOnceLaw
from nce_bias.samplers._top import Top, TopLaw, top
from nce_bias.samplers._unique import Unique, UniqueLaw, unique
from nce_bias.samplers._until_distinct import UntilDistinct, UntilDistinctLaw, until_distinct
from nce_bias.samplers._without_replacement import WithoutReplacement, WithoutReplacementLaw
from nce_bias.samplers.base import Law, Lot, Sampler

#: Name -> factory; every entry is crossed with every loss and proposal in the tests.
SAMPLERS = {
    "iid": iid,
    "without_replacement": without_replacement,
    "poisson": poisson,
    "top": top,
}

__all__ = [
    "HITS",
    "SAMPLERS",
    "BestOf",
    "BestOfClocksLaw",
    "BestOfDistinctLaw",
    "BestOfDrawsLaw",
    "BlocksLaw",
    "Concatenation",
    "ConcatenationLaw",
    "DistinctHits",
    "DistinctHitsLaw",
    "Either",
    "EitherLaw",
    "EpochLaw",
    "HardRowsLaw",
    "Iid",
    "IidLaw",
    "InBatch",
    "Law",
    "Listed",
    "ListedLaw",
    "Lot",
    "Poisson",
    "PoissonLaw",
    "Queue",
    "QueueLaw",
    "Resampled",
    "ResampledLaw",
    "ResampledOnceLaw",
    "Sampler",
    "Top",
    "TopLaw",
    "Unique",
    "UniqueLaw",
    "UntilDistinct",
    "UntilDistinctLaw",
    "WithoutReplacement",
    "WithoutReplacementLaw",
    "best_of",
    "either",
    "iid",
    "in_batch",
    "listed",
    "poisson",
    "queue",
    "resampled",
    "top",
    "unique",
    "until_distinct",
    "without_replacement",
]
