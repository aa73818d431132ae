"""`analysis/synthetic` and `analysis/next_word`: pieces, pages and figures against results."""

import itertools
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.next_word import figure as next_word_figure
from analysis.next_word import model as words
from analysis.next_word import run as next_word
from analysis.synthetic import figure as synthetic_figure
from analysis.synthetic import model as synthetic
from analysis.synthetic import run as experiment

ANALYSES = pathlib.Path(__file__).parents[2] / "analysis"
DISTINCT, REPLACED = experiment.DISTINCT, experiment.REPLACED


def read(name: str, table: str) -> Any:
    return pd.read_csv(ANALYSES / name / "results" / f"{table}.csv")


def page(name: str) -> str:
    return (ANALYSES / name / "README.md").read_text()


def axes(module: Any, name: str) -> list[Any]:
    """The axes of the figure of the committed results, not its file."""
    drawn: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.plot, "save", lambda fig, path: drawn.append(fig) or path)
        out = pathlib.Path("out")
        assert module.draw(ANALYSES / name / "results", out) == [out / f"{name}.png"]
    return drawn[0].axes


def line_of(ax: Any, label: str) -> Any:
    (line,) = [x for x in ax.lines if x.get_label() == label]
    return line


# --- synthetic: pieces


@pytest.mark.slow
def test_pull_back_is_gradient_bias():
    run = synthetic.trajectory(9, steps=2)
    sampler = nb.iid(nb.model(), experiment.FULL.negatives)
    model = nb.ScoreModel(synthetic.score_fn, run.at(2))
    found = nb.gradient_bias(model, jnp.zeros(1), synthetic.population(), sampler)
    rows = jnp.stack([jnp.zeros(1000), found.moments.bias])
    norm, exact, cosine = experiment.pull_back(run, rows)
    size = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(found.exact_gradient)))
    assert float(norm[1]) == pytest.approx(float(found.norm), rel=1e-9)
    assert float(cosine[1]) == pytest.approx(float(found.cosine), rel=1e-9)
    assert float(exact[1]) == pytest.approx(size, rel=1e-9)
    assert float(norm[0]) == 0 and float(cosine[0]) == pytest.approx(1)  # each step has its own


@pytest.mark.slow
def test_committed_loss_is_that_of_drawn_negatives():
    """Step 10 of the line: Monte Carlo without replacement, which shares no quadrature with it."""
    table = read("synthetic", "contrastive")
    problem = nb.Problem(synthetic.trajectory(9, steps=10).scores[9], synthetic.population())
    sampler = nb.without_replacement(nb.model(), experiment.FULL.negatives)
    found = nb.monte_carlo(problem, sampler, key=jax.random.key(1), draws=20_000)
    error = 5 * float(found.standard_errors["loss"])
    loss = {s: curve(table, 9, s, "model")["loss"][10] for s in (DISTINCT, REPLACED)}
    assert loss[DISTINCT] == pytest.approx(float(found.loss), abs=error)
    assert abs(loss[REPLACED] - loss[DISTINCT]) > 2 * error  # the other sampling is rejected


def test_published_points_are_all_there_in_tidy_form():
    points: Any = pd.read_csv(experiment.POINTS)
    table: Any = experiment.published()
    assert len(table) == 90
    for column, (negatives, quantity) in experiment.PUBLISHED.items():
        found = table[table["negatives"] == negatives][quantity]
        assert found.tolist() == points[column].tolist()
    assert table["bias_norm"].isna().sum() == 30  # cross entropy has none
    pd.testing.assert_frame_equal(table, read("synthetic", "published"))
    assert experiment.distance(points["cross_entropy"] + 0.5) == pytest.approx(0.5)
    assert experiment.distance(points["cross_entropy"][:4] - 0.5) == pytest.approx(0.5)


def test_the_line_is_the_closest_seed_and_the_others_are_the_first():
    training = read("synthetic", "training")
    seeds = training.drop_duplicates("seed").set_index("seed")
    for seed, rows in training.groupby("seed"):
        again = experiment.distance(rows["cross_entropy"])
        assert seeds["distance"][seed] == pytest.approx(again, rel=1e-12)
    assert seeds.index[seeds["role"] == "line"].tolist() == [seeds["distance"].idxmin()] == [9]
    assert seeds.index[seeds["role"] == "spread"].tolist() == [0, 1, 2, 3]
    assert len(seeds) == 10 and len(training) == 300


