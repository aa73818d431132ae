"""One tiny BERT for all tests of encoders that are trained."""

import pathlib

import pytest

import nce_bias as nb
from tests.retrieval import tiny_bert
from tests.retrieval import tiny_linking as tiny


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Its files."""
    return tiny_bert.write(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def bert(bert_folder: pathlib.Path) -> nb.text.Bert:
    """That reads whole texts."""
    return nb.text.bert(bert_folder, max_tokens=tiny_bert.POSITIONS)


@pytest.fixture(scope="session")
def bert_corpus(bert: nb.text.Bert) -> nb.retrieval.Corpus:
    """The tiny data set in its tokens."""
    return nb.retrieval.corpus(tiny.data(), bert, learn=True)
