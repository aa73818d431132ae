"""The named conventions: complete, told apart, equal to enumeration on the documented example."""

import re

import numpy as np
import pytest

import nce_bias as nb
from tests.oracles import distinct
from tests.oracles.enumeration import enumerate_moments, proposals

PRESETS = nb.presets.PRESETS
SCORES = np.array([1.0, 0.5, 0.0, -1.0])
POPULATION = np.array([0.5, 0.1, 0.3, 0.1])
POPULARITY = np.array([0.4, 0.2, 0.3, 0.1])
M = 2


def q(name, **options):
    return proposals(name, SCORES, POPULARITY, **options).astype(float)


POPULAR, MODEL, RANK = q("popularity"), q("model"), q("log_uniform")
#: The popularity is not sorted: by rank of the index is another proposal than by popularity.
INDEX = np.log((np.arange(4) + 2) / (np.arange(4) + 1)) / np.log(5)
BLEND = (POPULAR + 0.25) / 2
#: Each preset as the oracle has it, written out from its source.
ORACLE = {
    "paper": (("without_replacement", MODEL, M), "infonce"),
    "paper_replacement": (("iid", MODEL, M, "exclude"), "infonce"),
    "tf_sampled_softmax_repeats": (("iid", INDEX, M, "mask"), "sampled_softmax_both"),
    "log_uniform": (("iid", RANK, M, "exclude"), "sampled_softmax"),
    "tfrs_in_batch": (("iid", POPULAR, M, "mask"), "ranking_nce"),
    "tfrs_in_batch_with_hits": (("iid", POPULAR, M, "keep"), "ranking_nce"),
    "in_batch_infonce": (("iid", POPULAR, M, "keep"), "infonce"),
    "mixed_negative_sampling": (("iid", BLEND, M, "mask"), "ranking_nce"),
    "bengio_senecal_2003": (("iid", POPULAR, M, "keep"), "self_normalized"),
    "bengio_senecal_2008": (("iid", POPULAR, M, "exclude"), "sampled_softmax"),
    "blanc_rendle": (("iid", MODEL, M, "exclude"), "sampled_softmax"),
    "word2vec": (("iid", q("popularity", power=0.75), M, "mask"), "negative_sampling"),
    "ranking_nce": (("iid", POPULAR, M, "keep"), "ranking_nce"),
    "binary_nce": (("iid", POPULAR, M, "keep"), "binary_nce"),
}
PROBLEM = nb.Problem(SCORES, POPULATION, POPULARITY)


def expected_of(name):
    if name != "tf_sampled_softmax":
        return enumerate_moments(SCORES, POPULATION, *ORACLE[name])
    listed = distinct.until_distinct(INDEX, M, "mask", corrected=True)
    return distinct.moments(SCORES, POPULATION, listed)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_source_says(name):
    found = PRESETS[name](M).exact(PROBLEM)
    expected = expected_of(name)
    for field in ("loss", "bias_norm", "cosine", "variance", "coverage"):
        assert abs(getattr(found, field) - getattr(expected, field)) < 1e-9, field


def test_presets_differ_but_for_two_names_of_one():
    losses = {name: expected_of(name).loss for name in PRESETS}
    same = {"ranking_nce", "tfrs_in_batch_with_hits"}
    kept = sorted(value for name, value in losses.items() if name != "ranking_nce")
    assert np.diff(kept).min() > 1e-4
    assert len({losses[name] for name in same}) == 1


def test_each_says_what_it_is():
    assert {*ORACLE, "tf_sampled_softmax"} == set(PRESETS)
    words = set()
    for name, make in PRESETS.items():
        preset = make(3)
        assert preset.name == name and preset.sampler.m == 3
        assert repr(preset) == f"{name}: {preset.sampler!r}, {preset.loss.name}"
        assert (len(preset.words) > 40 and "(" in preset.source) or "TensorFlow" in preset.source
        words.add(preset.words)
        assert preset.popular == (not re.search("model|by index", repr(preset.sampler)))
    assert len(words) == len(PRESETS)


def test_a_problem_without_popularity():
    problem = nb.Problem(SCORES, POPULATION)
    with pytest.raises(ValueError) as caught:
        PRESETS["word2vec"](2).exact(problem)
    assert str(caught.value) == (
        "problem: word2vec draws from the popularity, and this problem has one input whose "
        "pop(y|x) stands for it; expected a popularity pop(y) of its own, or several inputs to "
        "average. Pass popularity=..., the shares of the labels over all inputs, to nb.Problem."
    )
    PRESETS["paper"](2).check(problem)
    two = nb.Problem(np.stack([SCORES, SCORES]), np.stack([POPULATION, POPULARITY]))
    PRESETS["word2vec"](2).check(two)


def test_m_is_checked():
    with pytest.raises(ValueError, match="m: got 0; expected a whole number >= 1"):
        PRESETS["paper"](0)


# --- by name


def test_a_preset_by_its_name():
    for name in PRESETS:
        by_name, from_table = nb.preset(name, m=2), PRESETS[name](2)
        assert repr(by_name) == repr(from_table)
    assert (
        nb.preset("paper", 2).exact(PROBLEM).bias_norm
        == PRESETS["paper"](2).exact(PROBLEM).bias_norm
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("word_2_vec", "word2vec"),
        ("tfrs_inbatch", "tfrs_in_batch or tfrs_in_batch_with_hits or in_batch_infonce"),
        ("", " or ".join(PRESETS)),
    ],
)
def test_an_unknown_name_lists_the_nearest(name, near):
    with pytest.raises(ValueError) as caught:
        nb.preset(name, m=2)
    assert str(caught.value) == (
        f"name: got {name!r}; expected {near}. nb.presets.table() lists all of them."
    )


def test_options_are_those_that_a_convention_leaves_open():
    assert repr(nb.preset("paper", m=2, temperature=2.0).sampler) == (
        "without_replacement(model(temperature=2), m=2)"
    )
    assert repr(nb.preset("word2vec", m=2, power=1.0).sampler) == (
        "iid(popularity, m=2, hits='mask')"
    )
    blend = "iid(mixture(popularity, uniform, share=0.25), m=2, hits='mask')"
    assert repr(nb.preset("mixed_negative_sampling", m=2, share=0.25).sampler) == blend
    with pytest.raises(ValueError) as caught:
        nb.preset("word2vec", m=2, temperature=2.0)
    assert str(caught.value) == (
        "options: word2vec has no temperature; expected power. Build the sampler itself and pass "
        "it with nb.negative_sampling."
    )


def test_the_table():
    table = nb.presets.table()
    assert list(table) == ["name", "year", "sampler", "loss", "source", "differs"]
    assert list(table["name"]) == list(PRESETS)
    row = table.set_index("name").loc["tf_sampled_softmax"]
    assert (row["year"], row["loss"]) == (2015, "sampled_softmax_both")
    assert row["sampler"] == "until_distinct(log_uniform by index, m)"
    assert "unique=True" in row["source"] and "whole batch" in row["differs"]
    repeats = table.set_index("name").loc["tf_sampled_softmax_repeats"]
    assert repeats["sampler"] == "iid(log_uniform by index, m, hits='mask')"
    assert "last of several copies" in repeats["differs"]
    for name, year, source in zip(table["name"], table["year"], table["source"], strict=True):
        years = [int(found) for found in re.findall(r"\((\d{4})\)", source)]
        assert not years or year in years or name == "log_uniform", (name, years)
