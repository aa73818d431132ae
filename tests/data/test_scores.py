"""Scores of token states against their definitions, the general form, and each other."""

import re
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import nce_bias as nb
from nce_bias import scores
from nce_bias.scores import batch
from tests.oracles import scores as direct

B, V, T, L, H = 3, 7, 4, 5, 3
RNG = np.random.default_rng(0)
E, F = RNG.normal(size=(B, T, H)), RNG.normal(size=(V, L, H))
# Padding on the right, on the left, between tokens, and none.
E_MASK = np.array([[1, 1, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1]], bool)
F_MASK = np.array(
    [
        [1, 1, 1, 1, 1],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1],
        [0, 1, 0, 1, 1],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [1, 1, 1, 1, 0],
    ],
    bool,
)
CODES = RNG.normal(size=(2, H))
WEIGHT = RNG.normal(size=H)
TEXTS = E, E_MASK, F, F_MASK
SECOND_EMPTY = E_MASK & np.array([[True], [False], [True]])
#: By this much a wrong formula misses somewhere; the right one rounds at 1e-15.
MISTAKE = 0.1


def encode(E, e_mask, F, f_mask):
    """A pair's first column mixes all its tokens; the others are there to be left unread."""
    mixed = jnp.tanh(E.sum(axis=0) * F.sum(axis=0) / jnp.sum(f_mask))
    return jnp.concatenate([mixed[None], E])


def encode_directly(E, F):
    return np.concatenate([np.tanh(E.sum(axis=0) * F.mean(axis=0))[None], E])


class Case(NamedTuple):
    score: Any
    direct: Any

    def __str__(self):
        return repr(self.score)


CASES = [
    Case(scores.Dual(), direct.dual),
    Case(scores.Multi(2), lambda E, F: direct.multi(E, F, 2)),
    Case(scores.Multi(L), lambda E, F: direct.multi(E, F, L)),
    Case(scores.Som(), direct.som),
    Case(scores.Poly(CODES), lambda E, F: direct.poly(E, F, CODES)),
    Case(scores.Poly(CODES, 2.5), lambda E, F: direct.poly(E, F, CODES, 2.5)),
    Case(scores.Joint(WEIGHT, encode), lambda E, F: direct.joint(E, F, WEIGHT, encode_directly)),
]
every = pytest.mark.parametrize("case", CASES, ids=str)
KINDS = [CASES[k] for k in (0, 1, 3, 5, 6)]
each_kind = pytest.mark.parametrize("case", KINDS, ids=str)


def table(formula):
    """[B, V] by a formula of real tokens."""
    rows = [e[mask] for e, mask in zip(E, E_MASK, strict=True)]
    columns = [f[mask] for f, mask in zip(F, F_MASK, strict=True)]
    return np.array([[formula(e, f) for f in columns] for e in rows])


def agrees(given, expected):
    # a few hundred operations in float64 on numbers of order 1
    np.testing.assert_allclose(given, expected, rtol=1e-13, atol=1e-13)


def differs(given, expected):
    assert np.max(np.abs(np.asarray(given) - expected)) > MISTAKE


# --- what each is


def test_the_oracles_by_hand():
    """E_1 = (1, 2), E_2 = (0, 1); F_1 = (3, -1), F_2 = (1, 1), F_3 = (0, 2)."""
    e, f = np.array([[1.0, 2], [0, 1]]), np.array([[3.0, -1], [1, 1], [0, 2]])
    assert direct.dual(e, f) == 1
    assert [direct.multi(e, f, m) for m in (1, 2, 3)] == [1, 3, 4]
    assert direct.som(e, f) == 4 + 2
    # code (0, log 3): logits 2 log 3, log 3, weights 3/4, 1/4; P = (3/4, 7/4)
    one = np.array([[0, np.log(3)]])
    agrees(direct.poly(e, f, one), 3 * 3 / 4 - 7 / 4)
    # a second code of no preference, P_2 = (1/2, 3/2): P^T F_1 = (1/2, 0)
    share = 1 / (1 + np.exp(-0.5))
    agrees(direct.poly(e, f, np.array([[0, np.log(3)], [0, 0]])), share / 2)
    assert direct.joint(e, f, np.array([1, 10]), lambda e, f: e * f[:2]) == 3 - 20


@every
def test_every_score_is_its_definition(case):
    agrees(scores.against(case.score, *TEXTS), table(case.direct))


