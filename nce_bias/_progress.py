"""One progress bar for all that takes long: late, on a terminal alone, gone when it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 2.0  # seconds before a bar appears
REFRESH = 0.2  # seconds between two notes: making one may wait for the device


class Bar:
    """A rich bar on standard error, shown once `PATIENCE` has passed; use it as a context.

    Parameters
    ----------
    total
        Steps there are.
    name
        What is done, such as "training".
    enabled
        False shows nothing.
    """

    def __init__(self, total: int, name: str, *, enabled: bool = True) -> None:
        self._total, self._name, self._enabled = total, name, enabled
        self._done, self._noted = 0, 0.0
        self._bar: Any = None
        self._showing = threading.Lock()  # held for good once the bar may no longer appear
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Bar:
        if self._enabled:
            self._timer.start()
        return self

    def advance(self, steps: int = 1, note: Callable[[], str] | None = None) -> None:
        """More is done; `note` says something of it behind the name, now and then."""
        self._done += steps
        if self._bar is None:
            return
        shown: dict[str, Any] = {"completed": self._done}
        if note is not None and time.monotonic() - self._noted > REFRESH:
            self._noted = time.monotonic()
            shown["description"] = f"{self._name}, {note()}"
        self._bar.update(self._bar.task_ids[0], **shown)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._showing.acquire()
        if self._bar is not None:
            self._bar.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        if not console.is_terminal or not self._showing.acquire(blocking=False):
            return
        bar = Progress(console=console, transient=True)
        bar.add_task(self._name, total=self._total, completed=self._done)
        bar.start()
        self._bar = bar
        self._showing.release()


def track(items: Sequence[T], name: str, *, enabled: bool = True) -> Iterator[T]:
    """The items one by one, under a bar.

    Examples
    --------
    >>> from nce_bias._progress import track
    >>> [item**2 for item in track([1, 2, 3], "squares")]
    [1, 4, 9]
    """
    with Bar(len(items), name, enabled=enabled) as bar:
        for item in items:
            yield item
            bar.advance()
