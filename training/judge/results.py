"""results.csv: one row per series, then means; whole on disk at every moment."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from daemon.errors import DataError

MEAN = "mean"  # stands in place of the file, and of the seed where it is over seeds


@dataclass(frozen=True, slots=True)
class Row:
    """What a recipe came to on one series, or on the mean of several; None where there is nothing to say.

    window: the model's, in rows. vus_pr_random: of a score that knows nothing. delay_points: median from an event's
    start to its alarm. events ... tail_rows_in_alarm: what the shares are shares of, so that they can be pooled; the
    tail is the W rows after an event. streams: scores with a budget of their own. train_s: of its model, whole also
    where series share it. score_us_per_window: of the daemon's whole path, not of the network alone.
    """

    pack: str
    file: str
    recipe: str
    window: int | None = None
    head: str = ""
    seed: str = ""
    vus_pr: float | None = None
    vus_pr_random: float | None = None
    event_recall: float | None = None
    event_precision: float | None = None
    event_f1: float | None = None
    false_alarms_per_10k: float | None = None
    normal_time_in_alarm: float | None = None
    normal_time_in_alarm_with_tail: float | None = None
    delay_points: float | None = None
    events: float | None = None
    events_hit: float | None = None
    true_alarms: float | None = None
    false_alarms: float | None = None
    normal_rows: float | None = None
    normal_rows_in_alarm: float | None = None
    tail_rows: float | None = None
    tail_rows_in_alarm: float | None = None
    streams: float | None = None
    train_s: float | None = None
    score_us_per_window: float | None = None
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What no two rows share."""
        return self.pack, self.file, self.recipe, self.seed


COLUMNS = tuple(one.name for one in fields(Row))
TEXT = ("pack", "file", "recipe", "head", "seed", "note")
COUNTS = ("window", *COLUMNS[COLUMNS.index("events") : COLUMNS.index("train_s")])
MEASURED = COLUMNS[COLUMNS.index("vus_pr") : COLUMNS.index("note")]


def read(file: Path) -> list[Row]:
    """Return the rows of series, without the means; none where there is no file yet.

    Raises DataError where it is no such file: it would be overwritten.
    """
    if not file.is_file() or not file.stat().st_size:
        return []
    with file.open(newline="", encoding="utf-8") as opened:
        lines = csv.DictReader(opened)
        if tuple(lines.fieldnames or ()) != COLUMNS:
            raise DataError(file, "header", ",".join(lines.fieldnames or ())[:200], ",".join(COLUMNS))
        rows = []
        for n, line in enumerate(lines, 2):
            if line["file"] == MEAN:
                continue
            try:
                cells: dict[str, Any] = {name: _value(name, line[name]) for name in COLUMNS}
                rows.append(Row(**cells))
            except (TypeError, ValueError) as error:
                raise DataError(file, f"line {n}", error, "a row as benchmark writes it") from None
    return rows


def write(file: Path, rows: Iterable[Row]) -> None:
    """Replace the file by these rows and their means; a reader never sees half of it."""
    known = sorted(rows, key=lambda row: (row.pack, row.recipe, row.seed, row.file))
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    try:
        with part.open("w", newline="", encoding="utf-8") as out:
            table = csv.writer(out, lineterminator="\n")
            table.writerow(COLUMNS)
            for row in [*known, *means(known)]:
                table.writerow("" if cell is None else cell for cell in astuple(row))
        os.replace(part, file)
    finally:  # also when interrupted
        part.unlink(missing_ok=True)


def means(rows: Iterable[Row]) -> list[Row]:
    """Return the mean over series for each pack, recipe and seed, then over the seeds where there are several.

    Blanks leave the mean; a window stands where all have it, a head where all have it.
    """
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        groups.setdefault((row.pack, row.recipe), {}).setdefault(row.seed, []).append(row)
    found = []
    for seeds in groups.values():
        by_seed = [_mean(group, seed, "series") for seed, group in seeds.items()]
        found += by_seed
        if len(by_seed) > 1:
            found.append(_mean(by_seed, MEAN, "seeds"))
    return found


def _mean(rows: list[Row], seed: str, of: str) -> Row:
    first = rows[0]
    values: dict[str, Any] = {}
    for name in MEASURED:
        known = [value for value in (getattr(row, name) for row in rows) if value is not None]
        values[name] = float(f"{np.mean(known):.6g}") if known else None
    same = {name: getattr(first, name) for name in ("window", "head") if len({getattr(r, name) for r in rows}) == 1}
    return Row(first.pack, MEAN, first.recipe, seed=seed, note=f"{len(rows)} {of}", **same, **values)


def _value(name: str, cell: str) -> str | int | float | None:
    if name in TEXT:
        return cell
    if not cell:
        return None
    return int(cell) if name in COUNTS else float(cell)
