"""`analysis/label_spaces`: its pieces, and its page and figure against results."""

import itertools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.label_spaces import figure as figure
from analysis.label_spaces import measure, run
from analysis.label_spaces import model as spaces
from analysis.next_word import model as words
from analysis.problems import KINDS, proposal

FOLDER = pathlib.Path(__file__).parents[2] / "analysis" / "label_spaces"
ORDER = ("uniform", "mixed", "model", "popularity")
LOSSES = ("infonce", "sampled_softmax")


def read(table: str) -> Any:
    return pd.read_csv(FOLDER / "results" / f"{table}.csv")


def page() -> str:
    return " ".join((FOLDER / "README.md").read_text().split())


def last(table: Any) -> Any:
    return table[table["step"] == table.groupby("space")["step"].transform("max")]


def own() -> Any:
    """The last step of each kind's own run, with its training."""
    bias, training = last(read("bias")), last(read("training"))
    bias = bias[bias["trained_with"] == bias["negatives"]]
    keys = ["space", "trained_with"]
    training = training.rename(columns={"trained_loss": "loss_name"})
    training = training[[*keys, "loss_name", "held_out_loss", "excess", "excess_se"]]
    found = bias.merge(training, on=[*keys, "loss_name"])
    return found.set_index(["space", "loss_name", "negatives"]).sort_index()


def by_cross_entropy() -> Any:
    bias = last(read("bias"))
    bias = bias[bias["trained_with"] == "cross_entropy"]
    return bias.set_index(["space", "loss_name", "negatives"]).sort_index()


def shown(value: float) -> str:
    return "0" if abs(value) < 1e-5 else f"{value:.2g}"


