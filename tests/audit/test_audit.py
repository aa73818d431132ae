"""`nb.audit`: the numbers are the engines', their errors hold, the words rest on numbers."""

import html.parser
import re
from typing import Any

import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias._audit import engine
from nce_bias.engine.by_input import ByInput, average, scalars, standard_errors
from nce_bias.inner_products import InnerProducts
from nce_bias.presets import Preset
from tests import cases

LABELS, INPUTS = 12, 10


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(7)
    scores = 1.5 * rng.normal(size=(INPUTS, LABELS))
    golds = rng.integers(0, LABELS, INPUTS)
    return nb.Problem.from_golds(scores, golds, rng.dirichlet(np.full(LABELS, 3.0)))


def audited(problem, presets, m: Any = 3, **options):
    return nb.audit(problem, m, presets, progress=False, **options)


@pytest.mark.parametrize("name", ["in_batch_infonce", "bengio_senecal_2008", "word2vec"])
def test_a_row_is_what_the_exact_engine_says(name, problem):
    (row,) = audited(problem, [name]).rows
    truth = nb.preset(name, 3).exact(problem)
    size = np.sqrt(np.mean(np.sum((np.exp(problem.log_model) - problem.population) ** 2, -1)))
    expected = {name: float(getattr(truth, name)) for name in ("loss", "bias_norm", "cosine")}
    expected |= {"variance": float(truth.variance), "coverage": float(truth.coverage)}
    expected["relative_bias"] = expected["bias_norm"] / size
    for number, value in expected.items():
        # the audit's quadratures are good to 1e-6
        assert row.numbers[number] == pytest.approx(value, rel=1e-5), number
    assert row.exact
    assert row.status == "ok"
    # of a mean, the jackknife's error is the textbook's
    spread = np.std(np.asarray(truth.losses), ddof=1) / np.sqrt(INPUTS)
    assert row.errors["loss"] == pytest.approx(spread, rel=1e-5)


def test_blocks_of_inputs_change_nothing(problem, monkeypatch):
    whole = audited(problem, ["in_batch_infonce", "paper"]).to_frame()
    monkeypatch.setattr(engine, "BLOCK", 4 * LABELS)  # 4, 3 and 3 inputs
    split = audited(problem, ["in_batch_infonce", "paper"]).to_frame()
    numbers = whole.select_dtypes("number").columns
    assert np.allclose(whole[numbers], split[numbers], rtol=1e-5, atol=1e-8)


def test_rows_have_the_precision_of_the_caller(problem):
    """They are computed in threads of their own, which know nothing of a context outside."""
    with cases.single_precision():
        golds = np.arange(INPUTS)
        single = nb.Problem.from_golds(np.asarray(problem.scores, np.float32), golds)
        methods = {row.method for row in audited(single, ["in_batch_infonce", "word2vec"]).rows}
    assert {method.split(", ")[-1] for method in methods} == {"float32"}
    (double,) = audited(problem, ["in_batch_infonce"]).rows
    assert double.method.endswith("float64")


def test_weights_of_inputs_are_kept(problem):
    weights = np.arange(1.0, INPUTS + 1) / np.arange(1.0, INPUTS + 1).sum()
    weighted = nb.Problem(problem.scores, problem.population, problem.popularity, weights)
    (row,) = audited(weighted, ["in_batch_infonce"]).rows
    truth = nb.preset("in_batch_infonce", 3).exact(weighted)
    assert row.numbers["bias_norm"] == pytest.approx(float(truth.bias_norm), rel=1e-5)
    assert abs(row.numbers["bias_norm"] - float(truth.bias_norm_plugin)) < 1e-5
    even = nb.preset("in_batch_infonce", 3).exact(problem)
    assert abs(float(even.bias_norm) - float(truth.bias_norm)) > 1e-3  # and they matter


