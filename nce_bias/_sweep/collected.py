"""What is known of a sweep's cells so far: read from a folder, or told as each is finished."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

from nce_bias._progress import Bar
from nce_bias._sweep.cells import FAILED, Cell, Row
from nce_bias._sweep.plan import Fingerprints, Planned
from nce_bias._sweep.running import compute
from nce_bias._sweep.store import Store


class Collected:
    """Rows by their places in the table.

    With a store, cells that are there are read, and equal cells are computed once. A failed cell is
    not kept, so that the next run tries it again.
    """

    def __init__(self, cells: Sequence[Planned], store: Store | None, made: Row) -> None:
        self.rows: dict[int, Row] = {}
        self._cells, self._store, self._made = cells, store, made
        self._fingerprints: dict[int, str] = {}
        self._places: dict[str, list[int]] = {}
        if store is None:
            return
        fingerprints = Fingerprints()
        for place, cell in enumerate(cells):
            if fingerprint := fingerprints.of(cell):
                self._fingerprints[place] = fingerprint
                self._places.setdefault(fingerprint, []).append(place)
        for fingerprint, row in store.read(self._places).items():
            self._tell(fingerprint, row)

    def compute(self, executor: Executor | int | None, bar: Bar) -> int:
        """All that is not known yet; how often a worker died."""
        left = self._left()
        bar.advance(len(self._cells) - len(left))

        def done(place: int, row: Row) -> None:
            self.keep(place, row)
            bar.advance()

        return compute(left, executor, done)

    def keep(self, place: int, row: Row) -> None:
        """One finished cell, and those equal to it."""
        row = self._made | row
        fingerprint = self._fingerprints.get(place)
        if fingerprint is None:
            self.rows[place] = row
            return
        self._tell(fingerprint, row)
        if self._store is not None and not row["status"].startswith(FAILED):
            self._store.keep(fingerprint, row)

    def _tell(self, fingerprint: str, row: Row) -> None:
        self.rows |= dict.fromkeys(self._places[fingerprint], row)

    def _left(self) -> dict[int, Cell]:
        """The first of each kind."""
        again = {place for places in self._places.values() for place in places[1:]}
        return {
            place: one.cell
            for place, one in enumerate(self._cells)
            if place not in self.rows and place not in again
        }
