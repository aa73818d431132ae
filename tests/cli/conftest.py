"""A folder with the files that most calls name."""

import numpy as np
import pytest

from tests.cli.commands import POPULATION, SCORES


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("scores.npy", SCORES)
    np.save("population.npy", POPULATION)
    return tmp_path
