"""`nce-bias presets`: the rows are those of `nb.presets`."""

import json

import pytest
from typer.testing import CliRunner

import nce_bias as nb
from nce_bias.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["presets", *arguments])


def test_a_list_has_every_name():
    done = run()
    assert done.exit_code == 0, done.output
    for name in nb.presets.PRESETS:
        assert f"│ {name} " in done.stdout
    assert f"{len(nb.presets.PRESETS)} conventions; nce-bias presets NAME says" in done.stdout


def test_a_family_with_numbers():
    done = run("--family", "theory", "--m", "2")
    assert done.exit_code == 0, done.output
    table = nb.presets.table(m=2, family="theory")
    assert f"{len(table)} conventions" in done.stdout
    for name, bias in zip(table["name"], table["bias_norm"], strict=True):
        line = next(line for line in done.stdout.splitlines() if f"│ {name} " in line)
        assert f"{bias:.4g}" in line


def test_one_is_a_card_with_its_numbers():
    done = run("blink")
    assert done.exit_code == 0, done.output
    found = nb.preset("blink", 2, hard=1).exact(nb.presets.example())
    assert done.stdout.startswith("blink (retrieval, 2020)\n  draws    iid(popularity, m - 10,")
    assert "on the example of four labels, m = 2" in done.stdout
    assert f"cosine {float(found.cosine):.4g}, " in done.stdout
    assert "failed: m: got 1, of two kinds" in run("pbg", "--m", "1").stdout


def test_records():
    one = json.loads(run("siglip", "--json").stdout)
    assert (one["name"], one["m"], one["answer"]) == ("siglip", 2, "ok")
    assert one["source"] == nb.presets.convention("siglip").source
    assert json.loads(run("pbg", "--m", "1", "--json").stdout)["bias_norm"] is None
    several = json.loads(run("--family", "graphs", "--json").stdout)
    assert [row["name"] for row in several] == list(nb.presets.table(family="graphs")["name"])
    assert "bias_norm" not in several[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("word2vek",), "name: got 'word2vek'; expected word2vec or "),
        (("--family", "x"), "--family: 'x' is not known; known are language_models, "),
        (("dns", "--family", "graphs"), "--family: a convention was named as well. Leave one"),
    ],
)
def test_refused(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"nce-bias: {message}")
    assert done.stderr.count("\n") == 1