def test_every_registered_score_has_a_case():
    assert {type(case.score) for case in KINDS} == set(scores.SCORES.values())
    assert [scores.SCORES[name]().__class__.__name__ for name in ("dual", "som")] == ["Dual", "Som"]
    assert [str(case) for case in CASES] == [
        "dual",
        "multi(m=2)",
        "multi(m=5)",
        "som",
        "poly(m=2)",
        "poly(m=2, sharpness=2.5)",
        "joint(encode)",
    ]


def flat(formula):
    """A formula of all tokens, padded ones among them."""
    return np.array([[formula(e, f) for f in F] for e in E])


def test_wrong_twins():
    """Each is a slip that one makes; the inputs here tell it from the definition."""
    dual, multi, som, poly = (
        scores.against(score, *TEXTS)
        for score in (scores.Dual(), scores.Multi(2), scores.Som(), scores.Poly(CODES))
    )
    differs(dual, flat(direct.dual))  # the first column though it is padding
    differs(multi, table(lambda e, f: direct.multi(e, f, L)))  # more columns than m
    differs(multi, flat(lambda e, f: direct.multi(e, f, 2)))
    differs(multi, table(lambda e, f: sum(e[0] @ f_j for f_j in f[:2])))
    differs(multi, table(lambda e, f: max(e_i @ f[0] for e_i in e[:2])))  # over the wrong side
    differs(som, table(lambda e, f: direct.som(f, e)))  # over the wrong side
    differs(som, flat(direct.som))  # padding wins
    differs(som, table(lambda e, f: direct.som(e, f) / len(e)))
    differs(poly, flat(lambda e, f: direct.poly(e, f, CODES)))
    differs(poly, table(lambda e, f: direct.poly(e, f, CODES, 0.5)))
    differs(poly, table(lambda e, f: direct.poly(f, e, CODES)))

    def competing(e, f):  # codes compete for tokens instead of tokens for codes
        attention = np.apply_along_axis(direct.softmax, 1, e @ CODES.T)
        read = attention.T @ e
        return direct.softmax(read @ f[0]) @ (read @ f[0])

    differs(poly, table(competing))


# --- the general form


def forms(score, E, F):
    """The form of every pair, [B, V, ...]."""
    row = jax.vmap(score.form, in_axes=(None, None, 0, 0))
    return jax.vmap(row, in_axes=(0, 0, None, None))(E, E_MASK, F, F_MASK)


def by_form(score, E, F):
    return jax.vmap(jax.vmap(lambda form: scores.general(*form)))(forms(score, E, F))


@every
def test_value_is_the_general_form(case):
    """So are its gradients: hard attention is constant wherever there is no tie."""
    cotangent = RNG.normal(size=(B, V))

    def weighed(function):
        return jax.jit(
            jax.value_and_grad(lambda E, F: jnp.sum(cotangent * function(E, F)), argnums=(0, 1))
        )

    given = weighed(lambda E, F: scores.against(case.score, E, E_MASK, F, F_MASK))
    formed = weighed(lambda E, F: by_form(case.score, E, F))
    jax.tree.map(agrees, given(E, F), formed(E, F))


@every
def test_attention_is_a_distribution_over_real_tokens(case):
    form = jax.jit(lambda E, F: forms(case.score, E, F))(E, F)
    for attention in (form.C, form.D):
        assert np.all(np.asarray(attention) >= 0)
        agrees(jnp.sum(attention, axis=-2), 1)
    if not isinstance(case.score, scores.Joint):  # whose states are the pair's
        C, D = (np.moveaxis(np.asarray(a), -1, 2) for a in (form.C, form.D))
        used = np.any(np.asarray(form.A) != 0, axis=-1)  # [B, V, n]
        padded = np.broadcast_to(~E_MASK[:, None, None], C.shape)
        assert not np.any(C[padded & used[..., None]])
        assert not np.any(D[np.broadcast_to(~F_MASK[None, :, None], D.shape)])


def test_attentions():
    logits, mask = jnp.array([3.0, 1.0, 3.0, 9.0]), jnp.array([True, True, True, False])
    agrees(scores.hard(logits, mask), [0.5, 0, 0.5, 0])  # ties share
    agrees(jax.grad(lambda x: jnp.max(x[:3]))(logits), scores.hard(logits, mask))
    weights = np.exp([3, 1, 3])
    agrees(scores.soft(logits, mask), [*weights / weights.sum(), 0])
    agrees(scores.soft(logits, mask, 0.5), [*weights**0.5 / np.sum(weights**0.5), 0])
    agrees(scores.first(jnp.array([False, True, True])), [0, 1, 0])
    nothing = jnp.zeros(4, bool)
    for attention in (scores.hard, scores.soft, lambda _, mask: scores.first(mask)):
        agrees(attention(logits, nothing), np.zeros(4))
    agrees(jax.grad(lambda x: scores.soft(x, nothing)[0])(logits), np.zeros(4))
    assert np.isnan(scores.soft(logits.at[1].set(jnp.nan), mask)[0])  # of a real token: it is seen


