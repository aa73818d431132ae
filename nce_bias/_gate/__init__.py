"""The way in: every array, key and distribution that a user gives passes here, once.

`reading` takes what holds numbers, whatever made it; `distributions` asks that probabilities sum to
1 as well as their source could have them; `unusual` says a word where an input is legal and yet
looks like a mistake.
"""

from nce_bias._gate.distributions import normalised
from nce_bias._gate.reading import floating, random_key, read, read_integers
from nce_bias._gate.unusual import UnusualInput, look_like_probabilities, remark

__all__ = [
    "UnusualInput",
    "floating",
    "look_like_probabilities",
    "normalised",
    "random_key",
    "read",
    "read_integers",
    "remark",
]
