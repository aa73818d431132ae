"""What the README and the site show is executed, and what they say of the project is looked up."""

import pathlib
import re
import subprocess
import sys
import tomllib
from typing import Any

import pandas as pd
import pytest

import nce_bias as nb
from docs import refresh
from nce_bias.engine import moments
from nce_bias.integrals import Expectation
from nce_bias.losses import Corrected
from nce_bias.samplers import Law, Sampler

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(
    path for path in DOCS.rglob("*.md") if "_build" not in path.parts and path.name[0] != "."
)
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(?P<code>.*?)^```$", re.M | re.S)
NOTEBOOKS = [path for path in PAGES if CELL.search(path.read_text())]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
INDEX = (DOCS / "index.md").read_text()
#: An error bound is some multiple of the last place, which machine it is may change which.
TINY = re.compile(r"\b\d(\.\d+)?e-1[2-9]\b")


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


# --- the README


@pytest.mark.docs
def test_the_readme_shows_what_its_commands_print():
    shown, made = (TINY.sub("~0", text) for text in (README.read_text(), _refreshed()))
    assert shown == made, "README.md is not what it would be: run python docs/refresh.py"


def _refreshed() -> str:
    return refresh.refreshed(README.read_text())


@pytest.mark.docs
def test_a_wrong_readme_is_noticed():
    wrong = (
        "<!-- begin: findings (docs/refresh.py) -->\nall is well\n<!-- end: findings -->\n\n"
        "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n"
    )
    made = refresh.refreshed(wrong)
    assert "all is well" not in made and refresh.findings() in made
    assert made.endswith("```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n")
    with pytest.raises(RuntimeError, match=r"this block of README\.md failed:\nprint\(1 / 0\)"):
        refresh.refreshed("```python\nprint(1 / 0)\n```\n\n```text\n```\n")


def test_every_snippet_of_the_readme_is_among_the_executed():
    text = README.read_text()
    assert len(re.findall(r"^```(?:python|bash)$", text, re.M)) == len(refresh.SHOWN.findall(text))
    assert {match["name"] for match in refresh.MARKED.finditer(text)} == set(refresh.GENERATED)


def test_ten_lines_are_ten_lines():
    readme = next(m["code"] for m in refresh.SHOWN.finditer(README.read_text()))
    tutorial = CELL.search((DOCS / "tutorials" / "own_negatives.md").read_text())
    assert tutorial
    for code in (readme, tutorial["code"]):
        assert len([line for line in code.splitlines() if line.strip()]) <= 10


def test_the_table_knows_what_is_refused():
    """By hand: a fixed set has no q to correct with, a Poisson one may be empty."""
    problem = nb.Problem([1.0, 0.0, -1.0], [0.5, 0.3, 0.2])
    assert refresh.how(problem, nb.top(1), nb.infonce) == "exact"
    assert refresh.how(problem, nb.top(1), nb.sampled_softmax) == "refused"
    assert refresh.how(problem, nb.iid(nb.model(), 1), nb.sampled_softmax) == "exact"
    assert refresh.how(problem, nb.poisson(nb.model(), 1), nb.self_normalized) == "refused"
    assert refresh.how(problem, nb.top(1), nb.debiased()) == "exact, floor idle"
    assert refresh.how(problem, nb.poisson(nb.model(), 1), nb.hard_reweighted()) == "Monte Carlo"
    shown = next(m for m in refresh.MARKED.finditer(README.read_text()) if m["name"] != "findings")
    for names in (nb.PROPOSALS, nb.SAMPLERS, nb.LOSSES):
        for listed in names:
            assert re.search(rf"`{listed}[(`]", shown["body"]), listed


def test_what_it_found_is_in_the_results():
    bias: Any = pd.read_csv(ROOT / "analysis" / "limits" / "results" / "bias.csv")
    bias = bias[bias["hits"] == "exclude"].set_index(["loss_name", "negatives", "m"])
    norm = bias["bias_norm"]
    most = int(norm.index.get_level_values("m").max())
    uncorrected, corrected = norm["infonce"], norm["sampled_softmax"]
    # "Uncorrected and independent, only uniform negatives come near cross entropy."
    assert uncorrected["uniform"][most] < 0.02 * min(
        uncorrected[q][most] for q in ("popularity", "mixed", "model")
    )
    # "The correction is one": for all, at rate 1/m; "model negatives then have no bias for any m".
    for q in ("uniform", "popularity", "mixed"):
        assert corrected[q][most] < 0.01 * corrected[q][1]
    assert corrected["model"].max() < 1e-13


# --- the site


@pytest.mark.slow
@pytest.mark.docs
@pytest.mark.parametrize("page", NOTEBOOKS, ids=name)
def test_notebooks_run(page, tmp_path):
    done = _run(page.read_text(), tmp_path)
    assert done.returncode == 0, done.stderr


