"""What a call is refused with."""

from collections.abc import Callable
from typing import Any

import pytest


def refusal(call: Callable[[], Any]) -> str:
    """The whole message of its ValueError."""
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)
