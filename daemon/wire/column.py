"""One column of a history file: cells -> numbers or epoch seconds, or the row that is neither."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.core.records import F64
from daemon.errors import BadMessage, DataError
from daemon.wire.payload.times import LATEST_S, iso_s


@dataclass(frozen=True, slots=True)
class Column:
    """What a file says in one column: numbers, NaN where blank; or text. rows: the row of each, in a spreadsheet's
    count, in which a CSV file's header is row 1; None where cell i is row i + first."""

    file: Path
    name: str
    cells: F64 | Sequence[str]
    first: int
    rows: Sequence[int] | None = None

    def wrong(self, place: int, got: object, expected: str) -> DataError:
        """Return the error that says where cell `place` is."""
        return DataError(self.file, f"row {self.row(place)}, column {self.name}", got, expected)

    def row(self, place: int) -> int:
        """Return the row of cell `place` in the file."""
        return self.first + place if self.rows is None else self.rows[place]

    def stamps(self) -> F64:
        """Return the cells as epoch seconds. Raises DataError for the first that is none."""
        cells = self.cells
        if isinstance(cells, np.ndarray) or is_number(cells[0]):
            t = self.numbers("epoch seconds, as in the rows above")
        else:
            t = np.empty(len(cells))
            for place, cell in enumerate(cells):
                try:
                    t[place] = iso_s(cell.strip())
                except BadMessage:
                    raise self.wrong(place, repr(cell[:40]), "epoch seconds, or ISO 8601 in all rows") from None
        good = (t >= 0) & (t < LATEST_S)
        if not good.all():
            place = int(np.flatnonzero(~good)[0])
            got = "a blank" if math.isnan(t[place]) else f"{t[place]:.17g}"
            raise self.wrong(place, got, "epoch seconds from 0 to 1e11 (not milliseconds), or ISO 8601")
        return t

    def numbers(self, expected: str = "a number") -> F64:
        """Return the cells as float64, NaN where blank. Raises DataError for the first that is no number."""
        if isinstance(self.cells, np.ndarray):
            return self.cells
        values = np.empty(len(self.cells))
        for place, cell in enumerate(self.cells):
            if not cell or cell.isspace():
                values[place] = np.nan
            elif is_number(cell):
                values[place] = float(cell)
            else:
                raise self.wrong(place, repr(cell[:40]), expected)
        return values


def is_number(cell: str) -> bool:
    """Return whether text is a number; 1_000, which Python would take, is none."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
