"""Moments of iid sampling at large V, to thirty digits, from 1/Z = int_0^inf e^{-tZ} dt.

A candidate set holds the gold with weight w_+ and m negatives drawn independently from q, label y
having weight w_y; Z is their total. By exchangeability of the draws, for a label y that is not the
gold,

    gamma_y = E[ sum_k w_y 1{y_k = y} / Z ] = m q_y w_y E[ 1 / Z | y_1 = y ]
            = m q_y w_y  int_0^inf e^{-t (w_+ + w_y)} phi(t)^{m-1} dt,    phi(t) = E[e^{-t w(y_k)}],

for the gold w_+ int e^{-t w_+} phi^m dt, and the term above as well where the gold may be drawn
again. Second moments come from 1/Z^2 = int t e^{-tZ} dt and the loss from

    log(Z / w_+) = int_0^inf e^{-t w_+} (1 - e^{-t (Z - w_+)}) / t dt.

phi is over the law of one draw: q (``keep``), q with the gold's draws weightless (``mask``), q
without the gold (``exclude``).

**Rule.** Gauss-Legendre on [0, T], [T, 2T], [2T, 4T], ... with T = 1 / max Z, up to t w_+ = 100.
Every integrand is a positive mixture of e^{-ts}, so the classical remainder
a^{2n+1} (n!)^4 / ((2n+1) (2n)!^3) s^{2n} e^{-as} on [a, 2a] bounds the error whatever the weights:
x^{2n} e^{-x} <= (2n/e)^{2n} leaves about 16^{-n} of the value. Two orders give an error estimate.
Doubling panels have doubling nodes, e^{-2tw} = (e^{-tw})^2, so exponentials are taken once and then
squared, in integers of as many bits as the squarings will cost and 190 more.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import mpmath
import numpy as np

HITS = ("exclude", "mask", "keep")


@dataclass(frozen=True)
class Reference:
    """Moments for one gold; ``error`` is the largest difference between two quadrature orders."""

    selection: list  # E[v_y] for each requested label
    square: list  # E[v_y^2] for each requested label
    loss: mpmath.mpf  # E[log Z] - log w_+
    error: float


@dataclass(frozen=True)
class Average:
    """Moments averaged over the gold, in ``numpy.longdouble``."""

    selection: np.ndarray  # [V]  E[v]
    variance: float  # tr Cov(v - e_gold)
    error: float  # largest difference of selection between two quadrature orders


def iid_reference(
    log_weights, log_gold_weight, q, m, hits, gold, labels, orders=(26, 32)
) -> Reference:
    """Moments of one gold for a handful of labels.

    Parameters
    ----------
    log_weights : [V], corrected scores of the labels as negatives (for *this* gold)
    log_gold_weight : corrected score of the gold as the gold
    q : [V], over all labels; for ``hits="exclude"`` the gold is taken out here
    m, hits, gold : number of draws, hits policy, gold label
    labels : labels to report
    orders : two Gauss-Legendre orders; the second is reported
    """
    few, many = (
        _fixed_point(log_weights, log_gold_weight, q, m, hits, gold, labels, n) for n in orders
    )
    pairs = zip(few[0] + few[1] + [few[2]], many[0] + many[1] + [many[2]], strict=True)
    return Reference(*many, error=max(float(abs(a - b)) for a, b in pairs))


def _fixed_point(log_weights, log_gold_weight, q, m, hits, gold, labels, order):
    logs = [float(x) for x in log_weights]
    law = [0.0 if hits == "exclude" and y == gold else float(x) for y, x in enumerate(q)]
    _check(hits, law)
    support = [x for x, chance in zip(logs, law, strict=True) if chance > 0]
    peak = max(*support, float(log_gold_weight))
    # the loss integral decays like e^{-t w_+}, more slowly than e^{-t min Z}
    panels = _panels(float(log_gold_weight) - peak, m, tail=100)
    bits = 190 + panels
    with mpmath.workprec(bits + 20):
        one = mpmath.mpf(2) ** bits
        w = [mpmath.exp(mpmath.mpf(x) - peak) for x in logs]
        plus = mpmath.exp(mpmath.mpf(float(log_gold_weight)) - peak)
        total = mpmath.fsum(law)
        law = [mpmath.mpf(x) / total for x in law]
        start = 1 / (plus + m * mpmath.exp(mpmath.mpf(max(support)) - peak))
        nodes, rule = gauss_legendre(order, -(-bits // 256) * 256)
        chances = np.array([int(x * one) for x in law], object)
        if hits == "mask":
            spared, chances[gold] = law[gold], 0
        else:
            spared = mpmath.mpf(0)
        size = len(w)  # and column number ``size`` belongs to the gold
        drawable = [y for y in range(size) if law[y] > 0]
        single = [mpmath.mpf(0)] * len(labels)  # int e^{-t (w_+ + w_y)} phi^{m-1}
        single_t, double_t = list(single), list(single)  # with t; and with 2 w_y and m - 2
        own = own_t = loss = mpmath.mpf(0)
        powers = np.zeros((order, size + 1), object)  # e^{-t w}, in units of 2^-bits
        for panel, left, width in _grid(start, panels):
            ts = [left + width * (1 + x) / 2 for x in nodes]
            if panel <= 1:
                for i, t in enumerate(ts):
                    for y in drawable:
                        powers[i, y] = int(mpmath.exp(-t * w[y]) * one)
                    powers[i, size] = int(mpmath.exp(-t * plus) * one)
            else:
                powers = powers * powers >> bits
            phis = powers[:, :size].dot(chances)
            for i, t in enumerate(ts):
                phi = spared + mpmath.mpf(phis[i]) / (one * one)
                weight = width * rule[i] / 2
                base = weight * mpmath.mpf(powers[i, size]) / one
                less = phi ** (m - 1)
                lesser = phi ** (m - 2) if m > 1 else mpmath.mpf(0)
                own += base * less * phi
                own_t += base * less * phi * t
                loss += base * (1 - less * phi) / t
                for j, y in enumerate(labels):
                    x = mpmath.mpf(powers[i, y]) / one
                    single[j] += base * x * less
                    single_t[j] += base * x * less * t
                    double_t[j] += base * x * x * lesser * t
        selection, square = [], []
        for j, y in enumerate(labels):
            rate = m * law[y] * w[y] if hits == "keep" or y != gold else mpmath.mpf(0)
            mean = rate * single[j]
            second = rate * (w[y] * single_t[j] + (m - 1) * law[y] * w[y] * double_t[j])
            if y == gold:
                mean += plus * own
                second += plus**2 * own_t + 2 * plus * rate * single_t[j]
            selection.append(mean)
            square.append(second)
        return selection, square, loss


def iid_average(log_weights, log_gold_weights, q, m, hits, population, orders=(15, 20)) -> Average:
    """Moments averaged over the gold, for all labels, in extended precision (about 1e-17).

    ``log_weights`` ``[V]`` must serve every gold. The candidate softmax sees only ratios, so a
    correction by the renormalised q_y / (1 - q_g) is expressed by s_y - log(m q_y) here and
    s_g - log(1 - q_g) in ``log_gold_weights`` ``[V]``. Other arguments as in `iid_reference`.
    """
    few, many = (
        _extended(log_weights, log_gold_weights, q, m, hits, population, n) for n in orders
    )
    error = np.abs(few[0] - many[0]).max()
    return Average(*many, error=float(error))


def _extended(log_weights, log_gold_weights, q, m, hits, population, order):
    logs, plus, q, population = (
        np.asarray(a, np.longdouble) for a in (log_weights, log_gold_weights, q, population)
    )
    q = q / q.sum()
    _check(hits, q)
    golds, support = np.flatnonzero(population > 0), q > 0
    peak = max(logs[support].max(), plus[golds].max())
    w, plus = np.where(support, np.exp(logs - peak), 0), np.exp(plus - peak)
    lowest = plus[golds].min() + (0 if hits == "mask" else m * w[support].min())  # min Z
    panels = _panels(float(np.log(lowest)), m, tail=48)
    start = 1 / (plus[golds].max() + m * w.max())
    nodes, rule = (
        np.array([np.longdouble(mpmath.nstr(x, 25)) for x in part])
        for part in gauss_legendre(order, 256)
    )
    pop, keep = population[golds], hits == "keep"
    norm = _others(q)[golds] if hits == "exclude" else np.ones(len(golds), np.longdouble)
    dropped = q[golds] if hits == "mask" else np.longdouble(0)
    zeros = np.zeros(len(q), np.longdouble)
    single, square = zeros.copy(), zeros.copy()  # over y: E[v_y] and E[v_y^2] from the negatives
    own, again = zeros.copy(), zeros.copy()  # over g: E[v_g] from the gold, from its copies
    crossed = np.longdouble(0)  # E[v_g^2] so far as the gold itself takes part in it
    for _, left, width in _grid(start, panels):
        t = (left + width * (1 + nodes) / 2)[:, None]
        weight = (width * rule / 2)[:, None]
        decay = np.exp(-t * w)  # [n, V]
        lost, kept = -np.expm1(-t * w) * q, decay * q  # 1 - phi and phi, label by label
        lost, kept = (
            np.broadcast_to(a.sum(axis=1, keepdims=True), (len(t), len(golds)))
            if keep
            else _others(a)[:, golds]
            for a in (lost, kept)
        )
        lost, kept = lost / norm, (kept + dropped) / norm
        near_one = lost < 0.5
        log_phi = np.where(
            near_one, np.log1p(-np.where(near_one, lost, 0)), np.log(np.where(near_one, 1, kept))
        )
        base = weight * pop * np.exp(-t * plus[golds])  # [n, golds]
        whole = base * _power(log_phi, m)
        less = base * _power(log_phi, m - 1) / norm
        lesser = base * _power(log_phi, m - 2) / norm**2 if m > 1 else np.zeros_like(base)
        own[golds] += (whole * plus[golds]).sum(axis=0)
        crossed += (whole * t * plus[golds] ** 2).sum()
        if keep:
            copies = less * decay[:, golds] * (m * q * w)[golds]
            again[golds] += copies.sum(axis=0)
            crossed += 2 * (copies * t * plus[golds]).sum()
            sums, more = less.sum(axis=1, keepdims=True), lesser.sum(axis=1, keepdims=True)
        else:
            sums, more = (_others(_spread(a, golds, len(q))) for a in (less, lesser))
        single += m * q * w * (sums * decay).sum(axis=0)
        square += m * q * w**2 * (t * decay * (sums + more * decay * (m - 1) * q)).sum(axis=0)
    selection = single + own
    at_gold = own.sum() + again.sum()
    mean = selection - population
    # E|v - e|^2 = E|v|^2 - 2 E[v_gold] + 1
    variance = square.sum() + crossed - 2 * at_gold + population.sum() - mean @ mean
    return selection, float(variance)


@functools.cache
def gauss_legendre(order, bits):
    """Nodes and weights on [-1, 1] by Newton's method on the Legendre polynomial."""
    with mpmath.workprec(bits + 20):
        nodes, weights = [], []
        for guess in np.polynomial.legendre.leggauss(order)[0]:
            x = mpmath.mpf(float(guess))
            for _ in range(math.ceil(math.log2(bits / 20)) + 2):
                before, value = mpmath.mpf(1), x
                for k in range(2, order + 1):
                    before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
                slope = order * (before - x * value) / (1 - x * x)
                x -= value / slope
            nodes.append(x)
            weights.append(2 / ((1 - x * x) * slope * slope))
        return nodes, weights


