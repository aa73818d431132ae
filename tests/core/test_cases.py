"""The table of cases is complete, and its inputs tell every two cases apart."""

import itertools

import numpy as np
import pytest

import nce_bias as nb
from tests import cases
from tests.oracles import enumeration


def test_every_registered_name_has_cases():
    assert {case.registered for case in cases.PROPOSALS} == {*nb.PROPOSALS, ""}
    assert {name for case in cases.SAMPLERS for name in case.registered} == set(nb.SAMPLERS)
    assert set(cases.NEGATIVES) == set(cases.NEGATIVES_WITHOUT_REPLACEMENT) == set(nb.LOSSES)
    for name, registered in nb.LOSSES.items():
        assert repr(registered) == name
        assert name in enumeration.LOSSES
    assert set(itertools.chain(*cases.NEGATIVES.values())) == {1, 2, 3, 4}


def test_every_sampler_meets_every_loss_it_can():
    met = {(case.sampler.name, case.loss) for case in cases.CASES}
    for sampler, loss in itertools.product(cases.SAMPLERS, nb.LOSSES):
        allowed = sampler.corrects or loss in enumeration.UNCORRECTED
        allowed &= sampler.fills or loss != "self_normalized"
        assert ((sampler.name, loss) in met) == allowed
    for name in (*(f"iid-{hits}" for hits in cases.HITS), "without_replacement"):
        assert {case.m for case in cases.CASES if case.sampler.name == name} == {1, 2, 3, 4}


def test_names_are_unique():
    names = [str(case) for case in cases.CASES]
    assert len(set(names)) == len(names)


def test_the_problem_is_irregular():
    """No ties, not normalised, popularity unlike the population's: shortcuts do not agree."""
    assert len(np.unique(cases.SCORES)) == cases.SCORES.size
    assert np.abs(np.exp(cases.SCORES).sum(axis=1) - 1).min() > 0.1
    assert np.abs(cases.WEIGHTS @ cases.POPULATION - cases.POPULARITY).max() > 0.05
    np.testing.assert_allclose(cases.POPULATION.sum(axis=1), 1, rtol=1e-15)
    qs = [case.q(cases.SCORES[0], cases.POPULARITY) for case in cases.PROPOSALS]
    for a, b in itertools.combinations(qs, 2):
        assert np.abs(a - b).max() > 0.01


@pytest.mark.parametrize("index", [5, 7], ids=["tempered", "from_probabilities"])
def test_no_two_cases_have_the_same_answer(index):
    """A mix-up of hits, of corrections or of m is visible far above any tolerance.

    One kept hit selects the gold just as a masked one does: it shows in the loss, which counts the
    gold twice.
    """
    proposal = cases.PROPOSALS[index]
    truths = {str(case): cases.truth(case, proposal) for case in cases.CASES}
    answers = {name: np.append(found.selection, found.loss) for name, found in truths.items()}
    same = {
        frozenset(pair)
        for pair in itertools.combinations(answers, 2)
        if np.abs(answers[pair[0]] - answers[pair[1]]).max() < 1e-5
    }
    assert not same
