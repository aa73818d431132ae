"""What a call is refused with."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result


def refusal(call: Callable[[], Any]) -> str:
    """The whole message of its ValueError."""
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


def refused_line(done: Result) -> str:
    """What a command said that must end with exit code 2: one line and no traceback."""
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.stdout == ""
    assert done.stderr.endswith("\n") and done.stderr.count("\n") == 1
    return done.stderr[:-1]
