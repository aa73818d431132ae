"""Every named convention is what its source says, by listing all sets of negatives."""

import numpy as np
import pytest

import nce_bias as nb
from tests.oracles import distinct
from tests.presets.definitions import (
    candidates,
    language_models,
    listing,
    queues,
    recommendation,
    resampling,
    retrieval,
    self_supervised,
)

MODULES = (
    candidates,
    language_models,
    queues,
    recommendation,
    resampling,
    retrieval,
    self_supervised,
)
DEFINITIONS = {name: pair for module in MODULES for name, pair in module.DEFINITIONS.items()}
OPTIONS = {name: given for module in MODULES for name, given in module.OPTIONS.items()}
#: Weights that depend on how many tries it took: hits, and whether the loss is a binary one.
BY_TRIES = {"tf_sampled_softmax": ("mask", False), "tf_nce": ("keep", True)}
#: Two integrals in a row, sums of a few hundred terms of order 1 and the oracle's own rounding.
ROUNDING = 1e-10
VIEWS = self_supervised.VIEWS


def problem(views=1):
    numbers = (listing.SCORES, listing.POPULATION, listing.POPULARITY)
    given = [listing.padded(row, views) for row in numbers]
    return nb.Problem(*given, sides=listing.SIDES if views == 1 else None)


PROBLEM = problem()


def expected_of(name):
    if name in DEFINITIONS:
        return listing.moments(*DEFINITIONS[name], views=VIEWS.get(name, 1))
    hits, binary = BY_TRIES[name]
    listed = distinct.until_distinct(language_models.INDEX, listing.M, hits, corrected=True)
    return distinct.moments(listing.SCORES, listing.POPULATION, listed, binary=binary)


@pytest.mark.parametrize("name", nb.presets.PRESETS)
def test_a_convention_is_what_its_source_says(name):
    given = problem(VIEWS[name]) if name in VIEWS else PROBLEM
    found = nb.preset(name, listing.M, **OPTIONS.get(name, {})).exact(given)
    expected = expected_of(name)
    for field in ("loss", "gradient", "bias_norm", "cosine", "variance", "coverage"):
        mine, truth = np.asarray(getattr(found, field)), getattr(expected, field)
        np.testing.assert_allclose(mine, truth, rtol=ROUNDING, atol=ROUNDING, err_msg=field)


def test_each_has_a_definition_of_its_own():
    assert {*DEFINITIONS, *BY_TRIES} == set(nb.presets.PRESETS)
    assert len(nb.presets.CONVENTIONS) == len(nb.presets.PRESETS) >= 120


#: What a reader might take for the definition, and is not.
MISREAD = {
    "tf_sampled_softmax_repeats": (
        listing.iid(language_models.INDEX, "mask"),
        language_models.both_corrected,
    ),
    "fasttext": (listing.iid(listing.power(0.5), "mask"), listing.negative_sampling),
    "line": (listing.iid(listing.power(0.6)), listing.negative_sampling),
    "dns": (listing.iid(listing.best_of(2, lambda gold: listing.SCORES)), listing.bpr),
    "dns_m_n": (
        listing.chosen(listing.iid(listing.UNIFORM, "mask", 2 * listing.M), listing.SCORES),
        listing.bpr,
    ),
    "tfrs_hard_negatives": (
        listing.chosen(listing.iid(listing.POPULARITY, "mask", 2 * listing.M), listing.SCORES),
        listing.ranking_nce,
    ),
    "rf_softmax": (
        listing.iid(listing.normal(np.exp(listing.SIDES["kernel"]))),
        listing.sampled_softmax,
    ),
    "complementary_sum": (listing.iid(listing.UNIFORM), listing.sampled_softmax),
    "horvitz_thompson": (listing.distinct(listing.POPULARITY), listing.sampled_softmax),
    "mixed_50": (listing.iid(listing.MODEL), listing.infonce),
    "simclr": (listing.iid(listing.padded(listing.POPULARITY, 2), "keep"), listing.infonce),
    "decoupled_views": (self_supervised.views, listing.infonce),
    "supcon": (self_supervised.CLASSES, self_supervised.mil_nce),
    "supcon_in": (self_supervised.CLASSES, listing.infonce),
    "mil_nce": (listing.BATCH, listing.infonce),
    "dpr": (
        listing.both(
            listing.iid(listing.POPULARITY, "keep", m=1),
            lambda gold: ("listed", [np.int_(listing.SIDES["mined"][gold : gold + 1])] * listing.V),
        ),
        listing.infonce,
    ),
    "infoloob": (listing.BATCH, listing.infonce),
    "gsasrec_public_code": (
        listing.iid(listing.UNIFORM, "keep"),
        recommendation.gbce(listing.M / (listing.V - 1), 0.5),
    ),
    "rotate": (
        listing.iid(listing.where("positives", marked=False)),
        resampling.rotate_with_gradient_through_weights,
    ),
    "kbgan": (
        listing.by_weight(listing.iid(listing.UNIFORM, m=3), np.exp(listing.SCORES)),
        listing.hinge(0.5),
    ),
    "bir": (
        listing.by_weight(
            listing.iid(listing.POPULARITY, "keep", 2 * listing.M), np.exp(listing.SCORES)
        ),
        listing.infonce,
    ),
    "moco": (listing.BATCH, listing.infonce),  # with the scores of today
    "gist_embed": (listing.BATCH, listing.infonce),
    "qwen3_embedding": (  # drawn again, not masked
        lambda gold: (
            "iid",
            listing.POPULARITY * (listing.SCORES <= listing.SCORES[gold] + 0.3),
            listing.M,
            "keep",
        ),
        listing.infonce,
    ),
    "star": (retrieval.triplets, listing.bpr),
    "simce": (listing.iid(listing.UNIFORM), listing.hinge(0.5)),
    "poincare": (
        listing.iid(listing.where("positives", marked=False)),
        listing.infonce,
    ),
}


@pytest.mark.parametrize("name", MISREAD)
def test_another_reading_is_told_apart(name):
    right, wrong = expected_of(name), listing.moments(*MISREAD[name], views=VIEWS.get(name, 1))
    assert abs(right.loss - wrong.loss) > 1e-3 or abs(right.gradient - wrong.gradient).max() > 1e-3
