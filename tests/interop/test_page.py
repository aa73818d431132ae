"""docs/howto/frameworks.md shows what its blocks print."""

import pathlib

import pytest

from docs import refresh

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "howto" / "frameworks.md"


def test_the_page_shows_what_its_blocks_print():
    shown = PAGE.read_text()
    command = ".venv-interop/bin/python docs/refresh.py docs/howto/frameworks.md"
    assert refresh.page_refreshed(shown) == shown, f"run {command}"


def test_a_wrong_page_is_noticed():
    """One program: a name lives on. What is not printed is not shown, what is printed is."""
    first, second = "```python\nx = 1\n```\n", "```python\nprint(x + 1)\n```\n"
    wrong = f"{first}\n```text\nall is well\n```\n\nWords.\n\n{second}"
    assert refresh.page_refreshed(wrong) == f"{first}\nWords.\n\n{second}\n```text\n2\n```\n"
    with pytest.raises(RuntimeError, match=r'(?s)File "block 2".*ZeroDivisionError'):
        refresh.page_refreshed(f"{first}\n```python\nx / 0\n```\n")
    with pytest.raises(RuntimeError, match="UserWarning: w"):
        refresh.page_refreshed("```python\nimport warnings\nwarnings.warn('w')\n```\n")


def test_ten_lines_are_ten_lines():
    blocks = [match["code"] for match in refresh.BLOCK.finditer(PAGE.read_text())]
    table = next(code for code in blocks if "nb.audit(" in code)
    assert len([line for line in table.splitlines() if line.strip()]) <= 10
    assert all(name in PAGE.read_text() for name in ("torch", "nnx", "equinox", "tensorflow"))
