r"""Losses over one gold and m negatives: which correction is added to which score.

The candidate-softmax losses differ only in their log-weights. With the gold's weight w_+ and the
negatives' weights w(y),

    Z = w_+ + sum_k w(y_k),        loss = log Z - log w_+,        pi(k) = w_k / Z.

========================  ================  ==================  ====================================
loss                      log w_+           log w(y)            source
========================  ================  ==================  ====================================
`infonce`                 s                 s                   Zhang & Stratos (2021); van den Oord
                                                                et al. (2018)
`sampled_softmax`         s                 s - log(m q_y)      Bengio & Senécal (2008); Blanc &
                                                                Rendle (2018)
`sampled_softmax_both`    s - log(m q_y)    s - log(m q_y)      TensorFlow candidate sampling,
                                                                ``subtract_log_q``
`ranking_nce`             s - log q_y       s - log q_y         Ma & Collins (2018)
`self_normalized`         -inf in Z         s - log(m q_y)      Bengio & Senécal (2003); loss log Z
                                                                - s of the gold
========================  ================  ==================  ====================================

The binary losses add up over candidates, softplus(-D) for the gold and softplus(D) for a negative:

========================  ================  ==================  ====================================
`binary_nce`              s - log(m q_y)    s - log(m q_y)      Gutmann & Hyvärinen (2010); Mnih &
                                                                Teh (2012)
`negative_sampling`       s                 s                   Mikolov et al. (2013)
========================  ================  ==================  ====================================

Both are `Additive`: any h_+(s_g) + sum_k h(s_g, s_k) is exact with every sampler, from the first
two moments of the copies of each label. `bpr`, `one_vs_each`, `hinge`, `ccl`, `gbce`, `siglip`,
`spectral`, `jsd`, `nwj` and `exponential_nce` are such (`nce_bias.losses.named`), and so is one of
your own.

A loss that is made of several Z is a `LogSums`: any h(s_g) + sum_i a_i log Z_i, exact too.
`blackout`, `jackknifed_softmax`, `psl`, `smile` and `mil_nce` are such, and with powers of Z in
place of its logarithm `gce` and `rince` (`nce_bias.losses.named_sums`). Of a
mean by weights that the negatives have among themselves (`WeightedMean`) `self_adversarial` is.
`debiased` and `hard_reweighted` (Chuang et al., 2020; Robinson et al., 2021) are while their floor
is idle; how often it acts is bounded (`nce_bias.losses.floor`), and where that is too often they
are known by Monte Carlo alone.

q is what one negative is drawn from: where the sampler never draws the gold, q_y / (1 - q_gold) for
a negative. The gold is never drawn there; where a loss corrects the gold it uses its q_gold as the
proposal has it. `with_inclusion(loss)` takes the exact expected number of copies of a label in
place of m q_y for the negatives. No gradient flows through q.

A loss of your own is any object with the four members of `Loss`; `monte_carlo` takes it as it is.
"""

from nce_bias.losses.additive import Additive
from nce_bias.losses.base import Corrected, ExactLoss, Loss, check_loss
from nce_bias.losses.binary import binary_nce, negative_sampling
from nce_bias.losses.log_sum import LogSum
from nce_bias.losses.log_sums import LogSums
from nce_bias.losses.named import (
    bpr,
    ccl,
    exponential_nce,
    gbce,
    hinge,
    jsd,
    nwj,
    one_vs_each,
    siglip,
    spectral,
)
from nce_bias.losses.named_sums import (
    blackout,
    gce,
    jackknifed_softmax,
    mil_nce,
    psl,
    rince,
    self_adversarial,
    smile,
)
from nce_bias.losses.reweighted import Reweighted, debiased, hard_reweighted
from nce_bias.losses.softmax import (
    CandidateSoftmax,
    infonce,
    ranking_nce,
    sampled_softmax,
    sampled_softmax_both,
    self_normalized,
    with_inclusion,
)
from nce_bias.losses.weighted_mean import WeightedMean

#: Name on the command line and in tables -> loss, of those with exact moments.
LOSSES = {
    loss.name: loss
    for loss in (
        infonce,
        sampled_softmax,
        sampled_softmax_both,
        ranking_nce,
        self_normalized,
        binary_nce,
        negative_sampling,
    )
}

__all__ = [
    "LOSSES",
    "Additive",
    "CandidateSoftmax",
    "Corrected",
    "ExactLoss",
    "LogSum",
    "LogSums",
    "Loss",
    "Reweighted",
    "WeightedMean",
    "binary_nce",
    "blackout",
    "bpr",
    "ccl",
    "check_loss",
    "debiased",
    "exponential_nce",
    "gbce",
    "gce",
    "hard_reweighted",
    "hinge",
    "infonce",
    "jackknifed_softmax",
    "jsd",
    "mil_nce",
    "negative_sampling",
    "nwj",
    "one_vs_each",
    "psl",
    "ranking_nce",
    "rince",
    "sampled_softmax",
    "sampled_softmax_both",
    "self_adversarial",
    "self_normalized",
    "siglip",
    "smile",
    "spectral",
    "with_inclusion",
]
