"""Imports run one way (pyproject.toml, [tool.importlinter]), and `import nce_bias` stays light."""

import pathlib
import subprocess
import sys

import pytest
from importlinter.cli import lint_imports

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAVY = ("matplotlib", "pandas", "optax", "typer", "rich", "tokenizers", "safetensors")


def test_import_contracts_hold(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


# Each line is what one contract exists to refuse. A contract with a misspelt module name, or one
# that its optional layers have emptied, would pass the test above and fail here.
@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("nce_bias/problem.py", "from nce_bias import samplers"),
        ("nce_bias/problem.py", "def later():\n    import nce_bias.engine._exact"),
        ("nce_bias/numerics/quadrature.py", "from nce_bias.problem import Problem"),
        ("nce_bias/engine/_exact.py", "from nce_bias.engine._monte_carlo import monte_carlo"),
        ("nce_bias/engine/moments.py", "from nce_bias.engine._exact import exact"),
        ("nce_bias/engine/_exact.py", "import nce_bias.retrieval"),
        ("nce_bias/plot/lines.py", "from nce_bias.engine.moments import Moments"),
        ("nce_bias/engine/moments.py", "from nce_bias.plot.lines import line"),
        ("nce_bias/engine/moments.py", "import analysis.synthetic.run"),
        ("nce_bias/cli.py", "import analysis.synthetic.figure"),
        ("nce_bias/unplaced.py", "x = 1"),
        ("nce_bias/engine/unplaced.py", "x = 1"),
        ("nce_bias/_gate/unplaced.py", "x = 1"),
        ("nce_bias/presets/theory.py", "from nce_bias.presets import graphs"),
        ("analysis/synthetic/figure.py", "import analysis.synthetic.run"),
        ("analysis/synthetic/figure.py", "from nce_bias.engine._exact import exact"),
        ("analysis/synthetic/figure.py", "import nce_bias as nb"),
    ],
)
def test_import_contracts_refuse(place, line, tmp_path):
    _write_small_project(tmp_path)
    assert _lint(tmp_path).returncode == 0, _lint(tmp_path).stdout
    with (tmp_path / place).open("a") as file:
        file.write(f"{line}\n")
    refused = _lint(tmp_path)
    assert refused.returncode == 1, refused.stdout
    assert "BROKEN" in refused.stdout


def _write_small_project(folder: pathlib.Path) -> None:
    """A project under this one's contracts whose imports are all allowed."""
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    files = {
        "nce_bias/__init__.py": "from nce_bias.engine._exact import exact",
        "nce_bias/provenance.py": "",
        "nce_bias/problem.py": "",
        "nce_bias/samplers.py": "from nce_bias import problem",
        "nce_bias/numerics/__init__.py": "",
        "nce_bias/numerics/quadrature.py": "",
        "nce_bias/_gate/__init__.py": "",
        "nce_bias/engine/__init__.py": "",
        "nce_bias/engine/moments.py": "from nce_bias import samplers",
        "nce_bias/engine/_exact.py": "from nce_bias.engine import moments",
        "nce_bias/engine/_monte_carlo.py": "from nce_bias.engine import moments",
        "nce_bias/presets/__init__.py": "from nce_bias.presets import theory",
        "nce_bias/presets/theory.py": "",
        "nce_bias/presets/graphs.py": "",
        "nce_bias/retrieval/__init__.py": "from nce_bias.engine import moments",
        "nce_bias/plot/__init__.py": "from nce_bias.plot import lines",
        "nce_bias/plot/lines.py": "",
        "nce_bias/cli.py": "from nce_bias import plot\nfrom nce_bias.engine._exact import exact",
        "analysis/__init__.py": "",
        "analysis/synthetic/__init__.py": "",
        "analysis/synthetic/run.py": "import nce_bias as nb",
        "analysis/synthetic/figure.py": (
            "from nce_bias import plot\nfrom nce_bias.plot import lines"
        ),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def _lint(folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_import_is_light():
    # A fresh interpreter: this one has long imported everything.
    program = (
        "import sys, nce_bias; "
        f"print(*(name for name in {HEAVY!r} if name in sys.modules)); "
        "print(nce_bias.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy, file = done.stdout.splitlines()
    assert file == str(ROOT / "nce_bias" / "__init__.py")
    assert heavy == ""


def test_import_changes_no_jax_configuration():
    program = (
        "import jax; before = dict(jax.config.values); import nce_bias; "
        "after = dict(jax.config.values); "
        "print(sorted(k for k in before if before[k] != after[k]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
