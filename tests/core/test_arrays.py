"""Arrays as people have them: every kind is read for its numbers, or refused by its own cause.

Values are by hand or by enumeration; the inputs are those of public reports.
"""

import decimal
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import nce_bias as nb
from nce_bias._gate import floating, normalised, random_key, read
from nce_bias._gate.distributions import allowed_miss
from nce_bias.engine._pull_back import inner
from nce_bias.golds import Golds

S = np.array([0.5, -0.2, 0.1, -0.7])
POP = np.array([0.4, 0.3, 0.2, 0.1])
TWO = nb.iid(nb.uniform(), 2)
#: Of S and POP with two uniform negatives.
BIAS = 0.0240695671
AN_ARRAY = (
    "expected an array of numbers (NumPy, JAX, PyTorch, pandas, nested lists of equal lengths)."
)


def raises(message, call):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


# --- what holds numbers


class Tensor:
    """A tensor as PyTorch hands it over: with a gradient, only once detached."""

    def __init__(self, values, *, requires_grad=False, refuses="", device="cpu"):
        self.values, self.requires_grad = values, requires_grad
        self.refuses, self.device = refuses, device

    def detach(self):
        return Tensor(self.values, refuses=self.refuses, device=self.device)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.refuses:
            raise TypeError(self.refuses)
        return np.asarray(self.values, dtype)

    def __dlpack__(self, **options):
        if self.device != "cpu":
            raise BufferError("no such device here")
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


class OnlyDlpack:
    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


HOLDS_NUMBERS = {
    "big-endian": lambda a: a.astype(">f8"),
    "long double": lambda a: a.astype(np.longdouble),
    "object": lambda a: a.astype(object),
    "decimals": lambda a: [decimal.Decimal(float(x)) for x in a],
    "list of scalars": lambda a: [np.float64(x) for x in a],
    "list of jax scalars": lambda a: list(jnp.asarray(a)),
    "tuple": tuple,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "strided": lambda a: np.repeat(a, 2)[::2],
    "masked, nothing masked": lambda a: np.ma.masked_array(a, mask=False),
    "jax": jnp.asarray,
    "series": pd.Series,
    "nullable series": lambda a: pd.Series(a, dtype="Float64"),
    "index of its own": lambda a: pd.Series(a, index=list("dcba")),
    "tensor": Tensor,
    "tensor with a gradient": lambda a: Tensor(a, requires_grad=True),
    "dlpack alone": OnlyDlpack,
}


@pytest.mark.parametrize("kind", HOLDS_NUMBERS)
def test_whatever_holds_numbers(kind):
    make = HOLDS_NUMBERS[kind]
    problem = nb.Problem(make(S), make(POP), make(POP), [1.0])
    np.testing.assert_array_equal(problem.scores, S)
    np.testing.assert_array_equal(problem.population, POP)
    assert problem.scores.dtype == problem.population.dtype == jnp.float64
    np.testing.assert_allclose(nb.exact(problem, TWO).bias_norm, BIAS, atol=1e-10)
    np.testing.assert_array_equal(nb.from_probabilities(make(POP)).log_q, np.log(POP))


def test_tables_and_sparse_populations():
    frame = pd.DataFrame([S, S])
    for population in (pd.DataFrame([POP, POP]), scipy.sparse.csr_matrix([POP, POP])):
        found = nb.exact(nb.Problem(frame, population), TWO)
        np.testing.assert_allclose(found.bias_norm, BIAS, atol=1e-10)
    nullable = pd.DataFrame([POP, POP]).astype("Float64")
    np.testing.assert_array_equal(nb.Problem(frame, nullable).population, [POP, POP])


def test_one_input_may_have_an_axis_or_not():
    assert nb.Problem([S], POP).population.shape == (1, 4)
    assert nb.Problem(S, [POP]).population.shape == (4,)


