"""All trials by name, in the order of the years."""

from analysis.claims.trial import Trial
from analysis.claims.trials import (
    blackout,
    calibration,
    closeness,
    corrected_log_q,
    debiasing,
    in_batch_gradients,
    infinite_negatives,
    log_k,
    log_q_in_batch,
    no_optimum,
    noise_at_data,
    one_draw,
    one_vs_each,
    quadratic_kernel,
    rate,
    resampling,
    ring,
    shifted_pmi,
    sigmoid_batches,
    three_quarters,
    top_of_pool,
    uniform_mixed_in,
)

_MODULES = (
    three_quarters,
    shifted_pmi,
    blackout,
    one_vs_each,
    quadratic_kernel,
    log_k,
    log_q_in_batch,
    rate,
    debiasing,
    noise_at_data,
    uniform_mixed_in,
    in_batch_gradients,
    one_draw,
    ring,
    infinite_negatives,
    no_optimum,
    resampling,
    calibration,
    sigmoid_batches,
    top_of_pool,
    closeness,
    corrected_log_q,
)

TRIALS: dict[str, Trial] = {module.__name__.rpartition(".")[2]: module.TRIAL for module in _MODULES}