def test_standard_errors_cover_what_all_inputs_have():
    """Of 400 samples of 40 among 4,000 inputs, errors in units of the standard error."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4000, 6)) * rng.gamma(4.0, 0.4, size=(4000, 1))
    everyone = nb.Problem.from_golds(scores, rng.integers(0, 6, 4000), np.full(6, 1 / 6))
    rows = nb.exact(everyone, nb.iid(nb.uniform(), 2), split=False, compiled=True).by_input
    rows = jax.tree.map(np.asarray, rows)
    truth = scalars(average(rows, np.full(4000, 1 / 4000)))
    missed = {name: [] for name in ("loss", "bias_norm", "relative_bias", "cosine", "variance")}
    for _ in range(400):
        which = rng.choice(4000, 40, replace=False)
        part: ByInput = jax.tree.map(lambda leaf, which=which: leaf[which], rows)
        weights = np.full(40, 1 / 40)
        found, spread = scalars(average(part, weights)), standard_errors(part, weights)
        for name, values in missed.items():
            values.append((found[name] - truth[name]) / spread[name])
    for values in missed.values():
        # 1 but for the skew of 40 inputs; a factor of sqrt 2, or the jackknife's X - 1 left out,
        # is far outside
        assert 0.85 < np.sqrt(np.mean(np.square(values))) < 1.25


def test_unequal_weights_have_the_error_of_a_ratio():
    rng = np.random.default_rng(1)
    rows: Any
    rows, weights = rng.normal(size=200), rng.dirichlet(np.full(200, 2.0))
    fields: dict[str, Any] = dict.fromkeys(vars(_one()), rows)
    same = ByInput(**fields)
    mean = weights @ rows
    linear = np.sqrt(200 / 199 * np.sum((weights * (rows - mean)) ** 2))
    assert standard_errors(same, weights)["loss"] == pytest.approx(linear, rel=0.02)
    assert abs(np.std(rows, ddof=1) / np.sqrt(200) / linear - 1) > 0.1  # equal ones would miss it


def _one():
    return nb.exact(nb.Problem([[0.0, 1.0]], [[0.5, 0.5]]), nb.iid(nb.uniform(), 1)).by_input


def test_sampled_rows_are_unbiased_and_say_what_they_are(problem):
    names = ["in_batch_infonce", "paper"]
    found = audited(problem, names, method="monte_carlo", draws=64, key=3)
    truth = {row.name: row for row in audited(problem, names).rows}
    for row in found.rows:
        assert not row.exact
        assert row.method.startswith("monte carlo, 64 draws per input")
        for name in ("bias_norm", "relative_bias", "cosine", "loss", "variance", "coverage"):
            # inputs are the same: what is left is the noise of the draws, within the errors
            off = abs(row.numbers[name] - truth[row.name].numbers[name])
            assert off < 3 * row.errors[name], (row.name, name)


def test_a_few_draws_leave_no_floor_under_a_bias_of_zero(problem):
    found = audited(problem, ["blanc_rendle"], method="monte_carlo", draws=8, key=0)
    (row,) = found.rows
    floor = np.sqrt(row.numbers["variance"] / 8)
    assert abs(row.numbers["bias_norm"]) < 3 * row.errors["bias_norm"]
    assert row.numbers["bias_norm"] ** 2 < 0.5 * floor**2  # a plain square would be at the floor
    assert "no measurable bias" in str(found.remarks[0])


def test_inputs_are_drawn_by_the_key(problem):
    few = audited(problem, ["in_batch_infonce"], inputs=4, key=1)
    assert few.rows[0].inputs == 4
    assert few.how.startswith("4 of 10 inputs")
    again = audited(problem, ["in_batch_infonce"], inputs=4, key=1)
    other = audited(problem, ["in_batch_infonce"], inputs=4, key=2)
    assert again.rows[0].numbers == few.rows[0].numbers != other.rows[0].numbers


def test_two_sides_are_never_multiplied_out(problem, monkeypatch):
    rng = np.random.default_rng(3)
    queries, labels = rng.normal(size=(INPUTS, 5)), rng.normal(size=(LABELS, 5))
    golds = np.arange(INPUTS)
    products = nb.Problem.from_embeddings(queries, labels, golds, temperature=0.7)
    scores = nb.Problem.from_golds(queries @ labels.T / 0.7, golds)
    truth = audited(scores, ["paper_replacement"]).rows[0].numbers
    whole = InnerProducts.rows
    made = []
    monkeypatch.setattr(
        InnerProducts, "rows", lambda self, at: made.append(np.size(at)) or whole(self, at)
    )
    monkeypatch.setattr(engine, "BLOCK", 3 * LABELS)
    found = audited(products, ["paper_replacement"], inputs=6).rows[0]
    assert max(made) <= 3
    assert found.inputs == 6
    assert audited(products, ["paper_replacement"]).rows[0].numbers == pytest.approx(
        truth, rel=1e-5, abs=1e-6
    )


# --- what is asked


def test_conventions_that_are_alike_share_a_row(problem):
    rows = audited(problem, ["ranking_nce", "tfrs_in_batch_with_hits", "tfrs_in_batch"]).rows
    assert sorted(row.names for row in rows) == [
        ["ranking_nce", "tfrs_in_batch_with_hits"],
        ["tfrs_in_batch"],
    ]


def test_set_ups_of_other_arrays_are_other_rows(problem):
    """Though their reprs are alike; equal arrays in two objects share a row."""
    rare, even = (
        np.arange(1, LABELS + 1) / np.arange(1, LABELS + 1).sum(),
        np.full(LABELS, 1 / LABELS),
    )
    made = {"a": rare, "b": even, "again": rare.copy()}
    pairs = {n: (nb.iid(nb.from_probabilities(q), 3), nb.infonce) for n, q in made.items()}
    assert len({repr(sampler) for sampler, _ in pairs.values()}) == 1
    found = {tuple(row.names): row for row in audited(problem, pairs).rows}
    assert set(found) == {("a", "again"), ("b",)}
    for names, row in found.items():
        truth = nb.exact(problem, pairs[names[0]][0])
        assert row.numbers["bias_norm"] == pytest.approx(
            float(truth.bias_norm), rel=engine.TOLERANCE
        )


@pytest.mark.parametrize(
    ("sampler", "fits"),
    [(nb.iid(nb.model(), 3), True), (nb.without_replacement(nb.model(), 3), False)],
    ids=repr,
)
@pytest.mark.parametrize("loss", [nb.sampled_softmax, nb.binary_nce], ids=lambda loss: loss.name)
def test_log_m_q_is_right_for_independent_draws_alone(sampler, fits, loss, problem):
    made = Preset("own", sampler, loss, "", "", popular=False)
    assert engine.correction_fits(made, problem) is fits


def test_inputs_without_weight_have_no_part_in_an_error(problem):
    """The error is that of the others alone; of one input there is none."""
    rows = nb.exact(problem, nb.iid(nb.uniform(), 3)).by_input
    columns: dict[str, Any] = {name: np.asarray(v)[:4] for name, v in vars(rows).items()}
    few = ByInput(**columns)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    alone = standard_errors(few, weights)
    padded = standard_errors(rows, np.concatenate([weights, np.zeros(INPUTS - 4)]))
    assert padded == pytest.approx(alone, rel=1e-12)
    one = standard_errors(rows, np.eye(INPUTS)[0])
    assert set(one) == set(alone) and np.isnan(list(one.values())).all()


def test_rows_are_sorted_by_bias_and_have_every_m(problem):
    frame = audited(problem, ["in_batch_infonce", "blanc_rendle"], m=(1, 4)).to_frame()
    assert frame["relative_bias"].is_monotonic_increasing
    assert sorted(frame["m"]) == [1, 1, 4, 4]
    assert {"also", "bias_norm_se", "sampler", "loss_name", "inputs", "method", "status"} <= {
        *frame
    }


def test_a_set_up_of_ones_own(problem):
    own = {
        "pair": (nb.iid(nb.uniform(), 2), nb.infonce),
        "by m": lambda m: (nb.iid(nb.uniform(), m), nb.infonce),
        "named": "in_batch_infonce",
        "preset": nb.preset("word2vec", 5),
    }
    found = {(row.name, row.m) for row in audited(problem, own, m=(1, 4)).rows}
    expected = {("pair", 2), ("by m", 1), ("by m", 4), ("named", 1), ("named", 4), ("preset", 5)}
    assert found == expected


def test_what_one_m_does_not_fit_is_a_row_that_says_so(problem):
    found = audited(problem, ["paper", "paper_replacement"], m=(3, LABELS))
    last = found.rows[-1]
    assert (last.name, last.m) == ("paper", LABELS)
    assert last.status.startswith("failed: m: without_replacement(model, m=12) asks for 12")
    assert "(!) paper, m = 12: failed" in repr(found)
    assert len([row for row in found.rows if row.status == "ok"]) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: nb.audit(p, m=0), "m: got 0"),
        (lambda p: nb.audit(p, presets=["in_batch"]), "name: got 'in_batch'; expected dpr_in_"),
        (lambda p: nb.audit(p, presets=[nb.uniform()]), "presets: got uniform; expected names of"),
        (lambda p: nb.audit(p, presets={"a": (nb.uniform(), nb.infonce)}), "presets: got"),
        (lambda p: nb.audit(p, presets=[]), "m, presets: there is nothing to compute"),
        (lambda p: nb.audit(p, method="exactly"), "method: got 'exactly'"),
        (lambda p: nb.audit(p, draws=2), "draws: got 2"),
    ],
)
def test_refused(call, message, problem):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(problem)


def test_an_interrupted_audit_keeps_what_it_has(problem, monkeypatch):
    monkeypatch.setattr(engine, "BLOCK", 2 * LABELS)
    calls, exact = [], nb.presets.Preset.exact

    def counted(self, *arguments, **options):
        calls.append(self.name)
        if calls.count("blanc_rendle") == 3:
            raise KeyboardInterrupt
        return exact(self, *arguments, **options)

    monkeypatch.setattr(nb.presets.Preset, "exact", counted)
    with pytest.warns(UserWarning, match="audit: interrupted; [46] of 10 inputs") as said:
        found = audited(problem, ["in_batch_infonce", "blanc_rendle"])
    inputs = {row.name: row.inputs for row in found.rows}
    # two rows run at a time: the other's third block may have been finished, or not
    assert inputs["blanc_rendle"] == 4 and inputs["in_batch_infonce"] in (4, 6)
    assert f"{inputs['in_batch_infonce']} of 10" in str(said[0].message)
    assert found.interrupted
    assert "(interrupted: 10 were meant)" in found.how


# --- what it says


def test_a_correction_for_other_draws_is_named(problem):
    distinct = nb.without_replacement(nb.popularity(), 3)
    setups: dict = {
        "mine": (distinct, nb.sampled_softmax),
        "by inclusion": (distinct, nb.with_inclusion(nb.sampled_softmax)),
        "uncorrected": (distinct, nb.infonce),
        "independent": (nb.iid(nb.popularity(), 3), nb.sampled_softmax),
        "tensorflow": nb.preset("tf_sampled_softmax", 3),
    }
    found = audited(problem.take([0, 1]), setups, draws=4)
    named = [remark for remark in found.remarks if "the correction of" in str(remark)]
    assert [remark.convention for remark in named] == ["mine"]
    by_name = {row.name: row.numbers["relative_bias"] for row in found.rows}
    assert named[0].number == by_name["mine"]


def test_gradients_that_point_away_are_named():
    """A trained model: the exact gradient is small, and what is left of it is bias."""
    scores = np.array([2.0, 1.0, 0.0, -1.0]) + 0.05 * np.sin(np.arange(32.0)).reshape(8, 4)
    trained = nb.Problem(scores, np.tile([0.6, 0.2, 0.15, 0.05], (8, 1)))
    setups = {"mine": lambda m: (nb.iid(nb.uniform(), m), nb.infonce), "corrected": "blanc_rendle"}
    found = audited(trained, setups, m=64)
    cosine = {row.name: row.numbers["cosine"] for row in found.rows}
    assert cosine["corrected"] == pytest.approx(1, abs=1e-6)
    remark = next(r for r in found.remarks if r.column == "cosine")
    assert (remark.convention, remark.number) == ("mine", cosine["mine"])
    assert cosine["mine"] < 0
    assert "points away from the gradient of cross entropy" in str(remark)


def test_every_remark_rests_on_a_number_of_the_table(problem):
    names = [name for name in nb.presets.COMMON if name != "tf_sampled_softmax"]  # slow to compile
    found = audited(problem.take([0, 1, 2, 3]), names, m=(1, 8))
    rows = {(row.name, row.m): row for row in found.rows}
    for remark in found.remarks:
        numbers = rows[remark.convention, remark.m].numbers
        own = numbers["variance"] / numbers["bias_norm"] ** 2
        assert remark.number == (own if remark.column == "variance" else numbers[remark.column])
    assert len(found.remarks) > 2
    assert len({row.name for row in found.rows}) == len(names) - 1  # one is a twin


# --- the page


ASKING = ("src", "href", "xlink:href", "srcset", "action")


class Page(html.parser.HTMLParser):
    """Tags that are open, and what could ask for something."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self):
        super().__init__()
        self.open, self.asked, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.asked += [
            value
            for name, value in attrs
            if value
            and name in ("src", "href", "xlink:href", "srcset", "action")
            and value[0] != "#"
        ]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing(problem, tmp_path):
    found = audited(problem, ["in_batch_infonce", "blanc_rendle", "paper"], m=(2, LABELS))
    path = found.report(tmp_path / "report.html")
    text = path.read_text()
    page = Page()
    page.feed(text)
    assert page.open == page.asked == []
    assert page.tags.count("svg") == 2
    assert not {"script", "link", "img", "iframe"} & {*page.tags}
    assert not re.search(r"url\((?!#)|@import", text)
    for remark in found.remarks:
        assert html.escape(str(remark)) in text
    for row in found.rows:
        assert f"<td>{html.escape(', '.join(row.names))}</td><td>{row.m}</td>" in text
    assert "prefers-color-scheme: dark" in text
    assert text == path.read_text()
    assert found.report(tmp_path / "again.html").read_text() == text  # the same bytes


def test_marks_are_where_the_numbers_are(problem):
    from nce_bias import plot

    found = audited(problem, ["in_batch_infonce", "blanc_rendle"], m=(1, 4))
    fig, ax = plot.figure()
    drawn = found.plot(ax)
    frame = found.to_frame()
    for line in frame.to_dict("records"):
        mark = drawn.points[f"{line['convention']}, {line['m']}"]
        below = line["relative_bias"] < 1e-3
        assert np.asarray(mark.get_xdata())[0] == pytest.approx(
            1e-3 if below else line["relative_bias"]
        )
        assert mark.get_marker() == ("<" if below else "o")
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == list(dict.fromkeys(frame["convention"]))
    assert fig.axes == [ax]
    title = " ".join(ax.get_title(loc="left").split())
    assert f"{title}." == str(found.remarks[0])


def test_it_reads_as_a_table(problem):
    found = audited(problem, ["in_batch_infonce"], m=2)
    assert "convention" in repr(found).splitlines()[3]
    assert "in_batch_infonce" in found._repr_html_()
    row = found.rows[0]
    shown = f"{row.numbers['loss']:.2f}"
    assert shown in repr(found)