@given(
    st.sampled_from([np.float16, np.float32, np.float64, jnp.bfloat16, np.int8, np.uint16, bool]),
    st.sampled_from(["=", ">"]),
    st.sampled_from(["C", "F", "reversed"]),
    st.lists(st.integers(0, 1), min_size=2, max_size=6),
    st.integers(-6, 6),
)
def test_no_type_order_or_layout_changes_a_number(kind, order, layout, bits, exponent):
    wide = np.outer([1, 1], bits).astype(np.float64)
    if jnp.issubdtype(kind, jnp.floating):
        wide = wide * 2.0**exponent
    array = wide.astype(kind)
    if array.dtype.kind == "f":
        array = array.astype(array.dtype.newbyteorder(order))
    array = array[::-1][::-1] if layout == "reversed" else np.asarray(array, order=layout)
    found = read("scores", array)
    np.testing.assert_array_equal(found, wide)
    half = array.dtype.itemsize <= 2 and jnp.issubdtype(kind, jnp.floating)
    assert found.dtype == (np.float32 if half or kind is np.float32 else np.float64)
    assert found.dtype.isnative
    np.testing.assert_array_equal(floating("scores", array), wide)


REFUSED = {
    "names": (
        pd.DataFrame({"id": ["a", "b"], "score": [1.0, 2.0]}),
        "scores: got 'a' at [0, 0], which is not a number; " + AN_ARRAY + " Leave columns of names "
        "out and fill what is missing, as by frame.select_dtypes('number').fillna(0).",
    ),
    "missing": (
        pd.Series([1.0, None], dtype="Float64"),
        "scores: got nan at input 0, label 1; expected finite numbers or -inf. "
        "Find the overflow or the missing value upstream; nothing was computed.",
    ),
    "none": (
        [0.5, None],
        "scores: got None at [1], which is not a number; " + AN_ARRAY + " Leave columns of names "
        "out and fill what is missing, as by frame.select_dtypes('number').fillna(0).",
    ),
    "masked": (
        np.ma.masked_array(S, mask=np.arange(4) == 2),
        "scores: the entry at [2] is masked; expected a number at every place. Say what stands "
        "there: scores.filled(-np.inf) for a score that no candidate has, scores.filled(0) for a "
        "probability of 0.",
    ),
    "sparse": (
        scipy.sparse.csr_matrix([S]),
        f"scores: got a sparse csr_matrix of shape (1, 4); {AN_ARRAY[:-1]}; an absent entry is no "
        "score of 0. Pass scores.toarray() if it is.",
    ),
    "records": (
        np.array([(1, 2.0)], [("id", int), ("score", float)]),
        f"scores: got records with the fields id, score; {AN_ARRAY} Pick one: scores['id'].",
    ),
    "raw bytes": (
        np.array([0, 1], jnp.bfloat16).view("V2"),
        f"scores: got raw bytes of type |V2; {AN_ARRAY} NumPy's files forget bfloat16: save "
        "array.astype(np.float32), or pass scores.view(ml_dtypes.bfloat16).",
    ),
    "dates": (
        np.array(["2020-01-01"], "M8[D]"),
        f"scores: got ndarray of type datetime64[D], which are not numbers; {AN_ARRAY} Convert it "
        "to a rectangular array of floats first.",
    ),
    "key": (jax.random.key(0), f"scores: got a random key; {AN_ARRAY} Keys go to key=."),
    "on a GPU": (
        Tensor(S, refuses="can't convert cuda:0 device type tensor to numpy.", device="cuda:0"),
        "scores: got Tensor on cuda:0, which does not hand over its numbers (can't convert cuda:0 "
        f"device type tensor to numpy); {AN_ARRAY} Of a PyTorch tensor pass "
        "scores.detach().float().cpu().numpy().",
    ),
    "something else": (
        types.SimpleNamespace(),
        f"scores: got SimpleNamespace, which is not an array of numbers; {AN_ARRAY} Convert it to "
        "a rectangular array of floats first.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_its_own_cause(name):
    value, message = REFUSED[name]
    raises(message, lambda: nb.Problem(value, POP))


def test_the_remedies_work():
    filled = np.ma.masked_array(S, mask=np.arange(4) == 3).filled(-np.inf)
    nb.Problem(filled, POP)
    nb.Problem(scipy.sparse.csr_matrix([S]).toarray(), POP)
    nb.Problem([S], [POP])  # the rows that are left where one of zeros was left out


def test_a_half_precision_tensor_that_numpy_has_not():
    """PyTorch's bfloat16 has no NumPy type; by DLPack it comes as it is."""
    tensor = Tensor(jnp.asarray(S, jnp.bfloat16), refuses="Got unsupported ScalarType BFloat16")
    np.testing.assert_allclose(nb.Problem(tensor, POP).scores, S, rtol=2**-8)


# --- half precision


def test_half_precision_is_computed_in_more():
    found = nb.exact(nb.Problem(S.astype("f2"), POP.astype("f2")), TWO)
    np.testing.assert_allclose(found.bias_norm, 0.02408217, atol=1e-8)
    np.testing.assert_allclose(found.loss, 1.025197, atol=1e-6)
    both = nb.Problem(S.astype(jnp.bfloat16), POP.astype(jnp.bfloat16))
    np.testing.assert_allclose(nb.exact(both, TWO).bias_norm, BIAS, rtol=0.02)
    assert both.scores.dtype == jnp.float64
    q = nb.from_probabilities(POP.astype(jnp.bfloat16))
    found = nb.exact(nb.Problem(S, POP), nb.iid(q, 2))
    np.testing.assert_allclose(found.bias_norm, 0.10798430, atol=2e-3)


@pytest.mark.parametrize("kind", [jnp.float16, jnp.bfloat16])
def test_small_gradients_of_a_half_precision_model_have_a_norm(kind):
    """Squares of 1e-5 are 0 in float16."""
    tree = {"a": jnp.full(4, 1e-5, kind), "b": jnp.zeros(3, kind)}
    np.testing.assert_allclose(inner(tree, tree), 4e-10, rtol=0.02)
    single = nb.ScoreModel(lambda w, x: w * x, jnp.asarray(S, kind))
    double = nb.ScoreModel(lambda w, x: w * x, jnp.asarray(jnp.asarray(S, kind), jnp.float64))
    x = 2.0**-12
    found, truth = (
        nb.gradient_bias(model, jnp.asarray(x, model.params.dtype), POP, TWO, variance=False)
        for model in (single, double)
    )
    assert found.norm > 0
    np.testing.assert_allclose(found.norm, truth.norm, rtol=0.02)
    np.testing.assert_allclose(found.relative_norm, truth.relative_norm, rtol=0.02)


# --- distributions


def softmax32(scores):
    z = np.exp(np.asarray(scores, np.float32))
    return (z / z.sum(axis=-1, keepdims=True, dtype=np.float32)).astype(np.float64)


def test_a_float32_softmax_kept_in_float64():
    population = softmax32([1.1, 0.3, -0.2, 0.7])
    assert abs(population.sum() - 1) > 1.5e-8
    problem = nb.Problem(S, population)
    assert repr(problem).endswith("float64, probabilities renormalised by 3e-08)")
    np.testing.assert_allclose(problem.population.sum(), 1, rtol=1e-15)
    found = nb.exact(problem, TWO)
    np.testing.assert_allclose(found.bias_norm, 0.0273370841, atol=1e-9)
    assert found.method.endswith("float64, probabilities renormalised by 3e-08")
    assert found.status == "ok"


@given(st.integers(2, 300), st.integers(0, 2**32 - 1), st.floats(0.1, 5))
def test_every_source_passes_and_a_lost_label_does_not(labels, seed, spread):
    rows = np.random.default_rng(seed).normal(size=(3, labels)) * spread
    exact = np.exp(rows) / np.exp(rows).sum(axis=-1, keepdims=True)
    single = softmax32(rows)
    half = exact.astype(np.float16).astype(np.float64)
    brain = np.asarray(exact.astype(jnp.bfloat16), np.float64)
    sources = [exact, single, exact.round(6), half, brain]
    sources += [np.reshape([float(f"{x:.6g}") for x in exact.ravel()], exact.shape)]
    for source in sources:
        found, missed = normalised("population", source)
        np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=4e-15)
        np.testing.assert_allclose(found, exact, rtol=2**-7, atol=1e-6)
        assert missed == 0 or missed == np.abs(source.sum(axis=-1) - 1).max()
        for factor in (0.97, 0.9, 1.05):
            with pytest.raises(ValueError, match="expected a sum of 1"):
                normalised("population", source * factor)


@pytest.mark.parametrize("row", [[0.5, 0.4], [0.6, 0.45], [0.5, 0.3, 0.17], [0.33, 0.33, 0.33]])
def test_few_printed_digits_are_no_excuse(row):
    with pytest.raises(ValueError, match="expected a sum of 1"):
        nb.Problem(np.zeros(len(row)), row)


def test_what_values_can_be():
    assert allowed_miss(np.array([1 / 3, 2 / 3])) == pytest.approx(2**-26)
    assert allowed_miss(np.array([1 / 3, 2 / 3], np.float32)) == pytest.approx(2**-11.5)
    assert allowed_miss(np.array([0.123456, 0.876543])) == pytest.approx(5e-6)  # six digits
    assert allowed_miss(np.array([0.123457, 1.23457e-4])) == pytest.approx(5e-6)
    assert allowed_miss(np.full(100, 0.010101)) == pytest.approx(5e-5)  # a hundred of six decimals
    assert allowed_miss(np.array([0.25, 0.75])) == 2**-7  # of bfloat16


def test_rows_that_sum_to_one_are_left_as_they_are():
    problem = nb.Problem(S, POP)
    assert float(problem.renormalised) == 0 and problem.note == ""
    np.testing.assert_array_equal(problem.population, POP)


# --- golds


GOLDS = [2, 0, 3]
ROWS = np.array([S, S[::-1], S + 1])


@pytest.mark.slow
def test_golds_are_one_hot_rows():
    dense = nb.Problem(ROWS, np.eye(4)[GOLDS], weights=[0.5, 0.3, 0.2])
    problem = nb.Problem.from_golds(ROWS, GOLDS, weights=[0.5, 0.3, 0.2])
    np.testing.assert_array_equal(problem.population, dense.population)
    np.testing.assert_allclose(problem.popularity, dense.popularity, rtol=1e-15)
    assert repr(problem) == repr(dense)
    for sampler in (TWO, nb.iid(nb.popularity(), 2, hits="mask")):
        for compiled in (False, True):
            a, b = (nb.exact(p, sampler, compiled=compiled) for p in (problem, dense))
            for name in ("loss", "bias", "variance", "variance_gold", "coverage"):
                np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-13)
    a, b = (nb.monte_carlo(p, TWO, key=1, draws=256) for p in (problem, dense))
    np.testing.assert_array_equal(a.selection, b.selection)
    assert isinstance(problem.targets, Golds) and problem.targets.labels.size == 3


