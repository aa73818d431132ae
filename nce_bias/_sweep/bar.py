"""A progress bar for what takes long, on a terminal alone."""

from __future__ import annotations

import threading
from typing import Any

#: Seconds before a progress bar appears.
PATIENCE = 2.0


class Bar:
    """A rich progress bar that appears after `PATIENCE`, on a terminal alone."""

    def __init__(self, total: int, *, enabled: bool) -> None:
        self._total, self._done, self._enabled = total, 0, enabled
        self._bar: Any = None
        self._closed = threading.Lock()
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Bar:
        if self._enabled:
            self._timer.start()
        return self

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        if not console.is_terminal or not self._closed.acquire(blocking=False):
            return
        self._bar = Progress(console=console, transient=True)
        self._bar.add_task("sweep", total=self._total, completed=self._done)
        self._bar.start()
        self._closed.release()

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._closed.acquire()  # for good: a timer that fires now shows nothing
        if self._bar is not None:
            self._bar.stop()
