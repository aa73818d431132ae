"""Rewrite what README.md or a page shows of programs: `python docs/refresh.py [PAGE]`.

Without a page: the parts of README.md that are generated. Which loss goes with which negatives is
asked of the library itself, by tracing (nothing is compiled or computed); what the example commands
print is what they print. `tests/docs/test_docs.py` compares README.md with all of it.

With a page: its blocks of Python as one program, by the interpreter that runs this one. So is
docs/howto/frameworks.md made, in the environment of `make test-interop`;
`tests/interop/test_page.py` compares.
"""

import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

import equinox as eqx
import jax
import pandas as pd

import nce_bias as nb
from nce_bias.losses import ExactLoss

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MARKED = re.compile(
    r"(?P<begin><!-- begin: (?P<name>\w+) \(docs/refresh\.py\) -->\n)"
    r"(?P<body>.*?)"
    r"(?P<end><!-- end: (?P=name) -->)",
    re.DOTALL,
)
#: A block of code and the block of what it prints.
SHOWN = re.compile(
    r"```(?P<language>python|bash)\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.DOTALL
)
#: A block of Python on a page that is one program, and of what it prints if it prints anything.
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<printed>.*?)```\n)?", re.DOTALL)
#: Blocks come in as a list, what each printed goes out as one.
ONE_PROGRAM = """
import contextlib, io, json, sys
names, printed = {"__name__": "__main__"}, []
for number, block in enumerate(json.load(sys.stdin), 1):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(block, f"block {number}", "exec"), names)
    printed.append(output.getvalue())
json.dump(printed, sys.stdout)
"""
M = 2


def combinations() -> str:
    """Losses down, samplers across; below it what goes in place of `proposal`."""
    problem = nb.Problem([1.0, 0.0, -1.0, 0.5], [0.4, 0.3, 0.2, 0.1])
    columns = samplers(nb.uniform())
    lines = [
        f"| loss | {' | '.join(f'`{name}`' for name in columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    for name, loss in losses().items():
        cells = (how(problem, sampler, loss) for sampler in columns.values())
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    for proposal in proposals().values():
        for sampler in samplers(proposal).values():  # any that is refused stops here
            sampler.check(problem)
            eqx.filter_eval_shape(sampler.law, problem.scores, problem.popularity)
    listed = ", ".join(f"`{signature(make)}`" for make in nb.PROPOSALS.values())
    lines += [
        "",
        f"`proposal` is any of {listed}, or a function of your own, "
        "`(scores[V], popularity[V]) -> log q[V]`.",
    ]
    return "\n".join(lines) + "\n"


def findings() -> str:
    """The table of analysis/limits with hits excluded: bias at some m, and the limit."""
    results = ROOT / "analysis" / "limits" / "results"
    bias: Any = pd.read_csv(results / "bias.csv")
    limit: Any = pd.read_csv(results / "limits.csv")
    place, sizes = ["loss_name", "negatives"], [1, 64, 4096]
    shown = bias[(bias["hits"] == "exclude") & bias["m"].isin(sizes)]
    table = shown.pivot(index=place, columns="m", values="bias_norm").loc[:, sizes]
    table["∞"] = limit[limit["hits"] == "exclude"].set_index(place)["bias_norm"]
    lines = [f"| loss | negatives | {' | '.join(f'm = {m}' for m in table.columns)} |"]
    lines.append("|---|---|" + "---:|" * len(table.columns))
    for (loss, negatives), row in table.iterrows():
        numbers = (f"{value:.2g}" if value > 1e-12 else "0" for value in row)
        lines.append(f"| `{loss}` | {negatives} | {' | '.join(numbers)} |")
    return "\n".join(lines) + "\n"


def proposals() -> dict:
    arguments = {
        "mixture": (nb.uniform(), nb.model()),
        "from_probabilities": ([0.25] * 4,),
    }
    return {name: make(*arguments.get(name, ())) for name, make in nb.PROPOSALS.items()}


def losses() -> dict:
    """Every registered loss, one corrected by inclusion, those with a floor, two families."""
    inclusion = {"with_inclusion(sampled_softmax)": nb.with_inclusion(nb.sampled_softmax)}
    sampled = {"debiased()": nb.debiased(), "hard_reweighted()": nb.hard_reweighted()}
    families = {
        "Additive(name, gold, negative)": nb.bpr,
        "LogSums(name, terms)": nb.psl(),
    }
    return nb.LOSSES | inclusion | sampled | families


def samplers(proposal) -> dict:
    """Every registered sampler as the call that makes it, and those made of samplers or batches."""
    found = {}
    for make in nb.SAMPLERS.values():
        takes = "proposal" in inspect.signature(make).parameters
        found[signature(make)] = make(proposal, M) if takes else make(M)
    first, *_ = found.values()
    return found | {
        "a + b": first + first,
        "either([(a, share), ...])": nb.either([(first, 0.5), (first, 0.5)]),
        "unique(a)": nb.unique(first),
        "in_batch(size)": nb.in_batch(M + 1),
    }


def _ingredients(problem, sampler, loss):
    """What `nb.exact` asks of a sampler and a loss."""
    if not isinstance(loss, ExactLoss):
        raise nb.NoExactMethod(loss.name)
    law = sampler.law(problem.scores, problem.popularity)
    return law.log_laplace(problem.scores), loss.corrected(problem.scores, law, sampler.m)


def how(problem, sampler, loss) -> str:
    """The best method that there is: "exact", "Monte Carlo", or "refused" by both.

    A loss with a floor is certified where that is idle, with scores that are all the same.
    """
    try:
        sampler.check(problem)
        loss.check(problem, sampler)
        eqx.filter_eval_shape(_ingredients, problem, sampler, loss)
        if hasattr(loss, "certify"):
            loss.certify(nb.Problem(0 * problem.scores, problem.population), sampler)
            return "exact, floor idle"
        return "exact"
    except nb.NoExactMethod:
        pass
    except ValueError:
        return "refused"
    try:
        key = jax.random.key(0)
        eqx.filter_eval_shape(nb.monte_carlo, problem, sampler, loss, key=key, draws=4)
        return "Monte Carlo"
    except ValueError:
        return "refused"


def signature(make) -> str:
    shown = inspect.signature(make)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in shown.parameters.values()]
    arguments = inspect.Signature(bare)
    return f"{make.__name__}{arguments}"


def printed(language: str, code: str) -> str:
    """What a block of README prints, run in an empty folder with warnings as errors."""
    program = {"python": [sys.executable, "-c"], "bash": ["bash", "-euc"]}[language]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*program, code], cwd=folder, env=environment(), capture_output=True, text=True
        )
    if done.returncode:
        raise RuntimeError(f"this block of README.md failed:\n{code}\n{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


def page_refreshed(text: str) -> str:
    """A page as it should be whose blocks of Python are one program.

    A block that prints has a block of text below it, one that does not has none.
    """
    blocks = [match["code"] for match in BLOCK.finditer(text)]
    printed = iter(_run_together(blocks))

    def shown(match):
        lines = "\n".join(line.rstrip() for line in next(printed).splitlines())
        output = f"\n```text\n{lines}\n```\n" if lines else ""
        return f"```python\n{match['code']}```\n{output}"

    return BLOCK.sub(shown, text)


def _run_together(blocks: list[str]) -> list[str]:
    """What each block prints, all run in order in one new interpreter, warnings as errors."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", ONE_PROGRAM],
            cwd=folder,
            env=environment(),
            input=json.dumps(blocks),
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(f"a block of this page failed:\n{done.stderr}")
    return json.loads(done.stdout)


def environment() -> dict[str, str]:
    """The environment of code run for what it prints: warnings are errors, plots stay in memory."""
    scripts = pathlib.Path(sys.executable).parent
    return os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "error",
        "MPLBACKEND": "Agg",
        "COLUMNS": "200",
    }


GENERATED = {"combinations": combinations, "findings": findings}


def refreshed(text: str) -> str:
    """README.md as it should be."""

    def block(match):
        return f"{match['begin']}\n{GENERATED[match['name']]()}\n{match['end']}"

    def output(match):
        shown = printed(match["language"], match["code"])
        return f"```{match['language']}\n{match['code']}```\n\n```text\n{shown}```"

    return SHOWN.sub(output, MARKED.sub(block, text))


if __name__ == "__main__":
    for page in map(pathlib.Path, sys.argv[1:]):
        page.write_text(page_refreshed(page.read_text()))
    if not sys.argv[1:]:
        README.write_text(refreshed(README.read_text()))
