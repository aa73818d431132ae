"""Objects of the theory: what is proved about estimators, in the form it is proved for."""

from functools import partial

from nce_bias.losses import (
    binary_nce,
    exponential_nce,
    ranking_nce,
    sampled_softmax,
    self_normalized,
    with_inclusion,
)
from nce_bias.presets._convention import Convention
from nce_bias.presets._losses import poisson_transform
from nce_bias.proposals import popularity
from nce_bias.samplers import iid, poisson, without_replacement

row = partial(Convention, family="theory", popular=True)
ROWS = [
    row(
        name="ranking_nce",
        year=2018,
        of=lambda m: (iid(popularity(), m, hits="keep"), ranking_nce),
        words="m draws from the popularity, hits kept; log q off gold and negatives",
        source="Ma & Collins (2018), the ranking objective",
    ),
    row(
        name="conditional_importance_sampling",
        year=2024,
        of=lambda m: (iid(popularity(), m, hits="keep"), ranking_nce),
        words="importance sampling of Z with the gold as one of the draws, which is ranking NCE",
        source="Olmin et al. (2024)",
        same_as="ranking_nce",
    ),
    row(
        name="binary_nce",
        year=2010,
        of=lambda m: (iid(popularity(), m, hits="keep"), binary_nce),
        words="m draws from the popularity, hits kept; logistic loss with log(m q) off all scores",
        source="Gutmann & Hyvärinen (2010); Mnih & Teh (2012)",
    ),
    row(
        name="exponential_nce",
        year=2022,
        of=lambda m: (iid(popularity(), m, hits="keep"), exponential_nce),
        words="m draws from the popularity, hits kept; exp(-D / 2) of the gold and exp(D / 2) of "
        "each negative, D = s - log(m q)",
        source="Liu et al. (2022), eNCE",
    ),
    row(
        name="mc_mle",
        year=1994,
        of=lambda m: (iid(popularity(), m, hits="keep"), self_normalized),
        words="maximum likelihood with Z from m draws, the gold not among them",
        source="Geyer (1994), with a draw for each example",
        differs="One sample serves all data: here every example has its own.",
        same_as="bengio_senecal_2003",
    ),
    row(
        name="poisson_transform",
        year=2015,
        of=lambda m: (iid(popularity(), m, hits="keep"), poisson_transform),
        words="the likelihood of a Poisson process: minus the gold's score and the importance "
        "sampling estimate of Z itself, not of its logarithm",
        source="Barthelmé & Chopin (2015), the normaliser of each input in its scores",
    ),
    row(
        name="horvitz_thompson",
        year=1952,
        of=lambda m: (without_replacement(popularity(), m), with_inclusion(sampled_softmax)),
        words="m distinct wrong labels from the popularity, weighted by one over the chance to be "
        "drawn, so that Z is estimated without bias",
        source="Horvitz & Thompson (1952), for the softmax's Z",
    ),
    row(
        name="horvitz_thompson_poisson",
        year=1952,
        of=lambda m: (poisson(popularity(), m), with_inclusion(sampled_softmax)),
        words="each wrong label by itself, m on average, weighted by one over the chance to be "
        "drawn",
        source="Horvitz & Thompson (1952), with Poisson sampling, for the softmax's Z",
    ),
]
