"""Expectations over the draw of negatives, for one input: integrals and closed forms.

An `Expectation` is what a family of losses makes of the law of the negatives and the corrected
scores. `Integrand` is that of the candidate softmaxes (one integral in t), `ClosedForm` that of
losses which add up over candidates, `LogSumsMoments` that of sums of log-sums. A family of its own
is one class with the same four methods.
"""

from nce_bias.integrals.atoms import AtomIntegrand
from nce_bias.integrals.closed_form import ClosedForm
from nce_bias.integrals.crowded import CrowdIntegrand
from nce_bias.integrals.distinct import DistinctIntegrand
from nce_bias.integrals.expectation import Expectation, Gram, Rule, Sums
from nce_bias.integrals.integrand import Integrand
from nce_bias.integrals.log_sums import LogSumsMoments, Term

__all__ = [
    "AtomIntegrand",
    "ClosedForm",
    "CrowdIntegrand",
    "DistinctIntegrand",
    "Expectation",
    "Gram",
    "Integrand",
    "LogSumsMoments",
    "Rule",
    "Sums",
    "Term",
]
