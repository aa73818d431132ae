"""What is cited: the bibliography against the texts that name it, both ways, and `nb.cite`.

pybtex reads the bibliography as BibTeX does, and shares no code with the library's own reading.
"""

import ast
import pathlib
import re

import pandas as pd
import pybtex.database
import pytest
import yaml

import nce_bias as nb
from docs import refresh
from nce_bias._cite import OWN, bibliography, mentions, named

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIB = ROOT / "nce_bias" / "references.bib"
READ = pybtex.database.parse_file(str(BIB), bib_format="bibtex").entries

NAME = r"[A-Z][\w’'-]+"
#: "Author (year)" and "(Author, year)", with two or more authors or "et al.".
AUTHORS = rf"(?:(?:{NAME}, )*{NAME} (?:&|and) (?:Van )?{NAME}|(?:van den )?{NAME} et al\.|{NAME})"
AUTHOR_YEAR = re.compile(rf"(?<![\w’'-])({AUTHORS}) \((\d{{4}})\)|\(({AUTHORS}), (\d{{4}})\)")
#: Named in a docstring or a source, and without an entry.
WITHOUT: set[str] = set()


def flat(text):
    return " ".join(text.split())


def docstrings():
    """Every docstring of the library."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in sorted((ROOT / "nce_bias").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, documented) and (text := ast.get_docstring(node)):
                yield text


SOURCES = [convention.source for convention in nb.presets.CONVENTIONS]
TEXTS = [flat(text) for text in (*SOURCES, *docstrings())]
PAGES = {path: flat(path.read_text()) for path in (ROOT / "docs").rglob("*.md")}
EVERYWHERE = [*TEXTS, *PAGES.values()]


def authors_and_years(text):
    """Where a text names authors and a year, and how: "Author (year)"."""
    for found in AUTHOR_YEAR.finditer(text):
        first = 1 if found[1] else 3
        yield found.start(first), f"{found[first]} ({found[first + 1]})"


def without_entry(text):
    """The names in a text at which no entry's shorthand begins."""
    names = [name for entry in bibliography().values() for name in entry.shorthands]
    known = {at for name in names for at in mentions(name, text)}
    return {name for at, name in authors_and_years(text) if at not in known}


# --- the bibliography against the texts


def test_whoever_is_named_has_an_entry_or_is_listed():
    assert set().union(*map(without_entry, TEXTS)) == WITHOUT


def test_authors_without_an_entry_are_noticed():
    text = "Source: Nobody & Never (2001); Mikolov et al. (2013), and (Noone et al., 1999)."
    assert without_entry(text) == {"Nobody & Never (2001)", "Noone et al. (1999)"}


def test_the_texts_name_many():
    """The pattern of a name is not so narrow that nothing is checked."""
    found = {name for text in TEXTS for _, name in authors_and_years(text)}
    assert len(found) > 0.8 * len(bibliography())


@pytest.mark.parametrize("key", bibliography())
def test_every_shorthand_is_used(key):
    unused = [
        name
        for name in bibliography()[key].shorthands
        if not any(True for text in EVERYWHERE for _ in mentions(name, text))
    ]
    assert unused == []


@pytest.mark.parametrize("source", sorted(set(SOURCES)))
def test_one_shorthand_names_one_paper(source):
    """No name in a convention's source begins the shorthands of two entries, but for one text."""
    starts = [
        (at, key)
        for key, entry in bibliography().items()
        for at in {at for name in entry.shorthands for at in mentions(name, source)}
    ]
    assert len({at for at, _ in starts}) == len(starts)


def test_pages_cite_keys_that_exist():
    cited = [key for page in PAGES.values() for key in re.findall(r"\{cite:[tp]\}`(\w+)`", page)]
    assert len(cited) >= 15
    assert set(cited) <= set(bibliography())


@pytest.mark.docs
def test_the_page_shows_what_is_printed():
    page = (ROOT / "docs" / "cite.md").read_text()
    assert refresh.page_refreshed(page) == page


# --- its form


def test_the_library_reads_what_bibtex_reads():
    ours = {
        key: pybtex.database.parse_string(entry.bibtex, "bibtex").entries[key]
        for key, entry in bibliography().items()
    }
    assert list(ours) == list(READ) == sorted(READ, key=str)
    for key, entry in READ.items():
        fields = dict(entry.fields)
        assert tuple(fields.pop("shorthand").split("; ")) == bibliography()[key].shorthands
        assert dict(ours[key].fields) == fields
        assert ours[key].persons == entry.persons
        assert ours[key].type == entry.type


