"""``nce-bias audit``: the conventions of published code on a user's own scores and golds."""

import functools
import pathlib
from typing import Annotated, Any

import typer

from nce_bias._audit import Audit
from nce_bias._audit import audit as run
from nce_bias.cli._compare import check_outputs, numbers
from nce_bias.cli.arrays import load_array, load_integers
from nce_bias.cli.errors import check_known, fail, remarks
from nce_bias.cli.negatives import DRAWN, make_sampler
from nce_bias.cli.process import own_process
from nce_bias.cli.records import echo_records
from nce_bias.losses import LOSSES
from nce_bias.presets import COMMON, PRESETS
from nce_bias.problem import Problem
from nce_bias.samplers import HITS

File = pathlib.Path | None


@remarks()
def audit(  # noqa: PLR0913 (each is an option of the command)
    golds: Annotated[
        pathlib.Path,
        typer.Argument(help="The observed label of each input, whole numbers from 0, [X]."),
    ],
    scores: Annotated[
        File, typer.Option(metavar="FILE", help="Scores s(x, y), [X, V], or give embeddings.")
    ] = None,
    queries: Annotated[
        File, typer.Option(metavar="FILE", help="Embeddings of the inputs, [X, d].")
    ] = None,
    labels: Annotated[
        File, typer.Option(metavar="FILE", help="Embeddings of the labels, [V, d].")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="What inner products of embeddings are divided by.")
    ] = 1.0,
    counts: Annotated[
        File,
        typer.Option(
            metavar="FILE", help="How often each label occurs, [V]. [default: among the golds]"
        ),
    ] = None,
    m: Annotated[
        str, typer.Option("--m", metavar="M,M,...", help="Numbers of negatives.")
    ] = "16,64,256",
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="One of these alone; repeat for more. nce-bias presets lists them.",
        ),
    ] = None,
    negatives: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Your own kind of negatives beside them, as in compare, with --loss, --hits and "
            "--sampler.",
        ),
    ] = None,
    loss: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(LOSSES)}.")] = "infonce",
    hits: Annotated[str, typer.Option(metavar="POLICY", help=f"{', '.join(HITS)}.")] = "exclude",
    sampler: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(DRAWN)}.")] = "iid",
    inputs: Annotated[int, typer.Option(min=1, help="How many inputs are looked at.")] = 256,
    draws: Annotated[
        int, typer.Option(min=4, help="Candidate sets per input, where sampled.")
    ] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    csv: Annotated[File, typer.Option(metavar="OUT.csv", help="Write the table there.")] = None,
    report: Annotated[
        File, typer.Option(metavar="OUT.html", help="Write a page with figures there.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write records and remarks, not a table.")
    ] = False,
) -> None:
    """Which convention of published code is least biased on your own scores.

    Prints bias, cosine, variance, coverage and loss of each, with standard errors over inputs,
    the least biased first, and what they mean in words. Exact where the integrals are quick enough.

    \b
    Example:
      $ printf "2,1,0,-1\\n0,1,0,3\\n1,1,2,0\\n" > scores.csv
      $ printf "0\\n3\\n1\\n" > golds.csv
      $ nce-bias audit golds.csv --scores scores.csv --m 2,8 --preset paper_replacement \\
            --preset in_batch_infonce --negatives hard --loss sampled_softmax
    """  # noqa: D301 (click reads \b: keep these lines as they are)
    own_process()
    try:
        sizes = numbers(m)
        check_known("--loss", loss, LOSSES)
        check_known("--hits", hits, HITS)
        check_known("--sampler", sampler, DRAWN)
        for name in presets or []:
            check_known("--preset", name, PRESETS)
        check_outputs(csv=csv, report=report)
        asked: dict[str, Any] = {name: PRESETS[name] for name in presets or COMMON}
        if negatives is not None:
            drawn = functools.partial(make_sampler, negatives, sampler=sampler, hits=hits)
            drawn(sizes[0])  # a spec that means nothing is refused before anything is computed
            asked[f"{negatives}, {loss}"] = lambda m: (drawn(m), LOSSES[loss])
        problem = _problem(golds, (scores, queries, labels), temperature, counts)
        found = run(problem, sizes, asked, inputs, draws=draws, key=seed)
    except ValueError as error:
        fail(str(error))
    if as_json:
        rows = [row.record() for row in found.rows]
        echo_records({"how": found.how, "rows": rows, "remarks": [str(r) for r in found.remarks]})
    else:
        typer.echo(repr(found))
    _write(found, csv, report)
    if found.interrupted:
        fail(f"interrupted: {found.how}")


def _problem(
    golds: pathlib.Path,
    sources: tuple[File, File, File],
    temperature: float,
    counts: File,
) -> Problem:
    scores, queries, labels = sources
    chosen = load_integers(golds, "golds")
    popularity = None
    if counts is not None:
        seen = load_array(counts, "counts").astype(float)
        popularity = seen / seen.sum()
    if scores is not None and queries is None and labels is None:
        return Problem.from_golds(load_array(scores, "scores"), chosen, popularity)
    if scores is None and queries is not None and labels is not None:
        sides = load_array(queries, "queries"), load_array(labels, "labels")
        return Problem.from_embeddings(*sides, chosen, popularity, temperature)
    raise ValueError(
        "scores: give --scores FILE, or both --queries FILE and --labels FILE, and not all of them."
    )


def _write(found: Audit, csv: File, report: File) -> None:
    try:
        if csv is not None:
            found.to_frame().to_csv(csv, index=False)
            typer.echo(f"wrote {csv}", err=True)
        if report is not None:
            found.report(report)
            typer.echo(f"wrote {report}", err=True)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}. The table above is complete; name another file.")
