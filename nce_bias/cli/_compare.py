"""``nce-bias compare``: the bias of several kinds of negatives on a user's own arrays."""

import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import jax
import typer

from nce_bias._checks import NoExactMethod
from nce_bias._progress import track
from nce_bias.cli.arrays import load_array
from nce_bias.cli.errors import check_known, fail, remarks
from nce_bias.cli.negatives import DRAWN, make_sampler
from nce_bias.cli.process import own_process
from nce_bias.cli.records import echo_records
from nce_bias.engine._exact import exact
from nce_bias.engine._monte_carlo import monte_carlo
from nce_bias.engine.moments import Moments
from nce_bias.losses import LOSSES
from nce_bias.problem import Problem
from nce_bias.samplers import HITS, Sampler

if TYPE_CHECKING:
    from pandas import DataFrame

DEFAULT_NEGATIVES = ["uniform", "popularity", "0.5*uniform+0.5*model", "model"]


@remarks()
def compare(  # noqa: PLR0913 (each is an option of the command)
    scores: Annotated[
        pathlib.Path,
        typer.Argument(help="Scores s(x, y), [V] or [X, V]: .npy, .npz[:key], .csv or .parquet."),
    ],
    population: Annotated[
        pathlib.Path, typer.Argument(help="Population pop(y|x), of the same shape.")
    ],
    negatives: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="Kind of negatives; repeat for more. uniform, popularity:power=0.75, log_uniform, "
            "model:T=2, a mixture 0.5*uniform+0.5*model, from_probabilities:q.npy, top; also "
            "random, unigram, hard, mixed. "
            f"[default: {', '.join(DEFAULT_NEGATIVES)}]",
        ),
    ] = None,
    m: Annotated[
        str, typer.Option("--m", metavar="M,M,...", help="Numbers of negatives.")
    ] = "4,16,64",
    loss: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help=f"{', '.join(LOSSES)}; repeat for more. [default: infonce]"
        ),
    ] = None,
    hits: Annotated[
        str,
        typer.Option(metavar="POLICY", help=f"Draws equal to the gold: {', '.join(HITS)} (iid)."),
    ] = "exclude",
    sampler: Annotated[
        str, typer.Option(metavar="NAME", help=f"How negatives are drawn: {', '.join(DRAWN)}.")
    ] = "iid",
    popularity: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="FILE", help="pop(y), [V]. [default: mean of the population's rows]"),
    ] = None,
    sampled: Annotated[
        bool, typer.Option("--monte-carlo", help="Sample even where there is an exact method.")
    ] = False,
    draws: Annotated[
        int, typer.Option(min=2, help="Candidate sets per input, where sampled.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    csv: Annotated[
        pathlib.Path | None, typer.Option(metavar="OUT.csv", help="Write the table there too.")
    ] = None,
    plot: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="OUT.png", help="Draw it there (.png, .pdf or .svg)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write records, not a table.")] = False,
) -> None:
    """Compare kinds of negatives on your own scores and population.

    Prints the norm of the gradient bias in score space, its direction (cosine with the exact
    gradient), the expected loss in nats, and how well they are known. Exact where there is an
    exact method, by Monte Carlo with standard errors elsewhere.

    \b
    Example:
      $ echo "2.0,1.0,0.0,-1.0" > scores.csv
      $ echo "0.6,0.2,0.15,0.05" > population.csv
      $ nce-bias compare scores.csv population.csv --m 1,4,16 \\
            --negatives uniform --negatives model:T=2 --loss infonce
    """  # noqa: D301 (click reads \b: keep these lines as they are)
    own_process()
    names, losses = negatives or DEFAULT_NEGATIVES, loss or ["infonce"]
    try:
        sizes = numbers(m)
        check_known("--hits", hits, HITS)
        check_known("--sampler", sampler, DRAWN)
        for name in losses:
            check_known("--loss", name, LOSSES)
        samplers = {
            (spec, size): make_sampler(spec, size, sampler=sampler, hits=hits)
            for spec in names
            for size in sizes
        }
        check_outputs(csv=csv, plot=plot)
        given = None if popularity is None else load_array(popularity, "popularity")
        problem = Problem(load_array(scores, "scores"), load_array(population, "population"), given)
    except ValueError as error:
        fail(str(error))
    rows: list[dict[str, Any]] = []
    stopped = ""
    try:
        for row in _rows(problem, samplers, losses, draws if sampled else None, draws, seed):
            rows.append(row)
    except ValueError as error:
        stopped = str(error)
    except KeyboardInterrupt:
        stopped = f"interrupted after {len(rows)} of {len(samplers) * len(losses)} rows"
    if rows:
        _report(rows, problem, csv, plot, as_json)
    if stopped:
        fail(stopped)


