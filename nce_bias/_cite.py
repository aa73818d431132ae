"""What to cite for what was used, as BibTeX.

`references.bib` beside this file holds the bibliography. Each entry has a `shorthand`, the way in
which the library's texts name it: "Mnih & Teh (2012)". An entry is found where the text about a
thing names it, and nowhere else is written down what cites what. The text about

- a convention is its `source`;
- a loss, a sampler or a proposal is the docstring of the functions that its words name, as `iid`
  and `model` in "iid(model, m=2)", those of its class and of the modules of these, and in a table
  of losses its row alone;
- a result is that of its class and of its sampler and loss in words.

A shorthand is matched as a whole: a surname that ends a longer one, or the last of several authors,
is no mention of a paper by that author alone; `mentions` looks at both sides. A text may write
"Author, year" or "Author year". Where two papers have one author and year the shorthand goes on
with what the texts say next, as in "Chen et al. (2022), MIDX".

It fails where a text names no one: then the library's own entry is all there is.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from inspect import getmodule, isfunction, ismodule
from typing import Any

from nce_bias import _near_gold, losses, proposals, samplers
from nce_bias._audit import Audit
from nce_bias._checks import refuse
from nce_bias.losses import Loss
from nce_bias.presets import PRESETS
from nce_bias.samplers import Sampler

#: The library's own entry, and what is cited where nothing else is asked for.
OWN, ALWAYS = "nce_bias", ("zhang2021understanding", "nce_bias")
#: Columns of the tables of `sweep`, `audit` and `presets.table` with the name of a convention.
NAMED = ("name", "convention", "negatives")
#: Columns of tables, and fields of results, that say in words what was computed.
IN_WORDS = ("sampler", "loss_name")
#: An author before a shorthand: what follows is the end of a longer list of authors.
AUTHOR_BEFORE = re.compile(r"[A-Z]\w+,? (?:& |and )$|[A-Z]\w+, $")
#: A row of a table in a docstring, with the lines that continue it: the name is in backticks.
ROW = r"^`{}[`(].*(?:\n +\S.*)*"


@dataclass(frozen=True)
class Entry:
    """One entry of the bibliography: its key, the ways texts name it, and its BibTeX."""

    key: str
    shorthands: tuple[str, ...]
    bibtex: str


@dataclass(frozen=True, repr=False)
class Citations:
    """Entries in order of use, the library's own last; ``print`` shows them as BibTeX."""

    entries: tuple[Entry, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """What LaTeX calls them by."""
        return tuple(entry.key for entry in self.entries)

    def __str__(self) -> str:
        return "\n\n".join(entry.bibtex for entry in self.entries)

    def __repr__(self) -> str:
        return f"Citations({', '.join(self.keys)})"


def cite(*things: Any) -> Citations:
    """What to cite for what was used: ``print(nb.cite(result))`` is BibTeX.

    Parameters
    ----------
    *things
        Any of: the name of a convention, a loss, a sampler or a proposal, or words with such names;
        presets and conventions; losses, samplers, proposals, scores, and the functions that make
        them; results, such as `Moments`; a table of `sweep`, `audit` or `presets.table`. Without
        things: what every use of the library rests on.

    Returns
    -------
    Citations
        Each entry once, in the order of use, the library's own entry last. ``str`` is BibTeX,
        `keys` are the keys.

    Raises
    ------
    ValueError
        Something of another kind, a word that names nothing here, a table without the columns.

    Notes
    -----
    An entry is found where the text about a thing names it: `Convention.source`, or docstrings.
    That says where the definition is from. Look at the paper before quoting it for more.

    Examples
    --------
    >>> import nce_bias as nb
    >>> nb.cite("word2vec")
    Citations(mikolov2013distributed, nce_bias)
    >>> print(str(nb.cite(nb.bpr)).splitlines()[0])
    @inproceedings{rendle2009bpr,
    """
    found = dict.fromkeys(key for thing in things for text in _texts(thing) for key in named(text))
    wanted = [*found, OWN] if things else ALWAYS
    return Citations(tuple(bibliography()[key] for key in dict.fromkeys(wanted)))


@cache
def bibliography() -> dict[str, Entry]:
    """Key -> entry. The file is ours: a blank line between entries, `shorthand` the last field."""
    text = files("nce_bias").joinpath("references.bib").read_text(encoding="utf-8")
    found = {}
    for block in text.split("\n\n"):
        parts = re.fullmatch(
            r"(@\w+\{(?P<key>\w+),\n.*),\n  shorthand = \{(?P<names>.*)\}\n\}", block.strip(), re.S
        )
        if parts:
            names = tuple(parts["names"].split("; "))
            found[parts["key"]] = Entry(parts["key"], names, f"{parts[1]}\n}}")
    return found


def named(text: str) -> list[str]:
    """Keys of the entries that a text names, in the order in which it does."""
    found = [
        (min(places), key)
        for key, entry in bibliography().items()
        if (places := [at for name in entry.shorthands for at in mentions(name, text)])
    ]
    return [key for _, key in sorted(found)]


def mentions(shorthand: str, text: str) -> Iterator[int]:
    """Where a text has a shorthand as a whole, also as "Author, year" or "Author year"."""
    text = " ".join(text.split())
    for match in _pattern(shorthand).finditer(text):
        if not AUTHOR_BEFORE.search(text, max(0, match.start() - 40), match.start()):
            yield match.start()


@cache
def _pattern(shorthand: str) -> re.Pattern[str]:
    years = re.sub(r"\\ \\\((\d{4})\\\)", r",? \\(?\1\\)?", re.escape(shorthand))
    return re.compile(rf"(?<![\w’'-]){years}(?!\w)")


def _texts(thing: Any) -> Iterator[str]:
    """The texts about one thing."""
    if isinstance(thing, str):
        yield from _of_word(thing)
    elif isfunction(thing) and _is_ours(thing):
        yield from _of_function(thing)
    elif (isinstance(thing, type) or ismodule(thing)) and _is_ours(thing):
        yield from _of_docstrings(thing)
    elif isinstance(getattr(thing, "source", None), str):
        yield thing.source
    elif hasattr(thing, "columns") and not isinstance(thing, type):
        yield from _of_table(thing)
    elif isinstance(thing, Audit):
        yield from _of_table(thing.to_frame())
    elif isinstance(thing, (Sampler, Loss)) or _is_ours(type(thing)):
        yield from (*_of_names(_words_of(thing)), *_of_docstrings(type(thing)))
    else:
        raise refuse(
            "things",
            f"got {thing!r}",
            "names, presets, losses, samplers, proposals, scores, results, or a table of nb.sweep, "
            "nb.audit or nb.presets.table",
            'For example nb.cite("word2vec", nb.infonce).',
        )


def _of_word(word: str) -> Iterator[str]:
    if word in PRESETS:
        yield PRESETS[word].source
        return
    if not any(_names_in(word)):
        near = difflib.get_close_matches(word, [*PRESETS, *_by_name()], n=3, cutoff=0.4)
        raise refuse(
            "things",
            f"got {word!r}, which names nothing here",
            " or ".join(near) or "the name of a convention, a loss, a sampler or a proposal",
            "nb.presets.table() lists the conventions.",
        )
    yield from _of_names(word)


def _of_table(table: Any) -> Iterator[str]:
    """Row by row: the source of a convention, where the row is of one, or its words."""
    conventions = [column for column in NAMED if column in table.columns]
    words = [column for column in IN_WORDS if column in table.columns]
    if not conventions and not words:
        raise refuse(
            "things",
            f"got a table of the columns {', '.join(map(str, table.columns))}",
            f"one of {', '.join((*NAMED, *IN_WORDS))}",
            "Pass the table as nb.sweep or nb.audit returned it.",
        )
    for _, row in table[[*conventions, *words]].drop_duplicates().iterrows():
        sources = [PRESETS[row[name]].source for name in conventions if row[name] in PRESETS]
        yield from sources or (t for column in words for t in _of_names(str(row[column])))


def _of_function(function: Any) -> Iterator[str]:
    """What is said of a function: where it makes losses their tables have a row of it."""
    if _by_name().get(function.__name__) is function:
        yield from _rows(function.__name__)
    yield from _of_docstrings(function)


def _words_of(thing: Any) -> str:
    """A loss is known by its name, a result by its sampler's and loss's, all else by its repr."""
    if isinstance(thing, Loss):
        return thing.name
    if hasattr(thing, IN_WORDS[0]):
        return ", ".join(str(getattr(thing, field, "")) for field in IN_WORDS)
    return repr(thing) if isinstance(thing, Sampler) or callable(thing) else ""


def _of_names(words: str) -> Iterator[str]:
    """What is said of each function that the words name: its docstrings and rows of tables."""
    for name in _names_in(words):
        thing = _by_name()[name]
        yield from _rows(name)
        yield from _of_docstrings(thing if isfunction(thing) else type(thing))


def _names_in(words: str) -> Iterator[str]:
    """Names in words such as "iid(best of 4 uniform, m=2)" and "sampled_softmax_inclusion"."""
    words = words.replace("best of", "best_of").replace("_inclusion", " with_inclusion")
    return (word for word in re.findall(r"\b[a-z]\w*\b(?!=)", words) if word in _by_name())


def _of_docstrings(thing: Any) -> Iterator[str]:
    """Of a function, a class or a module, and of the module it is in unless that is a table."""
    yield thing.__doc__ or ""
    about = getattr(getmodule(thing), "__doc__", None) or ""
    if "\n=====" not in about:
        yield about


def _rows(name: str) -> Iterator[str]:
    """Rows of the tables of losses that begin with a name."""
    for module in {id(found): found for found in map(getmodule, _by_name().values())}.values():
        yield from re.findall(ROW.format(re.escape(name)), module.__doc__ or "", re.M)
    yield from re.findall(ROW.format(re.escape(name)), losses.__doc__ or "", re.M)


@cache
def _by_name() -> dict[str, Any]:
    """The functions that make losses, samplers and proposals, and the losses that are values."""
    return {
        name: thing
        for package in (losses, samplers, proposals, _near_gold)
        for name, thing in vars(package).items()
        if not name.startswith("_")
        and not isinstance(thing, type)
        and (isinstance(thing, Loss) or (isfunction(thing) and _is_of(package, thing)))
    }


def _is_of(package: Any, thing: Any) -> bool:
    """Whether a function or class is defined in a package."""
    where = thing.__name__ if ismodule(thing) else getattr(thing, "__module__", "")
    return f"{where}.".startswith(f"{package.__name__}.")


def _is_ours(thing: Any) -> bool:
    return _is_of(sys.modules[__name__.partition(".")[0]], thing)