def test_golds_of_one_input_and_of_many():
    one = nb.Problem.from_golds(S, 2)
    assert one.population.tolist() == [0, 0, 1, 0]
    several = nb.Problem.from_golds([S, S], [[0, 1], [3, 3]], shares=[[0.25, 0.75], [0.5, 0.5]])
    assert several.population.tolist() == [[0.25, 0.75, 0, 0], [0, 0, 0, 1]]
    dense = nb.Problem([S, S], several.population)
    np.testing.assert_allclose(several.entropy, dense.entropy, rtol=1e-15)
    np.testing.assert_allclose(several.cross_entropy, dense.cross_entropy, rtol=1e-15)
    found, truth = nb.exact(several, TWO), nb.exact(dense, TWO)
    np.testing.assert_allclose(found.bias, truth.bias, atol=1e-14)
    assert nb.Problem.from_golds([S], [[0, 1]]).population.tolist() == [[0.5, 0.5, 0, 0]]


def test_golds_under_jit():
    def loss(scores, golds):
        return nb.exact(nb.Problem.from_golds(scores, golds), TWO).loss

    found = jax.jit(loss)(jnp.asarray(ROWS), jnp.asarray(GOLDS))
    np.testing.assert_allclose(found, loss(ROWS, GOLDS), rtol=1e-10)


