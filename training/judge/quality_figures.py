"""Rows of results.csv -> what a recipe is worth: means of ranks, sums of counts, and how sure the rate is.

Shares are of sums over series (recall: events found of all events), so that a series counts by its events and rows;
VUS-PR, which has no such sum, is the mean over series. Both are then means over seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.judge import rates
from training.judge.results import Row

HALVES = ("A", "B")


@dataclass(frozen=True, slots=True)
class Figures:
    """What a recipe came to on some series; None where there is nothing to say. Counts are means over seeds.

    spread: standard deviation of VUS-PR over seeds, None of a single one. declared: how many false alarms the budget
    allows on these normal rows. delay: median over series of their median delays, in rows. blank: rows without figures.
    """

    series: int
    seeds: int
    blank: int
    vus_pr: float | None
    spread: float | None
    floor: float | None
    events: float
    hit: float
    true: float
    false: float
    declared: float
    normal_rows: float
    normal_in_alarm: float
    tail_rows: float
    tail_in_alarm: float
    delay: float | None

    @property
    def recall(self) -> float | None:
        """Share of events with a true alarm."""
        return _share(self.hit, self.events)

    @property
    def precision(self) -> float | None:
        """Share of alarms that were true."""
        return _share(self.true, self.true + self.false)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two, 0 where there are events but no true alarm."""
        if not self.events:
            return None
        precision, recall = self.precision or 0.0, self.recall or 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    @property
    def ratio(self) -> float | None:
        """False alarms over declared ones: 1 is what was promised."""
        return _share(self.false, self.declared)

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval of false alarms, as a count: of one pass over the rows, as seeds are no other rows."""
        return rates.poisson(round(self.false))

    @property
    def in_alarm(self) -> float | None:
        """Share of normal rows in alarm, the W rows after each event left out."""
        return _share(self.normal_in_alarm, self.normal_rows)

    @property
    def in_alarm_with_tail(self) -> float | None:
        """Share of all rows outside events in alarm."""
        return _share(self.normal_in_alarm + self.tail_in_alarm, self.normal_rows + self.tail_rows)

    def per_10k(self, count: float) -> float | None:
        """Return a count of false alarms as a rate per 10,000 normal rows."""
        return _share(1e4 * count, self.normal_rows)


def figures(rows: Collection[Row], budget: float) -> Figures:
    """Return what these rows of one recipe come to. budget: alarm onsets per point of each score stream."""
    known = [row for row in rows if row.normal_rows is not None]
    by_seed: dict[str, list[Row]] = {}
    for row in known:
        by_seed.setdefault(row.seed, []).append(row)
    ranks = [_mean(row.vus_pr for row in group) for group in by_seed.values()]
    seen = [rank for rank in ranks if rank is not None]

    def count(name: str) -> float:
        return sum(getattr(row, name) or 0 for row in known) / max(len(by_seed), 1)

    return Figures(
        series=len({(row.pack, row.file) for row in known}),
        seeds=len(by_seed),
        blank=len(rows) - len(known),
        vus_pr=_mean(seen),
        spread=float(np.std(seen, ddof=1)) if len(seen) > 1 else None,
        floor=_mean(row.vus_pr_random for row in known),
        events=count("events"),
        hit=count("events_hit"),
        true=count("true_alarms"),
        false=count("false_alarms"),
        declared=budget * sum((row.normal_rows or 0) * (row.streams or 1) for row in known) / max(len(by_seed), 1),
        normal_rows=count("normal_rows"),
        normal_in_alarm=count("normal_rows_in_alarm"),
        tail_rows=count("tail_rows"),
        tail_in_alarm=count("tail_rows_in_alarm"),
        delay=_median(row.delay_points for row in known),
    )


def pooled(parts: Sequence[Figures]) -> Figures:
    """Return what a recipe came to on several packs: sums of counts, and the plain mean of the packs' VUS-PR."""
    spreads = [part.spread for part in parts]
    known = [spread for spread in spreads if spread is not None]
    total = {name: sum(getattr(part, name) for part in parts) for name in COUNTS}
    return Figures(
        series=sum(part.series for part in parts),
        seeds=max((part.seeds for part in parts), default=0),
        blank=sum(part.blank for part in parts),
        vus_pr=_mean(part.vus_pr for part in parts),
        # of a mean of packs whose seeds have nothing to do with each other
        spread=float(np.sqrt(np.sum(np.square(known)))) / len(parts) if len(known) == len(parts) else None,
        floor=_mean(part.floor for part in parts),
        delay=_median(part.delay for part in parts),
        **total,
    )


COUNTS = (
    "events", "hit", "true", "false", "declared", "normal_rows", "normal_in_alarm", "tail_rows", "tail_in_alarm",
)  # fmt: skip


def halves(series: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], str]:
    """Return A or B for each (pack, file): in each pack the 1st, 3rd, ... file by name is A, the others B."""
    return {
        (pack, file): HALVES[place % 2] for pack, files in series.items() for place, file in enumerate(sorted(files))
    }


def _share(part: float, of: float) -> float | None:
    return part / of if of else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
