"""An ingestion report as text that fits a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from training.history.findings import Finding
from training.history.inspection import Inspection, Sensor
from training.judge.ingestion import FACTS, TIMING, facts, some, summary, timing, verdict

LINES = 48  # of a table; the page shows all
LEAST_WIDTH = 80
NAME = 28  # characters that a name should have


def text(title: str, found: Sequence[Inspection], told: Sequence[Finding], width: int = 100) -> str:
    """Return the report for a terminal of this width, at least LEAST_WIDTH; long tables show their first LINES rows."""
    width = max(width, LEAST_WIDTH)
    sizes = [w.window for w in found[0].windows]
    lines = [*textwrap.wrap(f"{title}: {summary(found)}", width), ""]
    lines += _table("Time", TIMING, [(one.series.name, timing(one)) for one in found], width)
    heads = ("fit rows", "events", *(f"{size} {what}" for size in sizes for what in ("raw", "kept")))
    spare = [f"{size} raw" for size in reversed(sizes)]
    lines += ["", *_table("Windows", heads, [(one.series.name, _windows(one)) for one in found], width, spare)]
    rows = [(name, facts(sensor, step)) for name, sensor, step in _sensors(found)]
    lines += ["", *_table("Sensors", FACTS, rows, width, ("median", "at high", "at low"))]
    if _of_one_asset(found):
        lines.append(f"(all {len(found)} series together; periods of the longest)")
    lines.append("")
    for one in told:
        line = f"{one.level:7}{one}"
        lines += textwrap.wrap(line, width, subsequent_indent=" " * 7, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*lines, *([""] if told else []), *textwrap.wrap(verdict(found, told), width)])


def _windows(one: Inspection) -> list[str]:
    counts = [f"{number:,}" for w in one.windows for number in (w.before, w.after)]
    return [f"{one.fit_rows:,}", some(one.events), *counts]


def _of_one_asset(found: Sequence[Inspection]) -> bool:
    """Return whether the series are of the same several sensors, so that each can be told of in one line."""
    return len(found) > 1 and len(found[0].sensors) > 1 and len({one.series.columns for one in found}) == 1


def _sensors(found: Sequence[Inspection]) -> list[tuple[str, Sensor, float]]:
    """Return name, facts and interval_s for each line of the table of sensors."""
    if _of_one_asset(found):
        longest = max(found, key=lambda one: len(one.series.t))
        step = longest.timing.interval_s
        return [
            (sensor.name, _merged([one.sensors[place] for one in found], sensor, found), step)
            for place, sensor in enumerate(longest.sensors)
        ]
    lines = []
    for one in found:
        for sensor in one.sensors:
            alone = one.series.name if len(one.sensors) == 1 else f"{one.series.name}: {sensor.name}"
            lines.append((alone if len(found) > 1 else sensor.name, sensor, one.timing.interval_s))
    return lines


def _merged(sensors: Sequence[Sensor], longest: Sensor, found: Sequence[Inspection]) -> Sensor:
    """Return one sensor of several series as one: extremes, sums, shares by rows; periods of the longest series."""
    rows = [len(one.series.t) for one in found]
    known = [sensor for sensor in sensors if sensor.distinct] or [longest]
    return Sensor(
        name=longest.name,
        missing=sum(sensor.missing for sensor in sensors),
        missing_row=None,
        distinct=max(sensor.distinct for sensor in sensors),
        low=min(sensor.low for sensor in known),
        median=float(np.median([sensor.median for sensor in known])),
        high=max(sensor.high for sensor in known),
        longest_run=max(sensor.longest_run for sensor in sensors),
        run_row=None,
        at_low=float(np.average([sensor.at_low for sensor in sensors], weights=rows)),
        at_high=float(np.average([sensor.at_high for sensor in sensors], weights=rows)),
        outliers=sum(sensor.outliers for sensor in sensors),
        outlier_row=None,
        periods=longest.periods,
    )


def _table(
    title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], width: int, spare: Sequence[str] = ()
) -> list[str]:
    """Return a table as lines: names to the left, shortened in their middle where there is no room, the rest right.

    spare: columns that may go, the first one first, so that NAME characters are left for the names.
    """
    shown = rows[:LINES]
    longest = max(len(title), *(len(known) for known, _ in shown))
    sizes = {head: max(len(head), *(len(cells[k]) for _, cells in shown)) for k, head in enumerate(heads)}
    for head in spare:
        if width - sum(sizes.values()) - len(sizes) < min(NAME, longest):
            del sizes[head]
    kept = [k for k, head in enumerate(heads) if head in sizes]
    gap = 2 if width - sum(sizes.values()) - 2 * len(sizes) >= min(NAME, longest) else 1
    name = min(max(12, width - sum(sizes.values()) - gap * len(sizes)), longest)
    lines = []
    for known, cells in [(title, heads), *shown]:
        short = known if len(known) <= name else f"{known[: name // 2 - 1]}~{known[name // 2 - name :]}"
        padded = (cells[k].rjust(sizes[heads[k]] + gap) for k in kept)
        lines.append((f"{short:<{name}}" + "".join(padded)).rstrip())
    if len(rows) > LINES:
        lines.append(f"... and {len(rows) - LINES} more: --html or --json shows all")
    return lines
