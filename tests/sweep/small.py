"""Sixty small cells that note what computes them, for tests and the processes that they start.

As a program it sweeps them into the folder that it is given.
"""

import os
import sys
from typing import Any

import jax
import pandas as pd

import nce_bias as nb

PROBLEM = nb.Problem([2.0, 1.0, 0.0, -1.0], [0.7, 0.0, 0.2, 0.1])
LOG, BAD = "NCE_BIAS_TEST_LOG", "NCE_BIAS_TEST_BAD"  # outside of what a fingerprint sees


def note(label: int) -> None:
    """One line in the log: which cell, in which process."""
    if LOG in os.environ:
        with open(os.environ[LOG], "a") as file:
            file.write(f"{label} {os.getpid()}\n")


class Noted:
    """A proposal that says that it was called, and ends its process where it is told to."""

    def __init__(self, label: int) -> None:
        self.label = label
        self.__name__ = "noted"  # all alike in words

    def __call__(self, scores, popularity):
        note(self.label)
        bad = os.environ.get(BAD, "")
        if bad in ("exit", f"exit {self.label}"):
            os._exit(3)
        if bad == f"stop {self.label}":
            raise KeyboardInterrupt
        if bad == f"fail {self.label}":
            raise RuntimeError("it was told to")
        power = 2.0 if str(self.label) in {"3", "7", "11"} else 1.0  # a set, ordered anew each time
        return (1 + self.label) ** power / 100 * scores


def sampler(label: int) -> Any:
    return nb.iid(Noted(label), 2)


def swept(folder: Any, count: int = 60, **options: Any) -> pd.DataFrame:
    samplers = {str(label): sampler(label) for label in range(count)}
    return nb.sweep(PROBLEM, samplers, folder=folder, progress=False, **options)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    # Where pickle finds what processes are sent: not in this program, but in the module.
    from tests.sweep import small

    small.swept(sys.argv[1], executor=int(sys.argv[2]) if sys.argv[2:] else None)