def test_nothing_of_the_size_of_the_scores_is_kept_beside_them():
    scores = np.zeros((100, 1000))
    problem = nb.Problem.from_golds(scores, np.arange(100))
    beside = sum(leaf.size for leaf in jax.tree.leaves(problem)) - scores.size
    assert beside < 100 * 3 + 1000 + 2


@pytest.mark.parametrize(
    ("golds", "message"),
    [
        (
            [0.0, 1.0, 2.0],
            "golds: got list of type float64; expected integers that number labels from 0. Give "
            "numbers of labels, such as labels.argmax(-1) of one-hot rows, or .astype(int) where "
            "floats hold whole numbers.",
        ),
        (
            [0, 1, 4],
            "golds: input 2 has 4; expected labels from 0 to 3. Number the labels from 0 in the "
            "order of the scores; leave out inputs whose label has none, or is marked by a number "
            "such as -100.",
        ),
        (
            [0, -100, 1],
            "golds: input 1 has -100; expected labels from 0 to 3. Number the labels from 0 in the "
            "order of the scores; leave out inputs whose label has none, or is marked by a number "
            "such as -100.",
        ),
        (
            [0, 1],
            "golds: got shape (2,); expected [X] = (3,), or a row of golds for each input. Give "
            "the number of one observed label for each row of scores.",
        ),
    ],
)
def test_golds_refused(golds, message):
    raises(message, lambda: nb.Problem.from_golds(ROWS, golds))


