"""Losses that several trials take and the library has no name for."""

import nce_bias as nb

#: log sum_k e^{s_k} - s_g, the gold not in the sum: DCL, FlatNCE, InfoLOOB, BSL, a negative cache.
decoupled = nb.LogSums("decoupled", nb.LogSum(1.0, lambda negative: negative), lambda gold: -gold)
