r"""Asymptotic variances of unnormalised models s = theta . f(y) - c, data and noise independent.

n examples from p, k n draws of noise q, p = e^s at the truth. Each row below is n times the
covariance of theta, c estimated with it; f_0 = f - E_p f.

- Maximum likelihood: J^{-1}, J = Cov_p(f).
- MC-MLE (Geyer), theta . mean f - log mean of e^{theta . f} / q over the noise:
  J^{-1} [sum_y p (1 + p / (k q)) f_0 f_0^T] J^{-1}.
- Binary NCE with h = p k q / (p + k q), F = (f, 1): the scores' variance is I - (1 + 1/k) (I e)
  (I e)^T with I = sum_y h F F^T the curvature and e the last unit vector, so that theta's block is
  that of I^{-1}: what is taken off lies in c alone.

With weights h = p / (1 + p / (k q)) against p (1 + p / (k q)), Cauchy-Schwarz puts NCE's between
the other two, for every p, q, k and f.

Source: Gutmann & Hyvarinen (2012), Geyer (1994), Riou-Durand & Chopin (2018); derived again.
"""

import numpy as np


def likelihood(features: np.ndarray, p: np.ndarray) -> np.ndarray:
    """[d, d] of maximum likelihood."""
    return np.linalg.inv(_spread(features, p, p))


def mc_mle(features: np.ndarray, p: np.ndarray, q: np.ndarray, k: float) -> np.ndarray:
    """[d, d] of Monte Carlo maximum likelihood."""
    inverse = likelihood(features, p)
    return inverse @ _spread(features, p * (1 + p / (k * q)), p) @ inverse


def nce(features: np.ndarray, p: np.ndarray, q: np.ndarray, k: float) -> np.ndarray:
    """[d, d] of binary NCE."""
    h = p * k * q / (p + k * q)
    return np.linalg.inv(_spread(features, h, h / h.sum()))


def nce_with_known_constant(
    features: np.ndarray, p: np.ndarray, q: np.ndarray, k: float
) -> np.ndarray:
    """[d, d] of binary NCE with c held at the truth."""
    h = p * k * q / (p + k * q)
    curvature, mean = features.T @ (h[:, None] * features), features.T @ h
    inverse = np.linalg.inv(curvature)
    return inverse @ (curvature - (1 + 1 / k) * np.outer(mean, mean)) @ inverse


def largest(one: np.ndarray, other: np.ndarray) -> float:
    """max over directions a of (a . one a) / (a . other a)."""
    root = np.linalg.inv(np.linalg.cholesky(other))
    return float(np.linalg.eigvalsh(root @ one @ root.T)[-1])


def _spread(features: np.ndarray, weights: np.ndarray, about: np.ndarray) -> np.ndarray:
    """sum_y weights (f - E f)(f - E f)^T, the mean under `about`."""
    centred = features - about @ features
    return centred.T @ (weights[:, None] * centred)