def _grid(start, panels):
    """(number, left end, width) of [0, start] and of the ``panels`` doublings after it."""
    yield 0, 0 * start, start
    for panel in range(panels):
        yield panel + 1, start * 2**panel, start * 2**panel


def _panels(log_slowest, m, tail):
    """Doublings from 1 / max Z to tail / slowest decay; log-weights relative to the largest."""
    return math.ceil((math.log(tail * (1 + m)) - log_slowest) / math.log(2)) + 1


def _power(log_base, exponent):
    return np.exp(exponent * log_base) if exponent else np.ones_like(log_base)


def _others(values):
    """Sum over all entries of the last axis but one's own, without subtracting."""
    before = np.cumsum(values, axis=-1)
    after = np.flip(np.cumsum(np.flip(values, -1), axis=-1), -1)
    out = np.zeros_like(values)
    out[..., 1:] += before[..., :-1]
    out[..., :-1] += after[..., 1:]
    return out


def _spread(values, golds, size):
    out = np.zeros((*values.shape[:-1], size), values.dtype)
    out[..., golds] = values
    return out


def _check(hits, q):
    if hits not in HITS:
        raise ValueError(f"hits is one of {HITS}, not {hits!r}")
    if not any(x > 0 for x in q):
        raise ValueError("q has no mass outside the gold")