def test_there_are_notebooks():
    assert {"own_negatives.md", "sharp_edges.md"} <= {page.name for page in NOTEBOOKS}


def test_every_page_is_in_one_toctree():
    listed = re.findall(r"^```\{toctree\}\n(?::[^\n]*\n)*\n?(.*?)^```$", INDEX, re.M | re.S)
    pages = [page for block in listed for page in block.split()]
    below = {"api", "decisions"}  # these have an index of their own
    expected = {
        str(page.relative_to(DOCS).with_suffix(""))
        for page in PAGES
        if page != DOCS / "index.md" and page.parent.name not in below
    } | {f"{folder}/index" for folder in below}
    assert len(pages) == len(set(pages))
    assert set(pages) == expected


@pytest.mark.parametrize("page", TUTORIALS, ids=name)
def test_a_tutorial_claims_checks_and_leads_on(page):
    """The hidden cells hold what the text says: the slow tests run them."""
    text = page.read_text()
    cells = list(CELL.finditer(text))
    hidden = [cell for cell in cells if ":tags: [remove-cell]" in cell.group()]
    assert hidden and all("assert" in cell["code"] for cell in hidden)
    assert not any(
        re.search(r"^\s*assert ", cell["code"], re.M) for cell in cells if cell not in hidden
    )
    headings = re.findall(r"^#+ .*$", CELL.sub("", text), re.M)
    assert headings[-1] == "## What to read next"
    assert f"{{nb-download}}`{page.stem}.ipynb`" in text
    assert not re.search(r"#[0-9A-Fa-f]{6}|color=|colour=", text)  # colours come from nb.plot


@pytest.mark.docs
def test_a_notebook_with_a_false_claim_fails(tmp_path):
    cell = "```{code-cell} ipython3\n:tags: [remove-cell]\n\nassert 1 == {number}\n```\n"
    assert _run(cell.replace("{number}", "1"), tmp_path).returncode == 0
    assert "AssertionError" in _run(cell.replace("{number}", "2"), tmp_path).stderr


def _run(page: str, folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """All cells of a page in one fresh interpreter, as a reader's would be: in float32 at first."""
    code = "\n".join(match["code"] for match in CELL.finditer(page))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=refresh.environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.docs
def test_the_site_builds_without_a_warning(tmp_path):
    """Links, references, docstrings. The notebooks are executed above; `make docs` does both."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-D", "nb_execution_mode=off", "-d", tmp_path / "trees", DOCS, tmp_path / "html"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "index.html").is_file()


def test_every_public_name_has_a_place_in_the_api():
    described = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    missing = [public for public in nb.__all__ if not re.search(rf"\bnb\.{public}\b", described)]
    missing = [public for public in missing if f":: nce_bias.{public}" not in described]
    assert missing == [], "give each a directive or a mention in docs/api"


# --- the how-tos


def test_what_this_suite_leaves_out_has_a_command_that_a_change_must_pass():
    """What needs PyTorch or a browser is not found from here: a target each names it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    left_out = [
        path.name
        for path in sorted((ROOT / "tests").iterdir(), reverse=True)
        if path.name in settings["norecursedirs"]
    ]
    assert left_out == ["interop", "browser"]
    for name in left_out:
        assert list((ROOT / "tests" / name).glob("test_*.py"))
        rule = re.search(rf"^test-{name}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
        assert rule and rule[1].rstrip().endswith(f"tests/{name}")
        assert f"make test-{name}" in (ROOT / ".ci" / "run").read_text()


# --- the glossary


@pytest.mark.parametrize("members", [Law, Sampler, Expectation, Corrected, moments.SCALARS])
def test_the_glossary_has_the_words_of_the_interfaces(members):
    """But for those that any reader knows."""
    known = ["size", "draw", "law", "check", "loss", "length", "sums", "integrates", "included"]
    known += ["second_moment", "squared_means", "bias_norm_squared", "bias_norm_plugin", "m"]
    glossary = (DOCS / "glossary.md").read_text().lower()
    if isinstance(members, type):
        members = [name for name in {*vars(members), *members.__annotations__} if name[0] != "_"]
    words = {name: name.removeprefix("log_").replace("_", " ") for name in members}
    missing = [
        name
        for name, word in words.items()
        if name not in known and word not in glossary and name not in glossary
    ]
    assert missing == []


# --- what they say of the project


@pytest.mark.parametrize("page", [README, *PAGES], ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"https?:", target):
            assert (page.parent / target).exists(), target


def test_links_are_found():
    assert "docs/theory.md" in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", README.read_text())


def test_the_theory_names_tests_that_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (DOCS / "theory.md").read_text())
    assert len([test for _, test in named if test]) >= 8
    for file, test in named:
        text = (ROOT / file).read_text()
        assert not test or f"def {test}(" in text, f"{file}::{test}"