def test_agreement_by_hand():
    steps = [1, 2]
    points = pd.DataFrame(
        [
            {"step": s, "negatives": n, "loss": loss, "bias_norm": 2.0}
            for n in ("cross_entropy", "model", "uniform")
            for s, loss in zip(steps, (1.1, 4.0), strict=True)
        ]
    )
    training = pd.DataFrame(
        {
            "seed": [5, 5, 6, 6, 7, 7],
            "role": ["line", "line", "spread", "spread", "trained only", "trained only"],
            "step": steps * 3,
            "cross_entropy": [1.0, 2.0, 1.2, 2.2, 9.0, 9.0],
        }
    )
    contrastive = pd.DataFrame(
        [
            {"sampling": s, "negatives": n, "seed": seed, "step": step, "loss": 1.0, "bias_norm": 2}
            for s in (DISTINCT, REPLACED)
            for n in ("model", "uniform")
            for seed in (5, 6)
            for step in steps
        ]
    )
    found: Any = experiment.agreement(points, training, contrastive)
    first = found.iloc[0]
    # distances 0.1 and 1.0, median 0.55; seed 6: 0.2 and 0.1; 1.1 lies within, 4.0 does not
    assert first["median_relative_distance"] == pytest.approx(0.55)
    assert first["of_other_seeds"] == pytest.approx(0.15)
    assert first["within_range"] == 1 and first["steps"] == 2
    assert found["within_range"].tolist() == [1, 0, 0, 2, 2]


def test_committed_agreement_follows_from_the_tables():
    tables = [read("synthetic", name) for name in ("published", "training", "contrastive")]
    pd.testing.assert_frame_equal(experiment.agreement(*tables), read("synthetic", "agreement"))