def own_table() -> str:
    """The page's first table, from results."""
    found = own()
    lines = ["| labels | loss | negatives | cross entropy | bias | relative | cosine | scores |"]
    lines = [lines[0] + " variance |", "|" + "---|" * 9]
    for space, loss, kind in itertools.product(("letters", "words"), LOSSES, ORDER):
        row = found.loc[(space, loss, kind)]
        told = row["bias_norm_low"] > 0 or row["bias_norm_high"] < 1e-5
        cells = [f"+{row['excess']:.2g}"]
        cells += [shown(row["bias_norm"]) if told else f"< {row['bias_norm_high']:.2g}"]
        cells += [shown(row[c]) if told else "–" for c in ("relative_norm", "cosine")]
        cells += [shown(row[c]) for c in ("relative_score_bias", "variance")]
        lines.append(f"| {space} | {loss} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def norms_table() -> str:
    """The page's second table: three norms of one bias."""
    found = by_cross_entropy()
    columns = {
        "words, mean gradient, plain": ("words", "plain_relative_norm"),
        "words, mean gradient, without noise": ("words", "relative_norm"),
        "words, per example in score space": ("words", "relative_score_bias"),
        "letters, mean gradient": ("letters", "relative_norm"),
        "letters, per context in score space": ("letters", "relative_score_bias"),
    }
    lines = [f"| norm | {' | '.join(ORDER)} |", "|" + "---|" * 5]
    for name, (space, column) in columns.items():
        rows = [found.loc[(space, "infonce", kind)] for kind in ORDER]
        cells = [
            "–" if column == "relative_norm" and row["bias_norm_low"] == 0 else shown(row[column])
            for row in rows
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


# --- the page


def test_the_tables_of_the_page():
    text = (FOLDER / "README.md").read_text()
    assert f"\n{own_table()}" in text and f"\n{norms_table()}" in text


def test_uncorrected_uniform_negatives_have_the_least_bias_and_the_best_model():
    found = own()
    for space in ("letters", "words"):
        rows = found.loc[(space, "infonce")]
        assert (rows["excess"].drop("uniform") > 5 * rows["excess"]["uniform"]).all()
        others = rows["bias_norm_low"].drop("uniform")
        assert (others > rows["bias_norm_high"]["uniform"]).all()
        assert rows["excess"].idxmax() == "popularity"
    everywhere = read("bias")
    everywhere = everywhere[everywhere["loss_name"] == "infonce"]
    norms = everywhere.pivot_table(
        index=["space", "step"], columns="trained_with", values="bias_norm"
    )[list(KINDS)]
    assert (norms.idxmin(axis=1) == "uniform").all()
    excess = found["excess"].xs(("infonce", "uniform"), level=[1, 2])
    assert f"{excess['letters']:.3f} and {excess['words']:.3f} nats above it" in page()
    popular = found["held_out_loss"].xs(("infonce", "popularity"), level=[1, 2])
    alone = read("training").groupby("space")["unigram_loss"].first()
    assert popular["words"] > alone["words"] and popular["letters"] < alone["letters"]
    assert f"({popular['words']:.2f} against {alone['words']:.2f} nats)" in page()
    assert f"({popular['letters']:.2f} against {alone['letters']:.2f})" in page()


def test_relative_bias_tends_to_one_whatever_was_learnt():
    found, training = own(), last(read("training"))
    rows = found.xs("infonce", level=1)["relative_norm"]
    assert (rows.drop("uniform", level=1) - 1).abs().max() < 0.15
    assert rows["letters", "uniform"] == pytest.approx(0.46, abs=0.005)
    words_rows = found.loc[("words", "infonce")].drop("uniform")
    assert words_rows["bias_norm_low"].max() < words_rows["bias_norm_high"].min()  # they overlap
    assert 0.2 < words_rows["cosine_se"].min() and words_rows["cosine_se"].max() < 0.32
    excess = words_rows["excess"]
    assert f"{excess['popularity']:.1f}" == "1.5" and f"{excess['mixed']:.1f}" == "0.5"
    reference = training[training["trained_with"] == "cross_entropy"].set_index("space")
    assert reference["gradient_norm"]["letters"] == pytest.approx(0.18, abs=0.005)
    chosen = (training["trained_with"] == "uniform") & (training["trained_loss"] == "infonce")
    uniform = training[chosen].set_index("space")["gradient_norm"]
    assert uniform["letters"] == pytest.approx(0.2, abs=0.005)
    values = reference["held_out_loss"]
    assert f"{values['letters']:.2f} nats (letters; the least possible is" in page()
    assert f"is {reference['floor']['letters']:.2f}, popularity alone has 2.86)" in page()
    assert f"{values['words']:.2f} (words; {reference['unigram_loss']['words']:.2f})" in page()
    assert f"{reference['unigram_loss']['letters']:.2f}" == "2.86"


def test_corrected_model_negatives_are_cross_entropy():
    found = own()
    for space in ("letters", "words"):
        rows = found.loc[(space, "sampled_softmax")]
        assert rows["bias_norm"]["model"] < 1e-5 and rows["excess"][["model", "mixed"]].max() < 0.01
        assert rows["excess"].idxmax() == rows["bias_norm"].idxmax() == "uniform"
        worse = rows["excess"]["uniform"] / found["excess"][space, "infonce", "uniform"]
        assert 6.5 < worse < 8.5
    excess = found["excess"].xs("sampled_softmax", level=1).unstack(level=0).round(3)
    assert "end {letters} and {words} nats above".format(**excess.loc["model"]) in page()
    assert "mixed ones {letters} and {words}.".format(**excess.loc["mixed"]) in page()


@pytest.mark.parametrize(
    ("space", "loss", "agree"),
    [
        ("letters", "infonce", True),
        ("letters", "sampled_softmax", True),
        ("words", "sampled_softmax", True),
        ("words", "infonce", False),
    ],
)
def test_the_order_of_bias_is_that_of_cross_entropy(space, loss, agree):
    """And no limits of neighbours overlap where their cross entropies differ by 0.1 nats."""
    rows = own().loc[(space, loss)].sort_values("excess")
    low, high = rows["bias_norm_low"].to_numpy()[1:], rows["bias_norm_high"].to_numpy()[:-1]
    apart = np.diff(rows["excess"]) > 0.1
    ordered = rows["bias_norm"].abs().is_monotonic_increasing and (low > high)[apart].all()
    assert ordered == agree


def test_what_the_correction_does_to_the_variance():
    variance = by_cross_entropy()["variance"]
    assert f"from {variance['letters', 'infonce', 'uniform']:.2f} to" in page()
    expected = {
        ("letters", "uniform"): (0.51, 0.82),
        ("words", "uniform"): (0.12, 0.18),
        ("letters", "model"): (0.96, 0.82),
        ("words", "model"): (0.019, 0.013),
    }
    for (space, kind), values in expected.items():
        for loss, value in zip(LOSSES, values, strict=True):
            assert float(f"{variance[space, loss, kind]:.2g}") == value, (space, kind, loss)
    assert own().loc[("words", "infonce")]["variance"].idxmax() == "uniform"


def test_norms_disagree_on_words():
    found = by_cross_entropy().xs("infonce", level=1)
    plain = found["plain_relative_norm"]["words"]
    assert plain.idxmin() == "uniform" and plain.idxmax() == "popularity"
    assert abs(plain["model"] / plain["mixed"] - 1) < 0.05  # "tie"
    ratio = found["relative_norm"]["words"].drop("uniform")
    assert 6 < ratio.min() and ratio.max() < 8
    scores = found["relative_score_bias"]
    assert scores["words"].idxmax() == "uniform" and scores["letters"].idxmin() == "uniform"
    assert found["relative_norm"]["letters"].idxmin() == "uniform"
    corrected = by_cross_entropy().xs("sampled_softmax", level=1)["bias_norm"]
    assert corrected["words"].idxmax() == corrected["letters"].idxmax() == "uniform"


def test_results_are_exact_for_what_is_said():
    table = read("bias")
    assert (table["error"] < 2e-5).all()
    letters = table[(table["space"] == "letters") & (table["bias_norm"] > 1e-5)]
    assert (letters["error"] < 1e-3 * letters["bias_norm"]).all()


# --- the figure


@pytest.mark.slow
def test_the_figure_draws_the_tables():
    drawn: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure.plot, "save", lambda fig, path: drawn.append(fig) or path)
        out = pathlib.Path("out")
        assert figure.draw(FOLDER / "results", out) == [out / "label_spaces.png"]
    bias, training = read("bias"), read("training")
    panels = [(space, loss) for loss in LOSSES for space in ("letters", "words")]
    for number, (space, loss) in enumerate(panels):
        above, below = drawn[0].axes[number], drawn[0].axes[number + 4]
        for ax, table, column, value in (
            (above, bias[bias["loss_name"] == loss], "negatives", "bias_norm"),
            (below, training[training["trained_loss"] == loss], "trained_with", "excess"),
        ):
            table = table[(table["space"] == space) & (table["trained_with"] != "cross_entropy")]
            lines = {line.get_label(): line for line in ax.lines}
            for kind in ORDER:
                rows = table[table[column] == kind].sort_values("step")
                if rows[value].max() < 1e-5:
                    assert kind not in lines and loss == "sampled_softmax" and kind == "model"
                    continue
                values = rows[value].where(rows[value] > 0)
                assert lines[kind].get_xdata().tolist() == rows["step"].tolist()
                assert np.array_equal(lines[kind].get_ydata(), values, equal_nan=True)
            low, high = ax.get_ylim()
            assert table[table[value] > 1e-5][value].between(low, high).all()
            assert len(ax.collections) == len(lines)  # bands
    assert (FOLDER.parents[1] / "figures" / "label_spaces.png").is_file()
    assert "../../figures/label_spaces.png" in page()


# --- pieces


def small() -> spaces.Space:
    return spaces.next_words(30, candidates=5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", spaces.LOSSES)
def test_training_follows_the_expected_gradient(kind, loss):
    """The drawn loss's gradient averages to `exact`'s; that of another kind is rejected."""
    rng = np.random.default_rng(0)
    scores, draws, m = rng.normal(size=6) * 1.5, 20_000, 2
    popularity = jnp.array([0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
    gold = 1

    def drawn(row, key):
        return spaces.candidate_loss(
            row[None], jnp.array([gold]), key[None], KINDS[kind], popularity, spaces.LOSSES[loss], m
        )

    keys = jax.random.split(jax.random.key(0), draws)
    rows = np.asarray(jax.vmap(jax.grad(drawn), (None, 0))(jnp.asarray(scores), keys))
    error = rows.std(axis=0) / np.sqrt(draws) + 1e-9
    other = "uniform" if kind == "popularity" else "popularity"
    for name in (kind, other):
        problem = nb.Problem(scores, np.eye(6)[gold], popularity)
        found = nb.exact(problem, nb.iid(proposal(name), m), spaces.LOSSES[loss])
        z = np.abs(rows.mean(axis=0) - np.asarray(found.gradient)) / error
        assert (z.max() < 5) == (name == kind)


@pytest.mark.slow
def test_letters_measure_is_gradient_bias():
    space = spaces.letters()
    inputs, population, weights = (array[:20] for array in space.held_out)
    space = spaces.dataclasses.replace(
        space, held_out=(inputs, population, weights / weights.sum())
    )
    model = words.Model(27, 27, 2, jax.random.key(0))
    here = measure.Letters(space)
    found = here.bias(model, "popularity", "sampled_softmax", here.gradient(model))
    expected = nb.gradient_bias(
        nb.ScoreModel(words.score_fn, measure._in_float64(model)),
        jnp.asarray(inputs),
        population,
        nb.iid(nb.popularity(), 7),
        nb.sampled_softmax,
        weights=weights / weights.sum(),
        popularity=space.popularity,
        variance=False,
    )
    assert found["bias_norm"] == pytest.approx(float(expected.norm), rel=1e-5)
    assert found["relative_norm"] == pytest.approx(float(expected.relative_norm), rel=1e-5)
    assert found["cosine"] == pytest.approx(float(expected.cosine), rel=1e-5)
    assert found["variance"] == pytest.approx(float(expected.moments.variance), rel=1e-5)
    score_norm = float(expected.moments.bias_norm)
    exact = np.asarray(expected.moments.gradient + expected.moments.bias)
    size = np.sqrt(weights / weights.sum() @ (exact**2).sum(axis=1))
    assert found["relative_score_bias"] == pytest.approx(score_norm / size, rel=1e-5)
    each = -jax.nn.log_softmax(words.scores(model, jnp.asarray(inputs)))
    mean = np.sum(np.asarray(each) * population * (weights / weights.sum())[:, None])
    assert here.losses(model).tolist() == pytest.approx([mean], rel=1e-5)


def test_a_status_that_is_not_ok_raises(monkeypatch):
    given = nb.exact

    def spoilt(*arguments, **options):
        found = given(*arguments, **options)
        return spaces.dataclasses.replace(found, status="too few nodes")

    monkeypatch.setattr(nb, "exact", spoilt)
    space, scores = small(), jnp.zeros((2, 30))
    with pytest.raises(RuntimeError, match="words, model, infonce: too few nodes"):
        measure.exact(scores, jnp.eye(30)[:2], np.full(2, 0.5), space, "model", "infonce")


def test_letters_are_drawn_by_their_shares():
    space = spaces.letters()
    batches = [y for _, y in space.batches(40, 0)]
    seen = np.bincount(np.concatenate(batches), minlength=27) / (40 * spaces.BATCH)
    error = np.sqrt(space.popularity / (40 * spaces.BATCH))
    assert (np.abs(seen - space.popularity) < 5 * error + 1e-12).all()
    assert (np.abs(seen - 1 / 27) > 5 * error).any()


@pytest.mark.slow
def test_a_quick_run_writes_its_tables(monkeypatch, tmp_path):
    steps = {"letters": (1, 2), "words": (1, 2)}
    tiny = run.Design(30, {"letters": 3, "words": 3}, steps, 24, 48, quick=True)
    monkeypatch.setattr(run, "QUICK", tiny)
    run.run(tmp_path, quick=True)
    names = ["bias.csv", "meta.json", "training.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in ("bias", "training"):
        written = pd.read_csv(tmp_path / f"{name}.csv")
        assert list(written.columns) == list(read(name).columns)
    bias: Any = pd.read_csv(tmp_path / "bias.csv")
    mine = bias[bias["trained_with"] != "cross_entropy"]
    assert len(mine) == 2 * 2 * 4 * 2 and (mine["trained_with"] == mine["negatives"]).all()
    assert len(bias) - len(mine) == 4 * 2 * (2 + 1)  # letters at each step, words at the last
    (png,) = figure.draw(tmp_path, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