@pytest.mark.parametrize("key", READ)
def test_required_fields(key):
    entry = READ[key]
    venue = {"inproceedings": "booktitle", "article": "journal", "book": "publisher"}
    required = {"title"} | ({venue[entry.type]} if entry.type in venue else set())
    required |= {"version"} if key == OWN else {"year"}
    assert required <= set(entry.fields)
    assert entry.persons["author"]
    assert ("eprint" in entry.fields) == ("archiveprefix" in entry.fields)


@pytest.mark.parametrize("key", [key for key in READ if key != OWN])
def test_a_key_is_author_year_word(key):
    entry = READ[key]
    assert re.fullmatch(rf"[a-z]+{entry.fields['year']}[a-z0-9]+", key) or (
        # the preprint's year, where texts say when it appeared first
        key == "abadi2016tensorflow"
    )


@pytest.mark.parametrize("key", [key for key in READ if key != OWN])
def test_a_shorthand_agrees_with_its_entry(key):
    """The year of "Author (year)" is the entry's, and the first author is the first author."""
    first = READ[key].persons["author"][0]
    family = " ".join((*first.prelast_names, *first.last_names)).strip("{}")
    for name in bibliography()[key].shorthands:
        for year in re.findall(r"\b(?:19|20)\d\d\b", name):
            assert year == READ[key].fields["year"]
        if found := re.match(rf"({AUTHORS})[ ,].*\(?\d{{4}}", name):
            assert found[1].startswith(family) or name == "SimCSE (2021)"


def test_the_librarys_own_entry_is_that_of_citation_cff():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    own = READ[OWN]
    assert re.sub("[{}]", "", own.fields["title"]) == cff["title"]
    assert own.fields["version"] == cff["version"] == nb.__version__
    assert [str(person).strip("{}") for person in own.persons["author"]] == [
        author["name"] for author in cff["authors"]
    ]
    (paper,) = cff["references"]
    entry = READ["zhang2021understanding"]
    assert entry.fields["title"] == paper["title"]
    assert entry.fields["year"] == str(paper["year"])
    assert f"arXiv:{entry.fields['eprint']}" == paper["identifiers"][0]["value"]
    assert [(person.last_names, person.first_names) for person in entry.persons["author"]] == [
        ([author["family-names"]], [author["given-names"]]) for author in paper["authors"]
    ]


# --- a shorthand is found whole

LONGER = [
    ("Teh (2012)", "Mnih & Teh (2012)"),
    ("Teh (2012)", "Mnih and Teh (2012)"),
    ("Li (2019)", "Da-Li (2019)"),
    ("Li (2019)", "McLi (2019)"),
    ("Ma & Collins (2018)", "Smith, Ma & Collins (2018)"),
    ("Chen et al. (2022), BIR", "Chen et al. (2022), BIRD"),
]


@pytest.mark.parametrize(("short", "text"), LONGER)
def test_a_part_of_another_name_is_no_mention(short, text):
    assert list(mentions(short, text)) == []
    assert short.replace("and", "&") in text.replace(" and ", " & "), "a plain search finds it"


@pytest.mark.parametrize(
    ("short", "text", "at"),
    [
        ("Teh (2012)", "see Teh (2012)", 4),
        ("Teh (2012)", "the clocks (Teh, 2012)", 12),
        ("Teh (2012)", "as in Teh 2012", 6),
        ("Teh (2012)", "Li (2019) and\n    Teh (2012)", 14),
        ("Teh (2012)", "jackknife, Teh (2012)", 11),
        ("Chen et al. (2022), BIR", "Chen et al. (2022),\n BIR: one", 0),
    ],
)
def test_other_ways_to_write_it(short, text, at):
    assert list(mentions(short, text)) == [at]


def test_a_year_is_part_of_the_name():
    assert named("Bengio & Senécal (2003)") == ["bengio2003quick"]
    assert named("Bengio & Senécal (2008)") == ["bengio2008adaptive"]


# --- nb.cite

PROBLEM = nb.Problem([1.0, 0.5, -1.0], [0.6, 0.3, 0.1], popularity=[0.5, 0.3, 0.2])
ZHANG, OORD, MIKOLOV = "zhang2021understanding", "oord2018representation", "mikolov2013distributed"


