"""An ingestion report as a page and as JSON; training/judge/terminal.py has it as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from training.history.findings import Finding, duration, moment
from training.history.inspection import Inspection, Sensor
from training.judge import report
from training.judge.report import Html

_SERIES_NOTE = (
    "raw: windows of so many rows, as the file is; kept: with gaps respected and short ones filled, as live; fit: "
    "before train_end and the first labelled anomaly. step: the median; even: steps within half of it from it. "
    "twice, back: stamps that repeat, or go back."
)
_SENSOR_NOTE = (
    "Shaded: labelled rows. Green line: rows to fit on. blank: rows without a value; equal: the longest run of equal "
    "values; at low, at high: rows in runs at the minimum, the maximum; far: values far from the median; period: how "
    "long, and its share of the signal's power."
)


def verdict(found: Sequence[Inspection], told: Sequence[Finding]) -> str:
    """Return in one sentence whether training can start."""
    blocking = sum(one.level == "blocks" for one in told)
    if blocking:
        return f"Training is blocked: {count(blocking, 'thing')} to change first."
    most = [f"{sum(one.fit_windows[k] for one in found):,} of {w.window}" for k, w in enumerate(found[0].windows)]
    return f"Nothing blocks training. Windows to fit on: {', '.join(most)} rows."


def summary(found: Sequence[Inspection]) -> str:
    """Return in one line how much data there are."""
    names = {name for one in found for name in one.series.columns}
    rows, events = sum(len(one.series.t) for one in found), sum(one.events for one in found)
    parts = (count(len(found), "series", "series"), f"{rows:,} rows", count(len(names), "sensor"))
    return ", ".join((*parts, count(events, "labelled event")))


def data(title: str, found: Sequence[Inspection], told: Sequence[Finding]) -> dict[str, Any]:
    """Return the report as what JSON can hold; unknown numbers are null."""
    return {
        "data": title,
        "blocked": any(one.level == "blocks" for one in told),
        "findings": [asdict(one) for one in told],
        "series": [
            {
                "file": one.series.file,
                "name": one.series.name,
                "role": one.series.role,
                "rows": len(one.series.t),
                "train_end": one.series.train_end,
                "fit_rows": one.fit_rows,
                "labelled_rows": one.labelled_rows,
                "events": one.events,
                "classes": list(one.series.classes),
                "timing": asdict(one.timing),
                "dropped": one.dropped,
                "windows": [{**asdict(w), "fit": fit} for w, fit in zip(one.windows, one.fit_windows, strict=True)],
                "sensors": [_plain(asdict(sensor), one.timing.interval_s) for sensor in one.sensors],
            }
            for one in found
        ],
    }


def page(title: str, found: Sequence[Inspection], told: Sequence[Finding]) -> str:
    """Return the report as a self-contained HTML page, with a chart of every sensor."""
    blocked = any(one.level == "blocks" for one in told)
    sizes = [f"{w.window} {what}" for w in found[0].windows for what in ("raw", "kept", "fit")]
    times = [(one.series.name, one.series.role, *timing(one)) for one in found]
    counts = [(one.series.name, f"{one.fit_rows:,}", *_windows(one), *_labelled(one)) for one in found]
    told_rows = [
        (report.badge(one.level), one.says, one.remedy, one.place, _in_small(one.file), len(one.cases) or "")
        for one in told
    ]
    return report.page(
        f"Ingestion report: {title}",
        [
            report.paragraph(verdict(found, told), kind="blocks" if blocked else "fine"),
            report.paragraph(summary(found), ". Times are UTC."),
            report.section(
                "What was found",
                report.table(("", "what", "what to do", "first at", "in", "cases"), told_rows, (0, 1, 2, 3, 4)),
            ),
            report.section("Time", report.table(("series", "role", *TIMING), times, (0, 1))),
            report.section(
                "Windows",
                report.table(("series", "fit rows", *sizes, "labelled", "events"), counts),
                report.paragraph(_SERIES_NOTE, kind="where"),
            ),
            report.section(
                "Sensors",
                report.paragraph(_SENSOR_NOTE, kind="where"),
                *_charts(found),
            ),
        ],
    )  # fmt: skip


def _charts(found: Sequence[Inspection]) -> list[Html]:
    """Return all sensors with their charts: one table, or where series have several sensors, one for each."""
    heads, words = ("over time", *FACTS), (0, 1, 1 + len(FACTS))
    if all(len(one.sensors) == 1 for one in found):
        return [report.table(("series", *heads), [(one.series.name, *_rows(one)[0][1:]) for one in found], words)]
    shown = sum(len(one.sensors) for one in found) <= 60
    folded = []
    for place, one in enumerate(found):
        about = f"{len(one.series.t):,} rows, {moment(one.timing.start)} to {moment(one.timing.end)}"
        about += "; drawn in the order of the file, as its stamps go back" if one.timing.backwards else ""
        table = report.table(("sensor", *heads), _rows(one), words)
        folded.append(report.folded(one.series.name, _in_small(about), table, shown=shown or place == 0))
    return folded


def _rows(one: Inspection) -> list[tuple[object, ...]]:
    """Return name, chart and facts of each sensor of a series."""
    series, n = one.series, len(one.series.t)
    at = np.arange(n, dtype=np.float64) if one.timing.backwards else series.t
    labelled = None if series.label is None else series.label != 0
    fit = np.arange(n) < one.fit_rows
    return [
        (
            sensor.name,
            report.trace(at, series.values[:, place], labelled, fit),
            *facts(sensor, one.timing.interval_s, 3),
        )
        for place, sensor in enumerate(one.sensors)
    ]


def _in_small(text: str) -> Html:
    return Html(f'<span class="where">{report.escaped(text)}</span>')


TIMING = ("rows", "span", "step", "even", "gaps", "longest", "twice", "back")


def timing(one: Inspection) -> list[str]:
    """Return the cells of the columns TIMING."""
    when = one.timing
    return [
        f"{len(one.series.t):,}",
        duration(when.end - when.start),
        duration(when.interval_s),
        share(when.regularity),
        some(when.gaps),
        duration(when.longest_gap_s) if when.gaps else "",
        some(when.duplicates),
        some(when.backwards),
    ]


def _windows(one: Inspection) -> list[str]:
    pairs = zip(one.windows, one.fit_windows, strict=True)
    return [f"{number:,}" for w, fit in pairs for number in (w.before, w.after, fit)]


def _labelled(one: Inspection) -> tuple[str, str]:
    return ("", "") if one.series.label is None else (f"{one.labelled_rows:,}", f"{one.events:,}")


FACTS = ("low", "median", "high", "blank", "equal", "at low", "at high", "far", "period")


def facts(sensor: Sensor, interval_s: float, periods: int = 1) -> list[str]:
    """Return the cells of the columns FACTS; with several periods, each with its share of the signal's power."""
    spans = [duration(one.rows * interval_s) for one in sensor.periods[:periods]]
    if periods > 1:
        spans = [f"{span} ({share(one.share)})" for span, one in zip(spans, sensor.periods, strict=False)]
    return [
        number(sensor.low),
        number(sensor.median),
        number(sensor.high),
        some(sensor.missing),
        f"{sensor.longest_run:,}",
        share(sensor.at_low),
        share(sensor.at_high),
        some(sensor.outliers),
        ", ".join(spans),
    ]


def _plain(sensor: dict[str, Any], interval_s: float) -> dict[str, Any]:
    periods = [{**one, "seconds": one["rows"] * interval_s} for one in sensor.pop("periods")]
    known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in sensor.items()}
    return {**known, "periods": periods}


def number(value: float) -> str:
    """Return a reading in four digits, blank where there is none."""
    return "" if math.isnan(value) else f"{value:.4g}"


def some(number: int) -> str:
    """Return a count, blank where it is 0, so that what is there stands out."""
    return f"{number:,}" if number else ""


def share(share: float) -> str:
    """Return a share in whole percent, blank for none; what is not all never reads 100%."""
    if share <= 0:
        return ""
    return "100%" if share >= 1 else f"{min(max(round(share * 100), 1), 99)}%"


def count(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