def test_sharper_soft_attention_tends_to_hard():
    logits = jnp.array([0.3, -1.0, 0.2, 5.0])
    mask = jnp.array([True, True, True, False])
    away = [
        float(jnp.max(jnp.abs(scores.soft(logits, mask, s) - scores.hard(logits, mask))))
        for s in (1.0, 10.0, 100.0, 1000.0)
    ]
    assert away == sorted(away, reverse=True)
    assert away[0] > MISTAKE and away[-1] < 1e-40  # e^{-1000 (0.3 - 0.2)}

    def sharp(e, f):
        return max(f[0] @ e[np.argmax(e @ code)] for code in CODES)

    # the closest logits are 1e-3 or more apart: e^{-1e5 * 1e-3} is nothing
    agrees(scores.against(scores.Poly(CODES, 1e5), *TEXTS), table(sharp))
    differs(scores.against(scores.Poly(CODES), *TEXTS), table(sharp))


# --- identities between scores


def test_identities():
    one = E[:, :1], np.ones((B, 1), bool), F[:, :1], np.ones((V, 1), bool)
    dual = scores.against(scores.Dual(), *one)
    agrees(dual, E[:, 0] @ F[:, 0].T)
    for score in (scores.Som(), scores.Multi(1), scores.Poly(CODES[:1]), scores.Poly(CODES)):
        agrees(scores.against(score, *one), dual)  # of a single token nothing is left to choose
    agrees(scores.against(scores.Multi(1), *TEXTS), scores.against(scores.Dual(), *TEXTS))
    differs(scores.against(scores.Multi(2), *TEXTS), scores.against(scores.Dual(), *TEXTS))
    # a code of no preference reads the mean
    mean = table(lambda e, f: e.mean(axis=0) @ f[0])
    agrees(scores.against(scores.Poly(np.zeros((1, H))), *TEXTS), mean)


def test_every_order_of_the_tokens():
    """SOM does not see it; the others read the first."""
    order = [2, 0, 1, 3], [4, 2, 0, 1, 3]
    turned = E[:, order[0]], E_MASK[:, order[0]], F[:, order[1]], F_MASK[:, order[1]]
    agrees(scores.against(scores.Som(), *turned), table(direct.som))
    differs(scores.against(scores.Dual(), *turned), table(direct.dual))


# --- padding


@each_kind
def test_padded_states_change_nothing(case):
    def total(E, F):
        return jnp.sum(jnp.tanh(scores.against(case.score, E, E_MASK, F, F_MASK)))

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    clean = run(E, F)
    agrees(clean[0], np.tanh(table(case.direct)).sum())
    for junk in (1e30, np.inf, np.nan):
        dirty = np.where(E_MASK[..., None], E, junk), np.where(F_MASK[..., None], F, -junk)
        found, gradients = run(*dirty)
        assert found == clean[0]
        for gradient, plain, mask in zip(gradients, clean[1], (E_MASK, F_MASK), strict=True):
            np.testing.assert_array_equal(gradient, plain)
            assert np.all(np.isfinite(gradient))
            assert not np.any(np.asarray(gradient)[~mask])
            assert np.any(np.asarray(gradient)[mask])


@each_kind
def test_empty_texts(case):
    """An empty label is never chosen, an empty input has nothing to prefer."""
    e_mask, f_mask = SECOND_EMPTY, F_MASK.copy()
    f_mask[[2, 6]] = False

    def loss(E, F):
        found = scores.against(case.score, E, e_mask, F, f_mask)
        return -jnp.sum(jax.nn.log_softmax(found)[:, 0]), found

    dirty = np.where(e_mask[..., None], E, np.nan), np.where(f_mask[..., None], F, np.nan)
    (total, found), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(*dirty)
    found, kept = np.asarray(found), [0, 1, 3, 4, 5]
    assert np.all(found[:, [2, 6]] == -np.inf)
    agrees(found[:, kept][[0, 2]], table(case.direct)[:, kept][[0, 2]])
    agrees(found[1, kept], np.zeros(5))
    assert np.isfinite(total)
    for gradient, mask in zip(gradients, (e_mask, f_mask), strict=True):
        assert np.all(np.isfinite(gradient))
        assert not np.any(np.asarray(gradient)[~mask])
    # one label of which nothing is left: a probability of 0, which the exact engine takes
    if isinstance(case.score, scores.Dual):
        problem = nb.Problem(found[0], np.where(np.arange(V) == 0, 1.0, 0.0))
        assert jnp.exp(problem.log_model)[2] == 0