def test_embeddings():
    rng = np.random.default_rng(0)
    queries, labels = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))
    problem = nb.Problem.from_embeddings(queries, labels, GOLDS, POP, 0.5)
    np.testing.assert_allclose(problem.scores, 2 * queries @ labels.T, rtol=1e-14)
    np.testing.assert_array_equal(problem.population, np.eye(4)[GOLDS])
    np.testing.assert_array_equal(problem.popularity, POP)
    raises(
        "queries, labels: got shapes (3, 5) and (4, 4); expected [X, d] and [V, d] of one width d. "
        "Give both sides as the two towers leave them, one row an input and a label.",
        lambda: nb.Problem.from_embeddings(queries, labels[:, :4], GOLDS),
    )
    raises(
        "temperature: got 0.0; expected a number > 0. Leave it out for 1.",
        lambda: nb.Problem.from_embeddings(queries, labels, GOLDS, POP, 0.0),
    )


def test_a_label_space_poses_problems():
    space = nb.data.from_counts(scipy.sparse.csr_matrix([[3, 1], [0, 4]]))
    problem = space.problem([[0.0, 1.0], [2.0, 0.0]])
    assert problem.population.tolist() == [[0.75, 0.25], [0, 1]]
    assert problem.weights.tolist() == [0.5, 0.5]


def test_counts_of_pandas_keep_their_names():
    seen = pd.Series(["b", "a", "b"])
    assert nb.data.from_counts(seen.value_counts()).names == ("b", "a")
    table = pd.crosstab(pd.Series(["x", "y", "x"]), seen)
    space = nb.data.from_counts(table)
    assert (space.names, space.inputs) == (("a", "b"), ("x", "y"))
    assert space.counts.tolist() == [[0, 2], [1, 0]]