@pytest.mark.parametrize(
    ("thing", "keys"),
    [
        ("word2vec", [MIKOLOV]),
        (nb.preset("word2vec", m=5), [MIKOLOV]),
        (nb.presets.PRESETS["midx"], ["chen2022fast"]),
        ("adasir", ["chen2022learning"]),
        ("bir", ["chen2022cache"]),
        (nb.infonce, [ZHANG, OORD]),
        ("infonce", [ZHANG, OORD]),
        (nb.bpr, ["rendle2009bpr"]),
        (nb.psl, ["yang2024psl"]),
        (nb.psl(0.1), ["yang2024psl"]),
        (nb.hinge(), ["weston2010large"]),  # its margin is no nb.margin
        (nb.debiased(), ["chuang2020debiased", "robinson2021contrastive"]),
        (
            nb.with_inclusion(nb.sampled_softmax),
            ["bengio2008adaptive", "blanc2018adaptive", "horvitz1952generalization"],
        ),
        (nb.poisson(nb.uniform(), 1), ["hajek1964asymptotic"]),
        (nb.iid(nb.popularity(0.75), 2), [MIKOLOV]),
        (nb.best_of(nb.iid(nb.uniform(), 4), 1), ["zhang2013optimizing", "shi2023theories"]),
        (nb.top(2) + nb.iid(nb.popularity(), 1), [ZHANG, MIKOLOV]),
        (nb.semi_hard, ["schroff2015facenet"]),
        (nb.scores.Som, [ZHANG, "khattab2020colbert"]),
        (nb.Problem, [ZHANG]),
        (nb.optimal_proposal, ["frank1956algorithm"]),
        (nb.Additive("mine", lambda gold: -gold, lambda gold, negative: negative), []),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, '__name__', value)}"[:50],
)
def test_what_is_cited(thing, keys):
    found = nb.cite(thing).keys
    assert found[-1] == OWN
    assert sorted(found[:-1]) == sorted(keys)


def test_a_result_is_cited_by_what_it_is_of():
    found = nb.exact(PROBLEM, nb.iid(nb.popularity(0.75), 2), nb.binary_nce)
    assert nb.cite(found).keys == (MIKOLOV, "gutmann2010noise", "mnih2012fast", ZHANG, OWN)


def test_tables():
    audit = nb.audit(PROBLEM, m=2, presets=["word2vec", "mixed_negative_sampling"])
    assert set(nb.cite(audit).keys) == {MIKOLOV, "yang2020mixed", OWN}
    assert nb.cite(audit) == nb.cite(audit.to_frame())
    cells = [nb.preset("word2vec", m=2), nb.unique(nb.iid(nb.uniform(), 2))]
    table = nb.sweep(PROBLEM, cells, losses=[nb.ranking_nce])
    assert {MIKOLOV, "feller1968introduction", "ma2018noise", OWN} <= set(nb.cite(table).keys)


def test_all_conventions_at_once_are_their_sources():
    of_each = {key for source in SOURCES for key in named(source)}
    assert set(nb.cite(nb.presets.table()).keys) == of_each | {OWN}


def test_each_once_in_the_order_of_use_and_the_library_last():
    assert nb.cite(nb.negative_sampling, "mnih_teh_2012", "word2vec", "word2vec").keys == (
        MIKOLOV,
        "mnih2012fast",
        OWN,
    )


def test_without_things_the_library_and_the_paper_whose_theorem_it_computes():
    assert nb.cite().keys == (ZHANG, OWN)


def test_it_is_bibtex():
    text = str(nb.cite("word2vec", nb.bpr))
    assert "shorthand" not in text
    assert list(pybtex.database.parse_string(text, "bibtex").entries) == [
        MIKOLOV,
        "rendle2009bpr",
        OWN,
    ]


KINDS = (
    "names, presets, losses, samplers, proposals, scores, results, or a table of nb.sweep, "
    "nb.audit or nb.presets.table"
)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (3, f'things: got 3; expected {KINDS}. For example nb.cite("word2vec", nb.infonce).'),
        (
            "wrd2vec",
            "things: got 'wrd2vec', which names nothing here; expected word2vec or node2vec or "
            "item2vec. nb.presets.table() lists the conventions.",
        ),
        (
            pd.DataFrame({"m": [1]}),
            "things: got a table of the columns m; expected one of name, convention, negatives, "
            "sampler, loss_name. Pass the table as nb.sweep or nb.audit returned it.",
        ),
    ],
)
def test_what_is_not_known_is_refused(thing, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        nb.cite(thing)


def test_a_function_of_someone_else_is_refused():
    with pytest.raises(ValueError, match="expected names, presets"):
        nb.cite(pd.DataFrame)