def test_an_empty_input_prefers_nothing_whatever_the_encoder_says():
    score = scores.Joint(np.ones(H), lambda E, e_mask, F, f_mask: E[:1] * 0 + F.sum(axis=0))
    found = scores.against(score, E, SECOND_EMPTY, F, F_MASK)
    agrees(found[1], np.zeros(V))
    differs(found[0], np.zeros(V))


# --- batches


@each_kind
def test_against_is_pairs_is_single(case):
    expected = table(case.direct)
    candidates = np.broadcast_to(F, (B, V, L, H)), np.broadcast_to(F_MASK, (B, V, L))
    own = candidates[0].copy(), candidates[1].copy()
    own[0][1], own[1][1] = F[::-1], F_MASK[::-1]  # the second input's candidates in another order
    found = scores.pairs(case.score, E, E_MASK, *own)
    agrees(found, [expected[0], expected[1, ::-1], expected[2]])
    agrees(scores.against(case.score, E[0], E_MASK[0], F, F_MASK), expected[0])
    agrees(case.score(E[0], E_MASK[0], F[3], F_MASK[3]), expected[0, 3])
    for x, y in ((1, 2), (2, 5)):
        single = eqx.filter_jit(case.score)(E[x], E_MASK[x], F[y], F_MASK[y])
        assert single.shape == ()
        agrees(single, expected[x, y])


@each_kind
def test_blocks_change_nothing(case):
    def loss(E, F, block):
        found = scores.against(case.score, E, E_MASK, F, F_MASK, block=block)
        return jnp.sum(jnp.sin(found)), found

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2)
    (_, whole), gradients = run(E, F, None)
    # three of 7 leave a remainder of one; one score also a label at a time, no remainder, and more
    for block in (3, 1, 7, 8) if isinstance(case.score, scores.Som) else (3,):
        (_, found), blocked = run(E, F, block)
        agrees(found, whole)
        jax.tree.map(agrees, blocked, gradients)


def test_single_precision_stays():
    texts = np.float32(E), E_MASK, np.float32(F), F_MASK
    for case in CASES[:4]:
        found = scores.against(case.score, *texts)
        assert found.dtype == forms(case.score, texts[0], texts[2]).A.dtype == jnp.float32
        np.testing.assert_allclose(found, table(case.direct), atol=1e-5)  # eps 1e-7, order 10


def peak(function, *arguments):
    used = jax.jit(jax.grad(function)).lower(*arguments).compile().memory_analysis()
    assert used is not None
    return used.temp_size_in_bytes


def test_memory_of_the_backward_pass_is_that_of_a_block():
    many, tokens, block = 512, 16, 32
    x, labels = np.ones((4, tokens, 2)), np.ones((many, tokens, 2))
    x_mask, mask = np.ones((4, tokens), bool), np.ones((many, tokens), bool)
    everything = 4 * many * tokens * tokens * 8  # bytes: inputs x labels x tokens x tokens

    def loss(F, block):
        return jnp.sum(jnp.sin(scores.against(scores.Som(), x, x_mask, F, mask, block=block)))

    def kept(F):  # blocks alone, without computing them again
        row = jax.vmap(scores.Som(), in_axes=(0, 0, None, None))
        return jnp.sum(
            jnp.sin(jax.lax.map(lambda y: row(x, x_mask, *y), (F, mask), batch_size=block))
        )

    # a block of 1/16 holds a few arrays of its size at once
    assert peak(lambda F: loss(F, block), labels) < everything / 2
    assert peak(kept, labels) > everything
    assert peak(lambda F: loss(F, many), labels) > everything


