"""Losses that tell each candidate from noise by itself: softplus(-D_g) + sum_k softplus(D_k)."""

from __future__ import annotations

from nce_bias.losses.additive import Additive
from nce_bias.losses.functions import Written
from nce_bias.numerics.arrays import sigmoid, softplus

#: -log sigma(-D), a negative's, and -log sigma(D), the gold's.
logistic = Written(softplus, sigmoid)
logistic_of_gold = Written(lambda score: softplus(-score), lambda score: -sigmoid(-score))

binary_nce = Additive("binary_nce", logistic_of_gold, logistic, ("log_mq", "log_mq"))
negative_sampling = Additive("negative_sampling", logistic_of_gold, logistic)