@pytest.mark.slow
def test_a_quick_run_writes_every_table_and_can_be_drawn(monkeypatch, tmp_path):
    def stub(run, negatives, sampling, tolerance):
        rows = {"seed": run.seed, "sampling": sampling, "negatives": negatives}
        steps = np.arange(1, len(run.scores) + 1)
        return pd.DataFrame({**rows, "step": steps, "loss": 1.0, "bias_norm": tolerance})

    monkeypatch.setattr(experiment, "curve", stub)  # without replacement compiles for long
    experiment.run(tmp_path, quick=True)
    written = sorted(path.name for path in tmp_path.iterdir())
    names = ["agreement.csv", "contrastive.csv", "meta.json", "published.csv", "training.csv"]
    assert written == names
    table = pd.read_csv(tmp_path / "contrastive.csv")
    steps = experiment.QUICK.steps
    assert table.groupby("sampling").size().to_dict() == {DISTINCT: 2 * steps, REPLACED: 4 * steps}
    (png,) = synthetic_figure.draw(tmp_path, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_curve_has_one_exact_row_for_each_step():
    run = synthetic.trajectory(9, steps=2)
    table: Any = experiment.curve(run, "model", REPLACED, 1e-6)
    committed = curve(read("synthetic", "contrastive"), 9, REPLACED, "model")
    for column in ("loss", "bias_norm", "cosine"):
        # the same numbers where training is the same; float32 sums may differ between machines
        assert table[column].tolist() == pytest.approx(committed[column][:2].tolist(), rel=1e-3)
    assert table["error"].max() < 1e-5


# --- synthetic: page and figure


def curve(table: Any, seed: int, sampling: str, negatives: str) -> Any:
    rows = (table["sampling"] == sampling) & (table["negatives"] == negatives)
    return table[rows & (table["seed"] == seed)].set_index("step")


def test_tables_of_the_synthetic_page():
    table, expected = read("synthetic", "contrastive"), []
    for sampling, kinds in {
        DISTINCT: ("model", "uniform"),
        REPLACED: ("model", "uniform", "mixed", "popularity"),
    }.items():
        for kind in kinds:
            bias = curve(table, 9, sampling, kind)["bias_norm"]
            cells = [f"{bias[step]:.3g}" for step in (1, 6, 15, 25, 30)]
            expected.append(f"| {kind} | {sampling} | {' | '.join(cells)} |")
    assert re.findall(r"^\| \w+ \| with.*$", page("synthetic"), re.MULTILINE) == expected
    names = ["cross entropy", "hard loss", "random loss", "hard bias", "random bias"]
    for name, row in zip(names, read("synthetic", "agreement").itertuples(), strict=True):
        distances = f"{row.median_relative_distance:.2f} | {row.of_other_seeds:.2f}"
        line = f"| {name} | {distances} | {row.within_range} of {row.steps} |"
        assert line in page("synthetic").splitlines()


def test_sentences_of_the_synthetic_page():
    table, points = read("synthetic", "contrastive"), read("synthetic", "published")
    hard = curve(table, 9, DISTINCT, "model")["bias_norm"]
    assert hard.max() > 1000 * hard[30]  # "more than a thousandfold"
    uniform = curve(table, 9, DISTINCT, "uniform")["bias_norm"]
    assert 1 < uniform.min() and uniform.max() < 11  # "of order 1 to 10"
    published = points[points["negatives"] == "model"].set_index("step")["bias_norm"]
    ratio = published / hard
    assert ratio.loc[14:].min() > 4 / 3 > ratio.loc[:13].max()  # "more than a third", "from 14 on"
    agreement = read("synthetic", "agreement").set_index(["negatives", "quantity"])
    assert agreement["median_relative_distance"]["uniform", "bias_norm"] < 0.03  # "within 3 %"
    for curve_, within in agreement["within_range"].items():
        assert within >= 26 or curve_ == ("uniform", "loss")  # "nearly all"
    replaced = {kind: curve(table, 9, REPLACED, kind)["bias_norm"] for kind in experiment.KINDS}
    assert replaced["model"][15] == pytest.approx(0.11, abs=0.005)  # "about 0.1"
    assert replaced["model"][20:29].max() > 5  # "comes back"
    around = replaced["popularity"][14] / replaced["model"][14]
    assert around == pytest.approx(1, abs=0.05)  # "right, around step 14"
    late = table[(table["sampling"] == REPLACED) & (table["step"] > 20)]
    means = late.pivot_table(index="seed", columns="negatives", values="bias_norm")
    assert (means["mixed"] > means["model"]).all()  # "for every seed"
    assert (means["mixed"] / means["uniform"] - 1).abs().max() < 0.2  # "about that of uniform"
    for seed in means.index:  # "to four digits"
        both = [curve(table, seed, s, "uniform")["bias_norm"] for s in (DISTINCT, REPLACED)]
        assert (both[0] / both[1] - 1).abs().max() < 5e-5


def test_results_are_exact_where_they_are_small():
    table = read("synthetic", "contrastive")
    line = table[(table["seed"] == 9) & (table["negatives"] == "model")]
    assert line["error"].max() < 5e-9
    assert table["error"].max() < 5e-5


def test_the_synthetic_figure_shows_every_number():
    table, points = read("synthetic", "contrastive"), read("synthetic", "published")
    panels = dict(zip(synthetic_figure.PANELS, axes(synthetic_figure, "synthetic"), strict=True))
    for (sampling, quantity), ax in panels.items():
        kinds = ("uniform", "model") if sampling == DISTINCT else tuple(experiment.KINDS)
        for kind in kinds:
            bold = curve(table, 9, sampling, kind)[quantity]
            assert line_of(ax, kind).get_xdata().tolist() == bold.index.tolist()
            assert line_of(ax, kind).get_ydata().tolist() == bold.tolist()
        marks = [x for x in ax.lines if x.get_linestyle() == "None"]
        assert len(marks) == (0 if sampling == REPLACED else 3 if quantity == "loss" else 2)
        shown = {tuple(mark.get_ydata()) for mark in marks}
        for _, rows in points.dropna(subset=quantity).groupby("negatives"):
            assert not marks or tuple(rows[quantity]) in shown
        assert len(ax.collections) == len(kinds) + (quantity == "loss")  # bands
        low, high = ax.get_ylim()
        drawn = table[table["sampling"] == sampling][quantity]
        assert low < drawn.min() and drawn.max() < high


# --- next word: pieces


def test_blocks_average_to_the_pull_back_of_all_examples():
    """J^T row, averaged, is the gradient of the mean of <s(x, .), row(x)> with the rows fixed."""
    data = next_word.next_word(50)
    model = words.Model(data.input_ids, data.labels, 2, jax.random.key(0))
    examples = next_word.draw_examples(data, 48)
    inputs = jnp.asarray(examples.inputs)
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(48, 50)), jnp.float32)
    blocks = np.asarray(words.block_means(model, inputs, rows))
    assert blocks.shape[0] == words.BLOCKS
    for part, means in [(slice(None), blocks.mean(axis=0)), (slice(2, 4), blocks[1])]:
        expected = jax.grad(
            lambda m, part=part: (
                jnp.sum(words.scores(m, inputs[part]) * rows[part]) / len(inputs[part])
            )
        )(model)
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(expected)])
        # float32: entries of size 1, sums of up to 48
        assert means == pytest.approx(flat, abs=1e-5)


@pytest.mark.slow
def test_a_small_run_of_the_next_word(monkeypatch, tmp_path):
    monkeypatch.setattr(next_word, "QUICK", next_word.Design(50, (1, 2), 24, 48, quick=True))
    monkeypatch.setattr(next_word, "LOSSES", (nb.infonce,))
    next_word.run(tmp_path, quick=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bias.csv",
        "meta.json",
        "training.csv",
    ]
    bias = pd.read_csv(tmp_path / "bias.csv")
    cells = set(zip(bias["step"], bias["negatives"], strict=True))
    assert cells == set(itertools.product((1, 2), next_word.KINDS)) and len(bias) == 8
    committed = list(read("next_word", "bias").columns)
    assert list(bias.columns) == committed