def test_a_block_is_chosen_by_size(monkeypatch):
    seen = []
    monkeypatch.setattr(batch, "BLOCK", 2 * B * T * L)

    def note(*given):
        seen.append(given[-1])
        return jnp.zeros((B, V))

    monkeypatch.setattr(batch, "_against", note)
    for score in (scores.Som(), scores.Dual(), scores.Multi(2), scores.Poly(CODES)):
        scores.against(score, *TEXTS)
    scores.against(scores.Joint(WEIGHT, encode), *TEXTS)  # larger than a block: one at a time
    assert seen == [2, 2 * T * L, T * L, T * L, 1]


def test_dual_against_all_labels_is_one_product_of_matrices():
    """No axis of a batch, nothing to transpose."""
    traced = jax.make_jaxpr(lambda E, F: scores.against(scores.Dual(), E, E_MASK, F, F_MASK))(E, F)
    assert str(traced).count("dot_general[") == 1
    product = (
        r":f64\[3,7\] = dot_general\[\s*dimension_numbers=\(\(\[1\], \[1\]\), \(\[\], \[\]\)\)"
    )
    assert re.search(product, str(traced))


# --- derivatives, transformations, the engine


@each_kind
def test_gradients_by_differences(case):
    def at(E, F):
        return case.score(E, E_MASK[1], F, F_MASK[3])

    check_grads(at, (E[1], F[3]), order=1, modes=("rev",), eps=1e-5, atol=1e-7, rtol=1e-7)


def test_parameters_of_a_score_are_trained():
    def at(score):
        return scores.against(score, *TEXTS)[0, 0]

    poly, joint = scores.Poly(CODES), scores.Joint(WEIGHT, encode)
    step = 1e-5
    by_codes = eqx.filter_grad(at)(poly).codes
    up, down = (scores.Poly(CODES + s * step * np.eye(2, H)) for s in (1, -1))
    # differences: step^2 and 1e-16 / step
    np.testing.assert_allclose(
        (at(up) - at(down)) / (2 * step), jnp.sum(by_codes * np.eye(2, H)), rtol=1e-6
    )
    agrees(
        eqx.filter_grad(at)(joint).weight,
        encode_directly(E[0][E_MASK[0]], F[0][F_MASK[0]])[0],
    )
    assert len(jax.tree.leaves(eqx.filter(poly, eqx.is_inexact_array))) == 1  # sharpness is fixed,
    free = scores.Poly(CODES, jnp.asarray(1.0))  # unless it is an array
    ends = [at(scores.Poly(CODES, 1.0 + s * step)) for s in (1, -1)]
    by_sharpness = eqx.filter_grad(at)(free).sharpness
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), by_sharpness, rtol=1e-6)
    stacked = jax.vmap(scores.Poly)(jnp.stack([CODES, 2 * CODES]))
    found = jax.vmap(lambda score: scores.against(score, *TEXTS))(stacked)
    agrees(found[1], table(lambda e, f: direct.poly(e, f, 2 * CODES)))


def test_scores_go_into_gradient_bias():
    """The pull-back of the score-space bias, written out with the whole Jacobian."""
    params = {"F": jnp.asarray(F), "codes": jnp.asarray(CODES)}
    population = RNG.dirichlet(np.ones(V), size=B)
    sampler = nb.iid(nb.uniform(), 2)

    def score_fn(params, x):
        states, mask = x
        return scores.against(scores.Poly(params["codes"]), states, mask, params["F"], F_MASK)

    inputs = jnp.asarray(E), jnp.asarray(E_MASK)
    found = nb.gradient_bias(
        nb.ScoreModel(score_fn, params), inputs, population, sampler, variance=False
    )
    moments = nb.exact(nb.Problem(table(CASES[4].direct), population), sampler)
    jacobian = jax.vmap(jax.jacrev(score_fn), in_axes=(None, 0))(params, inputs)
    expected = jax.tree.map(lambda J: jnp.einsum("xv,xv...->...", moments.bias / B, J), jacobian)
    assert found.norm > 1e-3
    jax.tree.map(agrees, found.bias, expected)


class Pooled(scores.Score):
    """A score of one's own: means of the real tokens."""

    def form(self, E, e_mask, F, f_mask):
        C, D = (jnp.asarray(mask / jnp.sum(mask))[:, None] for mask in (e_mask, f_mask))
        return scores.Form(scores.real(E, e_mask), scores.real(F, f_mask), C, D, jnp.ones((1, 1)))


def test_a_score_of_ones_own():
    expected = table(lambda e, f: e.mean(axis=0) @ f.mean(axis=0))
    agrees(scores.against(Pooled(), *TEXTS, block=2), expected)
    # its means over no token are never taken: 0/0 would make every gradient NaN
    run = jax.grad(lambda E: scores.pairs(Pooled(), E, SECOND_EMPTY, *own).sum())
    own = F[:6].reshape(3, 2, L, H), F_MASK[:6].reshape(3, 2, L)
    assert np.all(np.isfinite(run(E)))