# --- keys


def test_a_whole_number_is_a_seed():
    problem = nb.Problem(S, POP)
    by_seed, by_key = (
        nb.monte_carlo(problem, TWO, key=key, draws=64) for key in (0, jax.random.key(0))
    )
    np.testing.assert_array_equal(by_seed.selection, by_key.selection)
    assert random_key(np.int64(3)) == jax.random.key(3)
    raises(
        "key: got 'seed'; expected a key of JAX, or a whole number as its seed. "
        "Pass key=jax.random.key(0).",
        lambda: random_key("seed"),
    )


# --- a word about what looks like a mistake


def said(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(issubclass(one.category, nb.UnusualInput) for one in caught)
    off = ' (warnings.filterwarnings("ignore", category=nb.UnusualInput) switches this off.)'
    assert all(str(one.message).endswith(off) for one in caught)
    return [str(one.message).removesuffix(off) for one in caught]


def probabilities(scores, popularity):
    return jax.nn.softmax(scores)


def test_a_proposal_that_returns_probabilities():
    word = (
        "proposal probabilities: it returned probabilities that sum to 1, and is taken to have "
        "returned logarithms. Return jnp.log of them, or jax.nn.log_softmax in place of "
        "jax.nn.softmax."
    )
    problem, found = nb.Problem(S, POP), []
    assert said(lambda: found.append(nb.exact(problem, nb.iid(probabilities, 2)))) == [word]
    # no number changes
    np.testing.assert_allclose(found[0].bias_norm, 0.015273, atol=1e-6)
    mixed = nb.iid(nb.mixture(probabilities, nb.uniform()), 2)
    assert said(lambda: nb.exact(problem, mixed)) == [word]
    logs = nb.iid(lambda s, p: jax.nn.log_softmax(s), 2)
    assert said(lambda: nb.exact(problem, logs)) == []


def test_scores_that_are_probabilities():
    word = (
        "scores: every row consists of probabilities that sum to 1, as after a softmax. Scores are "
        "logarithms up to a constant: pass the logits, or np.log(scores)."
    )
    rows = softmax32([S, S + np.arange(4)])
    assert said(lambda: nb.Problem(rows, [POP, POP])) == [word]
    assert said(lambda: nb.Problem([S, rows[0]], [POP, POP])) == []
    assert said(lambda: nb.Problem([[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5]] * 2)) == []


def test_masked_labels_that_are_drawn():
    """NT-Xent with an anchor among its own candidates: the diagonal masked, all others drawn."""
    masked = S.copy()
    masked[2] = -np.inf
    problem = nb.Problem(masked, [0.5, 0.3, 0, 0.2])
    (word,) = said(lambda: nb.exact(problem, TWO))
    assert word == (
        "proposal uniform: it draws labels that a score of -inf masks (label 2 of input 0, 1 in "
        "all). Such a draw takes a negative's place and adds nothing; a proposal with q = 0 there, "
        "such as one of the scores, never does."
    )
    for proposal in (nb.model(), nb.popularity()):  # the default popularity is 0 there
        assert said(lambda q=proposal: nb.exact(problem, nb.iid(q, 2))) == []


def test_targets_numbered_from_one():
    (word,) = said(lambda: nb.data.from_arrays("ab", [1, 2]))
    assert word == (
        "targets: they run from 1 to 2, and labels are numbered from 0, so that label 0 is never "
        "seen. Pass targets - 1 where numbers begin with 1, or labels= where label 0 is meant."
    )
    assert said(lambda: nb.data.from_arrays("ab", [1, 2], labels=3)) == []


def test_a_word_is_said_once_and_can_be_switched_off():
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        for _ in range(3):
            nb.Problem(softmax32(S), POP)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=nb.UnusualInput)
        nb.Problem(softmax32(S), POP)
