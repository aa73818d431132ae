"""Processes of a sweep's own: they end with it, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any


class Workers:
    """A pool of fresh processes, as a context; JAX does not survive a fork.

    Each holds one end of a pipe. When the other end closes, because the block was left by an
    exception or because this process was killed, the workers end at once, whatever they are at.
    Ctrl-C is for the caller alone.
    """

    def __init__(self, count: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._theirs, self._ours = spawn.Pipe(duplex=False)
        ends: Any = (self._theirs,)
        self._pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=_begin, initargs=ends)

    def __enter__(self) -> ProcessPoolExecutor:
        return self._pool

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._ours.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._ours.close()
        self._theirs.close()


def started() -> None:
    """Nothing: a process that does it has started."""


def _begin(pipe: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()


def _end_with(pipe: Any) -> None:
    """Wait for nothing to come."""
    try:
        pipe.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