# --- refusals


def raises(message, call):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


def test_refused_texts():
    score, one = scores.Som(), (E[0], E_MASK[0], F[0], F_MASK[0])
    raises(
        "E: got shape (3, 4, 3); expected [T, H], tokens before width. "
        "For batches of texts use nb.scores.pairs or nb.scores.against.",
        lambda: score(E, *one[1:]),
    )
    raises(
        "F: got shape (7, 5, 3); expected [B, K, T', H], tokens before width. "
        "For batches of texts use nb.scores.pairs or nb.scores.against.",
        lambda: scores.pairs(score, *TEXTS),
    )
    raises(
        "F: got candidates of 7 inputs where E has 3; expected [B, K, T', H] with B = 3. "
        "If all inputs share their candidates use nb.scores.against.",
        lambda: scores.pairs(score, E, E_MASK, F[:, None], F_MASK[:, None]),
    )
    raises(
        "F: got states of width 2 where E has 3; expected the same width H for inputs and labels. "
        "Project one of them, or score by nb.scores.Joint.",
        lambda: scores.against(score, E, E_MASK, F[..., :2], F_MASK),
    )
    raises(
        "E: got shape (0, 3); expected [T, H] with at least one token and a width of at least 1. "
        "An empty text is padding alone: one token whose mask is False.",
        lambda: score(E[0, :0], E_MASK[0, :0], *one[2:]),
    )
    raises(
        "f_mask: got dtype int64; expected booleans, True for a real token. "
        "Of a 0/1 attention mask pass f_mask != 0.",
        lambda: score(*one[:3], F_MASK[0].astype(int)),
    )
    raises(
        "e_mask: got shape (3, 3); expected (3, 4), one entry for each token of E. "
        "If nothing is padded pass jnp.ones(E.shape[:-1], bool).",
        lambda: scores.against(score, E, E_MASK[:, :3], F, F_MASK),
    )


def test_refused_scores():
    raises(
        "score: got the class Dual; expected an instance of nb.scores.Score. "
        "Call the class, as in nb.scores.Dual(), or write a subclass of nb.scores.Score.",
        lambda: scores.against(scores.Dual, *TEXTS),
    )
    raises(
        "score: got function; expected an instance of nb.scores.Score. "
        "Call the class, as in nb.scores.Dual(), or write a subclass of nb.scores.Score.",
        lambda: scores.pairs(encode, *TEXTS),
    )
    raises(
        "block: got 0; expected a whole number >= 1. Pass block=1.",
        lambda: scores.against(scores.Dual(), *TEXTS, block=0),
    )
    raises(
        "m: got 0; expected a whole number >= 1. Pass m=1.",
        lambda: scores.Multi(0),
    )
    raises(
        "m: Multi(6) reads the first 6 columns of labels that have 5; expected m <= T' = 5. "
        "Lower m, or encode labels into more columns.",
        lambda: scores.against(scores.Multi(6), *TEXTS),
    )
    raises(
        "codes: got shape (3,); expected [m, H], one row for each of m >= 1 codes. "
        "Draw them to begin with: jax.random.normal(key, (m, H)).",
        lambda: scores.Poly(CODES[0]),
    )
    raises(
        "codes: got width 2 for states of width 3; expected [m, H] with H = 3. "
        "Codes are vectors of the space that E lies in.",
        lambda: scores.against(scores.Poly(CODES[:, :2]), *TEXTS),
    )
    for given in (0.0, -1.0, np.inf):
        raises(
            f"sharpness: got {given!r}; expected one finite number > 0. "
            "1 is the poly-encoder; large is nearly hard attention.",
            lambda given=given: scores.Poly(CODES, given),
        )
    raises(
        "weight: got shape (1, 3); expected [H], one entry for each coordinate of the encoder's "
        "output. Pass one vector; a bias is the same for all labels and changes no softmax.",
        lambda: scores.Joint(WEIGHT[None], encode),
    )
    raises(
        "encode: returned shape (5, 3); expected [T'', 2] with T'' >= 1, the weight having 2 "
        "entries. Return the states of one pair, tokens before width.",
        lambda: scores.against(scores.Joint(WEIGHT[:2], encode), *TEXTS),
    )