def _rows(
    problem: Problem,
    samplers: dict[tuple[str, int], Sampler],
    losses: list[str],
    forced: int | None,
    draws: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """One row at a time, under a progress bar on a terminal."""
    cells = [(*place, sampler, loss) for loss in losses for place, sampler in samplers.items()]
    for spec, size, sampler, loss in track(cells, "computing"):
        found = _moments(problem, sampler, loss, forced, draws, seed)
        row = found.to_frame().iloc[0].to_dict()
        yield {"negatives": spec, "m": size} | row


def _moments(
    problem: Problem, sampler: Sampler, loss: str, forced: int | None, draws: int, seed: int
) -> Moments:
    if forced is None:
        try:
            return exact(problem, sampler, LOSSES[loss])
        except NoExactMethod:
            pass
    return monte_carlo(problem, sampler, LOSSES[loss], key=jax.random.key(seed), draws=draws)


def numbers(text: str) -> list[int]:
    """Numbers of negatives, as ``--m`` has them."""
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise ValueError(f"--m: got {text!r}; expected whole numbers >= 1, such as 4,16,64.")
    return list(dict.fromkeys(sizes))


def check_outputs(**options: pathlib.Path | None) -> None:
    """Refuse before anything is computed, not after."""
    for option, path in options.items():
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
            raise ValueError(f"--{option}: {path} {what}. Name a file in an existing folder.")
    plot = options.get("plot")
    if plot is not None:
        from nce_bias.plot.canvas import FORMATS

        if plot.suffix.lower() not in FORMATS:
            raise ValueError(f"--plot: {plot} should end in {', '.join(FORMATS)}.")


def _report(
    rows: list[dict[str, Any]],
    problem: Problem,
    csv: pathlib.Path | None,
    plot: pathlib.Path | None,
    as_json: bool,
) -> None:
    import pandas as pd

    table = pd.DataFrame(rows)
    if as_json:
        echo_records(rows)
    else:
        _print_table(table, problem)
    try:
        if csv is not None:
            table.to_csv(csv, index=False)
            typer.echo(f"wrote {csv}", err=True)
        if plot is not None:
            _draw(table, plot)
            typer.echo(f"wrote {plot}", err=True)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}. The table above is complete; name another file.")


def _print_table(table: "DataFrame", problem: Problem) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table()
    for column in ("negatives", "loss"):
        shown.add_column(column)
    for column in ("m", "bias norm", "cosine", "mean loss (nats)", "error"):
        shown.add_column(column, justify="right")
    shown.add_column("how")
    for row in table.to_dict("records"):
        spread = row.get("bias_norm_se", float("nan"))
        known = "exact" if row["method"].startswith("exact") else "Monte Carlo"
        shown.add_row(
            escape(row["negatives"]),
            row["loss_name"],
            str(row["m"]),
            f"{row['bias_norm']:.4g}" + (f" ± {spread:.1g}" if spread == spread else ""),
            f"{row['cosine']:.4f}",
            f"{row['loss']:.4g}",
            f"{row['error']:.0e}",
            known if row["status"] == "ok" else f"{known} (!)",
        )
    console = Console()
    if not console.is_terminal:  # a file has no width to fit in
        console = Console(width=200)
    console.print(repr(problem), markup=False, highlight=False)
    console.print(shown)
    for status in dict.fromkeys(table["status"][table["status"] != "ok"]):
        console.print(f"(!) {status}", markup=False)


def _draw(table: "DataFrame", path: pathlib.Path) -> None:
    from nce_bias import plot

    curves = len(set(table["m"])) > 1
    fig, ax = plot.figure(width=5.2, height=3.4 if curves else 0.9 + 0.28 * len(table))
    drawn = plot.compare(table, ax=ax)
    if curves:
        plot.direct_labels(drawn.lines)
    plot.save(fig, path)
