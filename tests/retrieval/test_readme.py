"""What the README shows of retrieval runs, on the tiny data in place of what takes minutes."""

import pathlib
import re
from typing import Any

import numpy as np
import pytest

import nce_bias as nb
from tests.retrieval import tiny_linking as tiny

README = pathlib.Path(__file__).parents[2] / "README.md"
SNIPPET = re.compile(r"^## Retrieval on real text$.*?^```py\n(?P<code>.*?)^```$", re.M | re.S)


def test_the_snippet_of_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    found = SNIPPET.search(README.read_text())
    assert found, "the section shows one block of code, fenced as py"
    tiny.small_blocks(monkeypatch.setattr)
    corpus, data = nb.retrieval.corpus, tiny.data()
    monkeypatch.setattr(nb.data, "entity_linking", lambda: data)
    monkeypatch.setattr(nb.text, "minilm", lambda **_: tiny.Marked())
    monkeypatch.setattr(
        nb.retrieval, "corpus", lambda *given: corpus(*given, folder=tmp_path, limit=11)
    )
    names: dict[str, Any] = {}
    exec(found["code"], names)
    assert names["run"].status == "ok"
    table = names["table"].set_index(["metric", "average"])["value"]
    ranks = nb.retrieval.rank(names["run"].model, names["corpus"]["test"])
    assert ranks.shape == (6,)  # every other one of 12
    assert table["mrr", "micro"] == pytest.approx(float(np.mean(1 / ranks)))
