"""The tables of the question's page and of `docs/claims.md`: ``python -m analysis.claims.page``.

Words come from the trials, numbers from the committed tables; both pages have markers between which
they are written.
"""

import pathlib

from analysis.benchmarks.page import replace
from analysis.claims.docket import TRIALS
from analysis.frames import Table, read, where

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"
README, DOCS = HERE / "README.md", HERE.parents[1] / "docs" / "claims.md"
#: What a calculation in double precision leaves of 0.
ROUNDING = 1e-9
RELATIONS = {"=": "", "<=": "at most ", ">=": "at least "}


def number(value: float) -> str:
    """Four digits; 0 for what is rounding."""
    return "0" if abs(value) < ROUNDING else f"{value:.4g}"


def summary(claims: Table, readings: Table) -> str:
    """A row for each claim: verdict, and how many of its conditions held."""
    lines = [
        "| claim | paper | verdict | number | should be | held |",
        "|---|---|---|---:|---|---|",
    ]
    for claim in claims.itertuples():
        own = where(readings, claim=claim.claim, beyond=False)
        other = where(readings, claim=claim.claim, beyond=True)
        held = f"{own['holds'].sum()} of {len(own)}"
        held += f", beyond {other['holds'].sum()} of {len(other)}" if len(other) else ""
        cells = [
            claim.title,
            f"{claim.paper.partition(',')[0]} ({claim.year})",
            f"**{claim.verdict}**",
            f"{number(claim.number)} ({claim.shown})",
            f"{RELATIONS[claim.relation]}{number(claim.expected)}",
            held,
        ]
        lines.append(_row(cells))
    return "\n".join(lines)


def sections(claims: Table, readings: Table) -> str:
    """A section for each claim, with every reading."""
    parts = []
    for row in claims.itertuples():
        claim = TRIALS[row.claim].claim
        lines = ["| condition | number | should be | held |", "|---|---:|---|---|"]
        for reading in where(readings, claim=row.claim).itertuples():
            wanted = f"{RELATIONS[reading.relation]}{number(reading.expected)}"
            name = f"*beyond:* {reading.condition}" if reading.beyond else reading.condition
            held = "yes" if reading.holds else "no"
            lines.append(_row([name, number(reading.number), wanted, held]))
        parts.append(
            "\n\n".join(
                [
                    f"### {claim.title}",
                    f"{claim.paper} ({claim.year}). {claim.said} (Read: {claim.read}.)",
                    f"*Number:* {_bars(claim.measured)}.",
                    f"*Predicted:* {_bars(claim.prediction)}",
                    "\n".join(lines),
                    f"**{row.verdict.capitalize()}.** {_bars(claim.lesson)}",
                ]
            )
        )
    return "\n\n".join(parts)


def refreshed(text: str, results: pathlib.Path = RESULTS) -> str:
    """A page with its tables made again from the results."""
    made = {"verdicts": summary, "claims": sections}
    tables = read(results, "claims", "readings")
    for name, make in made.items():
        if f"<!-- begin {name} -->" in text:
            text = replace(text, name, make(*tables))
    return text


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(_bars(cell) for cell in cells)} |"


def _bars(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for page in (README, DOCS):
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