# --- next word: page and figure


def of(bias: Any, loss: str, kind: str) -> Any:
    return bias[(bias["loss_name"] == loss) & (bias["negatives"] == kind)].set_index("step")


def cell(norm: float, high: float) -> str:
    if high < 1e-5:
        return "0"
    return f"{norm:.2g}" if norm > 0 else f"< {high:.2g}"


def test_table_of_the_next_word_page():
    bias = read("next_word", "bias")
    training = read("next_word", "training").set_index("step")
    steps = (10, 100, 1000)
    exact = [f"{training['gradient_norm'][step]:.2g}" for step in steps]
    expected = [f"| – | exact gradient | {' | '.join(exact)} | 1 |"]
    for loss in ("infonce", "sampled_softmax"):
        for kind in ("uniform", "mixed", "model", "popularity"):
            rows = of(bias, loss, kind)
            cells = [cell(rows["bias_norm"][s], rows["bias_norm_high"][s]) for s in steps]
            relative = rows["relative_score_bias"][1000]
            cells.append("0" if relative < 1e-5 else f"{relative:.2g}")
            expected.append(f"| {loss} | {kind} | {' | '.join(cells)} |")
    found = re.findall(r"^\| (?:–|infonce|sampled).*$", page("next_word"), re.MULTILINE)
    assert found == expected


def test_sentences_of_the_next_word_page():
    bias = read("next_word", "bias")
    last = read("next_word", "training").set_index("step")["gradient_norm"][1000]
    uncorrected = bias[bias["loss_name"] == "infonce"]
    by = {
        name: uncorrected.pivot(index="step", columns="negatives", values=name)
        for name in ("bias_norm", "bias_norm_low", "bias_norm_high", "relative_score_bias")
    }
    others = ["popularity", "mixed", "model"]
    assert (by["bias_norm"].idxmin(axis=1) == "uniform").all()
    least = by["bias_norm_low"][others].min(axis=1)
    assert (by["bias_norm_high"]["uniform"] < least)[10:].all()  # "apart from step 10 on"
    assert (by["bias_norm_low"]["uniform"][100:] == 0).all()  # "cannot be told from 0"
    ratio = by["bias_norm"].loc[1000, others] / last
    assert ratio.min() > 6 and ratio.max() < 9  # "6 to 9 times the gradient itself"
    assert (by["bias_norm"].idxmax(axis=1) == "popularity").all()
    per_example = by["relative_score_bias"].loc[30:]
    assert (per_example.idxmax(axis=1) == "uniform").all()
    assert (per_example.idxmin(axis=1) == "popularity").all()
    corrected = bias[bias["loss_name"] == "sampled_softmax"].pivot(
        index="step", columns="negatives", values="bias_norm"
    )
    assert corrected["model"].max() < 1e-6  # float32's nothing
    shares = corrected.loc[1000] / last
    assert shares["uniform"] == pytest.approx(3.1, abs=0.1)  # "about 3 times"
    assert (corrected.loc[10:].idxmax(axis=1) == "uniform").all()
    assert shares["popularity"] == pytest.approx(0.25, abs=0.02)  # "a quarter"
    assert shares["mixed"] == pytest.approx(0.04, abs=0.002)  # "4 %"
    limits = uncorrected.set_index(["negatives", "step"])["bias_norm_high"]["uniform"]
    for step in (100, 300, 1000):  # corrected it is larger than uncorrected can be
        assert corrected["uniform"][step] > limits[step]
    assert f"{next_word.FULL.examples} held-out examples" in page("next_word")
    assert f"({next_word.FULL.gradient_examples:,} for the exact gradient)" in page("next_word")


@pytest.mark.slow
def test_the_next_word_figure_shows_every_number():
    bias = read("next_word", "bias").assign(
        relative_score=lambda table: table["relative_score_bias"], bias=lambda t: t["bias_norm"]
    )
    training = read("next_word", "training")
    panels = dict(zip(next_word_figure.PANELS, axes(next_word_figure, "next_word"), strict=True))
    for (quantity, loss), ax in panels.items():
        for kind in next_word.KINDS:
            rows = of(bias, loss, kind)[quantity]
            if rows.max() < next_word_figure.FLOORS[quantity]:
                assert f"{kind}: 0 at every step" in [text.get_text() for text in ax.texts]
                continue
            found = line_of(ax, kind)
            assert found.get_xdata().tolist() == rows.index.tolist()
            assert found.get_ydata() == pytest.approx(rows.where(rows > 0), nan_ok=True, rel=1e-12)
            assert rows.max() < ax.get_ylim()[1]
        if quantity == "bias":
            exact = line_of(ax, "cross entropy").get_ydata()
            assert exact.tolist() == training["gradient_norm"].tolist()
